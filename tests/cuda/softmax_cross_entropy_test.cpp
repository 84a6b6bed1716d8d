#include "kernels/cuda/softmax_cross_entropy.h"

#include "tests/cuda/device_array.h"
#include "tests/cuda/real_types.h"
#include "tests/kernels/random_arrays.h"

namespace minichilla {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

struct Shape {
  int rows, V, leading_dimension;
};

template <class Number>
struct Loss {
  std::vector<Number> losses, gradients;  ///< (rows), (rows, V)
};

template <class Number>
Loss<Number> reference_loss(Shape shape, const std::vector<Number>& logits,
                            const std::vector<std::int32_t>& targets, Number loss_scale) {
  Loss<Number> result;
  const auto V = static_cast<std::ptrdiff_t>(shape.V);
  for (std::size_t m = 0; m < targets.size(); ++m) {
    const std::vector<Number> row(logits.begin() + static_cast<std::ptrdiff_t>(m) * V,
                                  logits.begin() + static_cast<std::ptrdiff_t>(m + 1) * V);
    const Number top = *std::max_element(row.begin(), row.end());
    Number total = 0;
    for (const Number logit : row) total += std::exp(logit - top);
    const auto target = static_cast<std::size_t>(targets[m]);
    result.losses.push_back(std::log(total) + top - row[target]);
    for (std::size_t v = 0; v < row.size(); ++v) {
      result.gradients.push_back(loss_scale * (std::exp(row[v] - top) / total - (v == target ? 1 : 0)));
    }
  }
  return result;
}

/// logits (rows, V) are padded with NaN to the leading dimension, and begin `offset` elements behind an
/// aligned address. The gradients' padding must be 0.
template <class Real>
Loss<float> device_loss(Shape shape, const FloatArray& logits, const std::vector<std::int32_t>& targets,
                        float loss_scale, bool with_gradient, std::size_t offset = 0) {
  const auto rows = static_cast<std::size_t>(shape.rows), V = static_cast<std::size_t>(shape.V),
             leading_dimension = static_cast<std::size_t>(shape.leading_dimension);
  FloatArray padded(offset + rows * leading_dimension, kNaN);
  for (std::size_t m = 0; m < rows; ++m) {
    for (std::size_t v = 0; v < V; ++v) padded[offset + m * leading_dimension + v] = logits[m * V + v];
  }
  const DeviceArray<Real> device(padded);
  const DeviceArray<std::int32_t> device_targets(targets);
  const DeviceArray<float> losses(rows);
  cuda::softmax_cross_entropy<Real>(nullptr, shape.rows, shape.V, shape.leading_dimension,
                                    device.data() + offset, device_targets.data(), loss_scale, losses.data(),
                                    with_gradient);
  Loss<float> result{losses.floats(), {}};
  const FloatArray after = device.floats();
  for (std::size_t m = 0; m < rows; ++m) {
    for (std::size_t v = 0; v < leading_dimension; ++v) {
      const float value = after[offset + m * leading_dimension + v];
      if (v < V) {
        result.gradients.push_back(value);
      } else {
        EXPECT_TRUE(with_gradient ? value == 0 : std::isnan(value)) << "padding of row " << m;
      }
    }
  }
  return result;
}

template <class Real>
void check(Shape shape, float deviation, std::size_t offset = 0) {
  SCOPED_TRACE(testing::Message() << "rows=" << shape.rows << " V=" << shape.V << " of "
                                  << shape.leading_dimension << ", deviation " << deviation);
  const auto size = static_cast<std::size_t>(shape.rows) * static_cast<std::size_t>(shape.V);
  const FloatArray logits = rounded<Real>(random_array(size, 1, deviation));
  auto targets = random_tokens(static_cast<std::size_t>(shape.rows), shape.V, 2);
  targets.back() = shape.V - 1;
  const float scale = 0.37f;
  const auto exact = reference_loss(shape, widen(logits), targets, static_cast<double>(scale));
  const auto naive = reference_loss(shape, logits, targets, scale);
  const auto actual = device_loss<Real>(shape, logits, targets, scale, true, offset);
  expect_accurate("losses", actual.losses, exact.losses, naive.losses);
  expect_accurate("gradients", actual.gradients, exact.gradients, naive.gradients, kRoundedOnce<Real>);
  const auto evaluated = device_loss<Real>(shape, logits, targets, scale, false, offset);
  EXPECT_EQ(evaluated.losses, actual.losses);
  EXPECT_EQ(evaluated.gradients, logits) << "without gradients logits stay";
}

template <class Real>
class CudaSoftmaxCrossEntropy : public testing::Test {};
TYPED_TEST_SUITE(CudaSoftmaxCrossEntropy, RealTypes, RealNames);

TYPED_TEST(CudaSoftmaxCrossEntropy, AgreesWithTheReference) {
  for (const Shape shape : {Shape{1, 1, 1},
                            {5, 2, 8},
                            {19, 3, 3},
                            {9, 17, 24},
                            {10, 257, 264},
                            {3, 100, 100},
                            {3, 257, 259},
                            {2, 768, 1000},
                            {2, 4099, 4104}}) {
    check<TypeParam>(shape, 2);
  }
  check<TypeParam>({1, 40003, 40008}, 1);
  check<TypeParam>({3, 64, 64}, 1, 1);
}

TYPED_TEST(CudaSoftmaxCrossEntropy, LargeLogitsNeitherOverflowNorCancel) {
  check<TypeParam>({4, 257, 264}, 1e4f);
  for (const float shift : {-1e4f, 1e4f, -1e30f, 1e30f}) {
    const auto equal = device_loss<TypeParam>({2, 256, 256}, FloatArray(512, shift), {0, 255}, 1, true);
    EXPECT_NEAR(equal.losses[0], std::log(256.0), 1e-5) << shift;
    EXPECT_NEAR(equal.gradients[1], 1 / 256.0, 1e-8) << shift;
    EXPECT_NEAR(equal.gradients[0], 1 / 256.0 - 1, 4e-3) << shift;
  }
}

TYPED_TEST(CudaSoftmaxCrossEntropy, ACertainAnswerCostsNothingAndAWrongOneItsMargin) {
  FloatArray logits(2 * 257, -1e4f);
  logits[7] = logits[257 + 7] = 1e4f;
  const auto result = device_loss<TypeParam>({2, 257, 264}, logits, {7, 8}, 0.5f, true);
  const float margin = rounded<TypeParam>({1e4f})[0] - rounded<TypeParam>({-1e4f})[0];
  EXPECT_EQ(result.losses, (FloatArray{0, margin}));
  FloatArray expected(2 * 257);
  expected[257 + 7] = 0.5f;
  expected[257 + 8] = -0.5f;
  EXPECT_EQ(result.gradients, expected);
}

TYPED_TEST(CudaSoftmaxCrossEntropy, ANonFiniteLogitShowsInTheLoss) {
  for (const float bad : {kNaN, std::numeric_limits<float>::infinity()}) {
    FloatArray logits(3 * 300);
    logits[300 + 299] = bad;
    const auto result = device_loss<TypeParam>({3, 300, 304}, logits, {0, 0, 0}, 1, false);
    EXPECT_TRUE(std::isfinite(result.losses[0]) && std::isfinite(result.losses[2]));
    EXPECT_FALSE(std::isfinite(result.losses[1])) << bad;
  }
}

TEST(CudaRowLosses, AddToWhatWasThere) {
  for (const std::size_t rows : {0u, 1u, 255u, 257u, 1500u}) {
    const FloatArray losses = random_array(rows, 1);
    const DeviceArray<float> device(losses);
    const DeviceArray<double> sum(DoubleArray{1.5});
    cuda::add_row_losses(nullptr, static_cast<int>(rows), device.data(), sum.data());
    double expected = 1.5;
    for (const float loss : losses) expected += static_cast<double>(loss);
    EXPECT_NEAR(sum.values()[0], expected, 1e-12) << rows;
  }
}

}  // namespace
}  // namespace minichilla
