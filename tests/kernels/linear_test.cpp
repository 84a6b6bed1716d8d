#include <limits>

#include "kernels/cpu/simd_target.h"
#include "tests/kernels/comparison.h"
#include "tests/kernels/reference_ops.h"

namespace minichilla::linear_test {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

template <class Real>
std::vector<Real> gelu_of(std::vector<Real> values) {
  for (Real& value : values) value = reference::gelu(value);
  return values;
}

/// What the CPU keeps of an input of gelu.
template <class Real>
std::vector<Real> gelu_derivative_of(std::vector<Real> values) {
  for (Real& value : values) value = reference::gelu_derivative(value);
  return values;
}

class Linear : public EveryTarget {
 protected:
  void check(LinearShape shape, bool with_gelu) {
    SCOPED_TRACE(testing::Message() << "M=" << shape.M << " in=" << shape.in << " out=" << shape.out);
    const std::size_t rows = static_cast<std::size_t>(shape.M), in = static_cast<std::size_t>(shape.in),
                      out = static_cast<std::size_t>(shape.out);
    const FloatArray x = random_array(rows * in, 1), weight = random_array(out * in, 2),
                     bias = random_array(out, 3);
    // Outputs start as NaN: they are replaced, not added to.
    FloatArray y(rows * out, kNaN), gelu_state(rows * out, kNaN);
    on_lane([&](Lane& lane) {
      ops().linear(lane, shape, x.data(), weight.data(), bias.data(), y.data(),
                   with_gelu ? gelu_state.data() : nullptr);
    });
    const DoubleArray exact = reference::linear(shape, widen(x), widen(weight), widen(bias));
    const FloatArray naive = reference::linear(shape, x, weight, bias);
    if (with_gelu) {
      expect_accurate("gelu", y, gelu_of(exact), gelu_of(naive));
      expect_accurate("gelu_state", gelu_state, gelu_derivative_of(exact), gelu_derivative_of(naive));
    } else {
      expect_accurate("y", y, exact, naive);
    }
  }

  void check_backward(LinearShape shape, bool with_gelu) {
    SCOPED_TRACE(testing::Message() << "M=" << shape.M << " in=" << shape.in << " out=" << shape.out);
    const std::size_t rows = static_cast<std::size_t>(shape.M), in = static_cast<std::size_t>(shape.in),
                      out = static_cast<std::size_t>(shape.out);
    const FloatArray before = random_array(rows * in, 1, 2), x = with_gelu ? gelu_of(before) : before;
    const FloatArray weight = random_array(out * in, 2), d_y = random_array(rows * out, 3);
    const FloatArray gelu_input = with_gelu ? before : FloatArray(), gelu_state = gelu_derivative_of(before);
    FloatArray d_x(rows * in, kNaN), d_weight(out * in, 0.5f), d_bias(out, -2.0f);
    on_lane([&](Lane& lane) {
      ops().linear_backward(lane, shape, x.data(), weight.data(), d_y.data(),
                            with_gelu ? gelu_state.data() : nullptr, d_x.data(), d_weight.data(),
                            d_bias.data());
    });
    auto exact = reference::linear_backward(shape, widen(x), widen(weight), widen(d_y), widen(gelu_input));
    auto naive = reference::linear_backward(shape, x, weight, d_y, gelu_input);
    for (double& d : exact.weight) d += 0.5;
    for (double& d : exact.bias) d -= 2;
    for (float& d : naive.weight) d += 0.5f;
    for (float& d : naive.bias) d -= 2;
    expect_accurate("d_x", d_x, exact.x, naive.x);
    expect_accurate("d_weight", d_weight, exact.weight, naive.weight);
    expect_accurate("d_bias", d_bias, exact.bias, naive.bias);
  }
};

// One row, prime sizes, sizes below and above the vector width, and more rows than are worked on at once.
const LinearShape kShapes[] = {{1, 1, 1},    {1, 16, 48},  {7, 3, 5},     {13, 24, 17},  {64, 16, 64},
                               {67, 64, 16}, {130, 9, 33}, {301, 40, 31}, {70, 96, 384}, {257, 8, 600}};

TEST_P(Linear, AgreesWithTheReference) {
  for (const LinearShape& shape : kShapes) {
    check(shape, false);
    check(shape, true);
  }
}

TEST_P(Linear, GradientsAgreeWithTheReferenceAndAddUp) {
  for (const LinearShape& shape : kShapes) {
    check_backward(shape, false);
    check_backward(shape, true);
  }
}

/// gelu and its derivative at single points: through a layer of one weight 1 and bias 0.
TEST_P(Linear, GeluIsAccurateFromTinyToHugeInputs) {
  FloatArray points{0,     1e-20f, -1e-20f, 1e-4f, -1e-4f, 15.9f,  -15.9f,
                    16.1f, -16.1f, 100,     -100,  1e15f,  -1e15f, 1e30f};
  for (int i = -800; i <= 800; ++i) points.push_back(static_cast<float>(i) / 100);
  const LinearShape shape{static_cast<int>(points.size()), 1, 1};
  const FloatArray one(1, 1.0f), zero(1, 0.0f), ones(points.size(), 1.0f);
  FloatArray y(points.size()), gelu_state(points.size()), d_x(points.size()), d_weight(1), d_bias(1);
  on_lane([&](Lane& lane) {
    ops().linear(lane, shape, points.data(), one.data(), zero.data(), y.data(), gelu_state.data());
    ops().linear_backward(lane, shape, y.data(), one.data(), ones.data(), gelu_state.data(), d_x.data(),
                          d_weight.data(), d_bias.data());
  });
  for (std::size_t i = 0; i < points.size(); ++i) {
    const double u = static_cast<double>(points[i]);
    const double value = reference::gelu(u),
                 slope = std::abs(u) > 50 ? (u > 0 ? 1 : 0) : reference::gelu_derivative(u);
    EXPECT_NEAR(static_cast<double>(y[i]), value, 2e-6 * std::abs(value) + 1e-7 * std::min(1.0, std::abs(u)))
        << u;
    EXPECT_NEAR(static_cast<double>(d_x[i]), slope, 2e-6) << u;
  }
}

TEST_P(Linear, NaNIsNotLost) {
  const LinearShape shape{3, 2, 2};
  FloatArray x{1, 2, kNaN, 1, 3, 4}, y(6), gelu_state(6);
  const FloatArray weight{1, 2, 3, 4}, bias{0, 0};
  on_lane([&](Lane& lane) {
    ops().linear(lane, shape, x.data(), weight.data(), bias.data(), y.data(), gelu_state.data());
  });
  EXPECT_TRUE(std::isnan(y[2]) && std::isnan(y[3]));
  EXPECT_TRUE(std::isnan(gelu_state[2]) && std::isnan(gelu_state[3]));
  for (const std::size_t i : {0, 1, 4, 5}) EXPECT_TRUE(std::isfinite(y[i])) << i;
}

MINICHILLA_ON_EVERY_TARGET(Linear);

}  // namespace
}  // namespace minichilla::linear_test
