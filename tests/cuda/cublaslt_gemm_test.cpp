#include "kernels/cuda/cublaslt_gemm.h"

#include <sstream>
#include <stdexcept>

#include "kernels/error.h"
#include "tests/cuda/product_case.h"

namespace minichilla {
namespace {

using cuda::CublasLtGemm;
using cuda::Fp32Inputs;
using testing::HasSubstr;
using testing::Not;

constexpr Layout kLayouts[] = {Layout::kForward, Layout::kInputGradient, Layout::kWeightGradient};

/// With its workspace.
class Gemm {
 public:
  explicit Gemm(Fp32Inputs inputs = Fp32Inputs::kExact)
      : workspace_(CublasLtGemm::kWorkspaceBytes), gemm(workspace_.data(), inputs) {}

 private:
  DeviceArray<char> workspace_;

 public:
  CublasLtGemm gemm;
};

template <class Real>
class CudaCublasLtGemm : public testing::Test {};
using RealTypes = testing::Types<float, __nv_bfloat16>;
TYPED_TEST_SUITE(CudaCublasLtGemm, RealTypes);

TYPED_TEST(CudaCublasLtGemm, AnyShapeAndLeadingDimensionIsRight) {
  using Kind = typename cuda::Epilogue<TypeParam>::Kind;
  Gemm library;
  for (const Layout layout : kLayouts) {
    for (const ProductCase& shape :
         {ProductCase{1, 1, 1}, {17, 33, 5}, {64, 257, 48}, {130, 70, 96, 3}, {16, 24, 8, 0, 1}, {3, 5, 0}}) {
      expect_product<TypeParam>(library.gemm, shape, layout, Kind::kNone);
      expect_fp32_product<TypeParam>(library.gemm, shape, layout, true);
      expect_fp32_product<TypeParam>(library.gemm, shape, layout, false);
    }
  }
}

// Together with the product, and in a kernel of its own where rows of odd lengths forbid that.
TYPED_TEST(CudaCublasLtGemm, EveryEpilogueIsRight) {
  using Kind = typename cuda::Epilogue<TypeParam>::Kind;
  for (const bool aligned : {true, false}) {
    Gemm library;
    for (const Layout layout : {Layout::kForward, Layout::kInputGradient}) {
      for (const Kind kind : {Kind::kBias, Kind::kBiasGelu, Kind::kGeluDerivative}) {
        expect_product<TypeParam>(library.gemm, {34, aligned ? 40 : 37, 24}, layout, kind);
        expect_product<TypeParam>(library.gemm, {3, aligned ? 8 : 9, 0}, layout, kind);
      }
    }
    EXPECT_EQ(library.gemm.algorithms().find("gelu") != std::string::npos, aligned)
        << library.gemm.algorithms();
  }
}

/// algorithms() with "separate" for all products whose line contains `what`.
std::string separated(const std::string& algorithms, const std::string& what) {
  std::istringstream lines(algorithms);
  std::string line, result;
  while (std::getline(lines, line)) {
    if (line.find(what) != std::string::npos)
      line.replace(line.find(" : ") + 3, std::string::npos, "separate");
    result += line + "\n";
  }
  return result;
}

TYPED_TEST(CudaCublasLtGemm, RowSumsInAKernelOfTheirOwnAreRight) {
  Gemm library;
  const ProductCase shape{34, 16, 37, 3};
  expect_fp32_product<TypeParam>(library.gemm, shape, Layout::kWeightGradient, true);
  EXPECT_THAT(library.gemm.algorithms(), AllOf(HasSubstr("row_sums"), Not(HasSubstr("plain"))));
  library.gemm.pin(separated(library.gemm.algorithms(), "row_sums"));
  expect_fp32_product<TypeParam>(library.gemm, shape, Layout::kWeightGradient, true);
  EXPECT_THAT(library.gemm.algorithms(), HasSubstr("plain"));
}

TEST(CudaCublasLtGemmScratch, LongerRowSumsThanItHoldsAreRight) {
  Gemm library;
  expect_fp32_product<float>(library.gemm, {65537, 1, 3}, Layout::kWeightGradient, true);
  EXPECT_THAT(library.gemm.algorithms(), HasSubstr("plain"));
}

// A captured stream refuses allocations and waits.
TYPED_TEST(CudaCublasLtGemm, ARepeatedCallOnlyEnqueues) {
  Gemm library;
  const ProductOperands<TypeParam> operands({16, 24, 32}, Layout::kForward);
  const FloatArray bias_values = random_array(24, 3);
  const DeviceArray<float> bias(bias_values);
  const PaddedMatrix<TypeParam> c = operands.output(FloatArray(operands.size())),
                                gelu_input = operands.output(FloatArray(operands.size()));
  cudaStream_t stream;
  cuda_succeeds(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  const auto multiply = [&] {
    library.gemm.multiply(
        stream, operands.product, operands.device_a.input(), operands.device_b.input(), c.matrix(),
        cuda::Epilogue<TypeParam>::add_bias_and_gelu(bias.data(), gelu_input.matrix().data));
  };
  multiply();
  const FloatArray expected = c.values();
  const std::string algorithms = library.gemm.algorithms();
  cuda_succeeds(cudaMemset(c.matrix().data, 0xff, operands.size() * sizeof(TypeParam)));

  cudaGraph_t graph;
  cudaGraphExec_t executable;
  cuda_succeeds(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  multiply();
  cuda_succeeds(cudaStreamEndCapture(stream, &graph));
  cuda_succeeds(cudaGraphInstantiate(&executable, graph, 0));
  cuda_succeeds(cudaGraphLaunch(executable, stream));
  EXPECT_EQ(c.values(), expected);
  EXPECT_EQ(library.gemm.algorithms(), algorithms);
  cuda_succeeds(cudaGraphExecDestroy(executable));
  cuda_succeeds(cudaGraphDestroy(graph));
  cuda_succeeds(cudaStreamDestroy(stream));
}

float product_of(CublasLtGemm& gemm, float a, float b) {
  const DeviceArray<float> device_a(FloatArray{a}), device_b(FloatArray{b}), c(1);
  gemm.multiply(nullptr, {1, 1, 1}, cuda::Matrix<const float>{device_a.data(), 1}, {device_b.data(), 1},
                {c.data(), 1}, {});
  return c.floats()[0];
}

TEST(CudaCublasLtGemmPrecision, Tf32OnRequest) {
  const float fine = 1 + std::ldexp(1.0f, -20);
  Gemm exact, tf32(Fp32Inputs::kTf32);
  EXPECT_EQ(product_of(exact.gemm, fine, 3), fine * 3);
  EXPECT_EQ(product_of(tf32.gemm, fine, 3), 3);
  EXPECT_THAT(tf32.gemm.algorithms(), HasSubstr("tf32 to fp32 1 1 1 NN"));
}

// One column: the library cannot write GELU's input, so it is our kernel.
TEST(CudaCublasLtGemmPrecision, GeluIsAccurateFromTinyToHugeInputs) {
  FloatArray points{0,     1e-20f, -1e-20f, 1e-4f, -1e-4f, 15.9f,  -15.9f,
                    16.1f, -16.1f, 100,     -100,  1e15f,  -1e15f, 1e30f};
  for (int i = -800; i <= 800; i += 5) points.push_back(static_cast<float>(i) / 100);
  const int M = static_cast<int>(points.size());
  const DeviceArray<float> u(points), one(FloatArray{1}), zero(FloatArray{0}),
      ones(FloatArray(points.size(), 1)), sum(points.size()), y(points.size()), slope(points.size());
  Gemm library;
  using Matrix = cuda::Matrix<const float>;
  library.gemm.multiply(nullptr, {M, 1, 1}, Matrix{u.data(), 1}, {one.data(), 1}, {y.data(), 1},
                        cuda::Epilogue<float>::add_bias_and_gelu(zero.data(), sum.data()));
  library.gemm.multiply(nullptr, {M, 1, 1}, Matrix{ones.data(), 1}, {one.data(), 1}, {slope.data(), 1},
                        cuda::Epilogue<float>::times_gelu_derivative(u.data()));
  const FloatArray values = y.floats(), slopes = slope.floats();
  EXPECT_EQ(sum.floats(), points);
  for (std::size_t i = 0; i < points.size(); ++i) {
    const double point = static_cast<double>(points[i]), value = reference::gelu(point);
    const double derivative = std::abs(point) > 50 ? (point > 0 ? 1 : 0) : reference::gelu_derivative(point);
    EXPECT_NEAR(static_cast<double>(values[i]), value,
                2e-6 * std::abs(value) + 1e-7 * std::min(1.0, std::abs(point)))
        << point;
    EXPECT_NEAR(static_cast<double>(slopes[i]), derivative, 2e-6) << point;
  }
}

class CudaCublasLtAlgorithms : public testing::Test {
 protected:
  static void run(CublasLtGemm& gemm, int columns = 16) {
    expect_product<float>(gemm, {8, columns, 8}, Layout::kForward, cuda::Epilogue<float>::Kind::kBiasGelu);
    expect_fp32_product<__nv_bfloat16>(gemm, {8, columns, 8}, Layout::kWeightGradient, true);
  }
};

TEST_F(CudaCublasLtAlgorithms, AreKeptForARunThatGoesOn) {
  Gemm first, second;
  run(first.gemm);
  run(first.gemm, 9);  // the epilogue is separate
  const std::string text = first.gemm.algorithms();
  EXPECT_THAT(text, HasSubstr("fp32 to fp32 8 16 8 NT 8 8 16 bias_gelu replace 64 64 : "));
  EXPECT_THAT(text, HasSubstr("bf16 to fp32 8 16 8 TN 8 16 16 row_sums add 64 64 : "));
  EXPECT_THAT(text, HasSubstr("fp32 to fp32 8 9 8 NT 8 8 9 plain replace 64 0 : "));
  second.gemm.pin(text);
  EXPECT_EQ(second.gemm.algorithms(), text);
  run(second.gemm, 9);
  run(second.gemm);
  EXPECT_EQ(second.gemm.algorithms(), text);
}

TEST_F(CudaCublasLtAlgorithms, ThosePinnedAreUsed) {
  Gemm first, second;
  run(first.gemm);
  const std::string text = first.gemm.algorithms();
  second.gemm.pin(separated(text, "bias_gelu"));
  run(second.gemm);
  EXPECT_THAT(second.gemm.algorithms(), HasSubstr("plain"));
  EXPECT_THAT(text, Not(HasSubstr("plain")));

  const std::size_t from = text.find(" : ", text.find("bias_gelu")) + 3;
  std::string broken = text;
  broken.replace(from, text.find('\n', from) - from, "1 2 3 4 5 6 7 8");
  first.gemm.pin(broken);
  EXPECT_THAT([&] { run(first.gemm); },
              testing::ThrowsMessage<std::runtime_error>(HasSubstr("does not run")));
}

TEST_F(CudaCublasLtAlgorithms, AMalformedTextIsRefused) {
  Gemm library;
  run(library.gemm);
  const std::string text = library.gemm.algorithms(), version = text.substr(0, text.find('\n') + 1);
  for (const std::string& wrong :
       {std::string(), std::string("cuBLASLt 1\n"), version + "no algorithm\n", version + "product : 1 2 3\n",
        version + "product : 1 2 3 4 5 6 7 8 9\n", version + "product : 1 2 3 4 5 6 7 x\n",
        version + "product : \n", version + "product : 1 2 3 4 5 6 7 12345678123456789\n"}) {
    EXPECT_THROW(library.gemm.pin(wrong), InputError) << wrong;
  }
  EXPECT_EQ(library.gemm.algorithms(), text);
}

}  // namespace
}  // namespace minichilla
