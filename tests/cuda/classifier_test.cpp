// The classifier of the CUDA device, whose logits exist only for a chunk of rows at a time.
#include <ptxrun_counters.h>

#include "kernels/cuda/cuda_operations.h"
#include "tests/cuda/device_array.h"
#include "tests/cuda/real_types.h"
#include "tests/kernels/random_arrays.h"
#include "tests/kernels/reference_ops.h"

namespace minichilla {
namespace {

constexpr std::int64_t kShortestChunks = 1;  ///< logits_in_chunk: 128 rows

struct Result {
  double loss_sum;
  FloatArray d_hidden, d_weight;
};

template <class Real>
class CudaClassifier : public testing::Test {
 protected:
  CudaClassifier() { cuda_succeeds(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
  ~CudaClassifier() override { cudaStreamDestroy(stream_); }

  static std::unique_ptr<Operations> operations(std::int64_t logits_in_chunk) {
    return cuda::make_operations(std::is_same_v<Real, float> ? Precision::fp32 : Precision::bf16,
                                 MatrixProducts::library, logits_in_chunk);
  }

  cudaStream_t stream_ = nullptr;
};
TYPED_TEST_SUITE(CudaClassifier, RealTypes, RealNames);

/// Arrays of one call, on the device. The loss starts at 1.5 and d_weight at 0.25: both are added to. The
/// scratch is exactly as long as the classifier asks for.
template <class Real>
struct Call {
  static constexpr float kScale = 0.37f;

  ClassifierShape shape;
  FloatArray hidden_values, weight_values;
  std::vector<std::int32_t> target_values;
  DeviceArray<Real> hidden, weight, d_hidden;
  DeviceArray<std::int32_t> targets;
  DeviceArray<float> d_weight;
  DeviceArray<double> loss_sum;
  DeviceArray<char> scratch;

  Call(const Operations& operations, ClassifierShape of)
      : shape(of),
        hidden_values(rounded<Real>(random_array(size(shape.M) * size(shape.C), 1))),
        weight_values(rounded<Real>(random_array(size(shape.V) * size(shape.C), 2))),
        target_values(random_tokens(size(shape.M), shape.V, 3)),
        hidden(hidden_values),
        weight(weight_values),
        d_hidden(hidden_values.size()),
        targets(target_values),
        d_weight(FloatArray(weight_values.size(), 0.25f)),
        loss_sum(DoubleArray{1.5}),
        scratch(operations.classifier_scratch(shape)) {}

  void enqueue(const Operations& operations, cudaStream_t stream, bool with_gradients) const {
    cuda::CudaLane lane(stream);
    const auto activation = [](auto* data) { return reinterpret_cast<Activation*>(data); };
    operations.classifier(lane, shape, activation(hidden.data()), activation(weight.data()), targets.data(),
                          kScale, loss_sum.data(), with_gradients ? activation(d_hidden.data()) : nullptr,
                          with_gradients ? d_weight.data() : nullptr, scratch.data());
  }
  Result result() const { return {loss_sum.values()[0], d_hidden.floats(), d_weight.floats()}; }

  static std::size_t size(int count) { return static_cast<std::size_t>(count); }
};

/// The naive implementation in the same precision: logits and their gradients are rounded to Real.
template <class Real>
Result naive_classifier(const Call<Real>& call) {
  const auto value = [](float x) { return widened(narrowed<Real>(x)); };
  const std::size_t C = call.size(call.shape.C), V = call.size(call.shape.V);
  Result result{0, FloatArray(call.hidden_values.size()), FloatArray(call.weight_values.size())};
  for (std::size_t m = 0; m < call.target_values.size(); ++m) {
    const float* hidden = call.hidden_values.data() + m * C;
    FloatArray logits(V);
    for (std::size_t v = 0; v < V; ++v) {
      for (std::size_t c = 0; c < C; ++c) logits[v] += hidden[c] * call.weight_values[v * C + c];
      logits[v] = value(logits[v]);
    }
    const auto target = static_cast<std::size_t>(call.target_values[m]);
    const float top = *std::max_element(logits.begin(), logits.end());
    float total = 0;
    for (const float logit : logits) total += std::exp(logit - top);
    result.loss_sum += static_cast<double>(std::log(total) + top - logits[target]);
    for (std::size_t v = 0; v < V; ++v) {
      const float d_logit =
          value(call.kScale * (std::exp(logits[v] - top) / total - (v == target ? 1.0f : 0.0f)));
      for (std::size_t c = 0; c < C; ++c) {
        result.d_hidden[m * C + c] += d_logit * call.weight_values[v * C + c];
        result.d_weight[v * C + c] += d_logit * hidden[c];
      }
    }
  }
  return result;
}

template <class Real>
void expect_right(const Call<Real>& call, const Result& actual) {
  auto exact = reference::classifier(call.shape, widen(call.hidden_values), widen(call.weight_values),
                                     call.target_values, static_cast<double>(call.kScale));
  Result naive = naive_classifier(call);
  for (double& d : exact.d_weight) d += 0.25;
  for (float& d : naive.d_weight) d += 0.25f;
  EXPECT_NEAR(actual.loss_sum, exact.loss_sum + 1.5,
              2 * std::abs(naive.loss_sum - exact.loss_sum) + 1e-6 * exact.loss_sum);
  expect_accurate("d_hidden", actual.d_hidden, exact.d_hidden, rounded<Real>(naive.d_hidden),
                  kRoundedOnce<Real>);
  expect_accurate("d_weight", actual.d_weight, exact.d_weight, naive.d_weight);
}

TYPED_TEST(CudaClassifier, AgreesWithTheReferenceWhereverAChunkEnds) {
  for (const ClassifierShape shape :
       {ClassifierShape{1, 3, 1}, {5, 16, 257}, {127, 5, 10}, {128, 8, 9}, {129, 8, 7}, {300, 24, 50}}) {
    SCOPED_TRACE(testing::Message() << "M=" << shape.M << " C=" << shape.C << " V=" << shape.V);
    const auto operations = this->operations(kShortestChunks);
    const Call<TypeParam> call(*operations, shape);
    ptxrun::reset_counters();
    call.enqueue(*operations, this->stream_, true);
    expect_right(call, call.result());
    if (!ptxrun::counters_available()) continue;
    EXPECT_EQ(ptxrun::read_counters("softmax_cross_entropy").launches,
              static_cast<std::uint64_t>((shape.M + 127) / 128));
  }
}

TYPED_TEST(CudaClassifier, WithoutGradientsTheLossIsTheSame) {
  const auto operations = this->operations(kShortestChunks);
  const Call<TypeParam> call(*operations, {300, 8, 50}), evaluated(*operations, {300, 8, 50});
  call.enqueue(*operations, this->stream_, true);
  evaluated.enqueue(*operations, this->stream_, false);
  const Result result = evaluated.result();
  EXPECT_EQ(result.loss_sum, call.result().loss_sum);
  EXPECT_EQ(result.d_weight, FloatArray(result.d_weight.size(), 0.25f));
}

TYPED_TEST(CudaClassifier, ScratchIsThatOfAChunkHoweverManyRows) {
  const auto operations = this->operations(cuda::kLogitsInChunk);
  const std::size_t chunk = operations->classifier_scratch({1 << 14, 768, 50257});
  EXPECT_EQ(operations->classifier_scratch({1 << 20, 768, 50257}), chunk);
  EXPECT_LE(chunk, static_cast<std::size_t>(cuda::kLogitsInChunk) * sizeof(TypeParam) + 4096);
  EXPECT_GE(chunk, static_cast<std::size_t>(cuda::kLogitsInChunk) * sizeof(TypeParam) / 2);
}

/// Logits of all rows would be eight times the scratch. A captured stream refuses allocations and waits, and
/// scratch is as long as asked: so they are nowhere.
TYPED_TEST(CudaClassifier, LogitsOfAllRowsNeverExist) {
  const ClassifierShape shape{1000, 8, 300};
  const auto operations = this->operations(kShortestChunks);
  const Call<TypeParam> first(*operations, shape), captured(*operations, shape);
  EXPECT_LT(7 * first.scratch.size(), 1000 * 300 * sizeof(TypeParam));
  first.enqueue(*operations, this->stream_, true);  // asks cuBLASLt for its algorithms
  const Result expected = first.result();

  std::size_t before = 0, after = 0, total = 0;
  cuda_succeeds(cudaMemGetInfo(&before, &total));
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  cuda_succeeds(cudaStreamBeginCapture(this->stream_, cudaStreamCaptureModeGlobal));
  captured.enqueue(*operations, this->stream_, true);
  cuda_succeeds(cudaStreamEndCapture(this->stream_, &graph));
  cuda_succeeds(cudaGraphInstantiate(&executable, graph, 0));
  cuda_succeeds(cudaGraphLaunch(executable, this->stream_));
  const Result result = captured.result();
  cuda_succeeds(cudaGraphExecDestroy(executable));
  cuda_succeeds(cudaGraphDestroy(graph));
  cuda_succeeds(cudaMemGetInfo(&after, &total));
  EXPECT_EQ(result.loss_sum, expected.loss_sum);
  EXPECT_EQ(result.d_hidden, expected.d_hidden);
  EXPECT_EQ(result.d_weight, expected.d_weight);
  if (ptxrun::counters_available()) {
    EXPECT_EQ(after, before);
  }
}

}  // namespace
}  // namespace minichilla
