// The float64 reference's own gradients against central differences: what everything else is compared with is
// right.
#include "tests/kernels/reference_ops.h"

#include <gtest/gtest.h>

#include <functional>

#include "tests/kernels/comparison.h"

namespace minichilla::reference_ops_test {
namespace {

DoubleArray random_doubles(std::size_t size, unsigned seed) {
  return widen(random_array(size, seed));
}

double dot(const DoubleArray& a, const DoubleArray& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// `gradient` is d value / d x: each element to 1e-6 of the largest. Five-point central differences: with
/// steps of 1e-3 both truncation (h⁴) and rounding are far below that.
void expect_gradient(const char* what, DoubleArray& x, const DoubleArray& gradient,
                     const std::function<double()>& value) {
  ASSERT_EQ(x.size(), gradient.size()) << what;
  double largest = 0;
  for (const double g : gradient) largest = std::max(largest, std::abs(g));
  ASSERT_GT(largest, 0) << what;
  const double step = 1e-3;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double at = x[i];
    const auto moved = [&](double by) {
      x[i] = at + by;
      return value();
    };
    const double difference =
        (8 * (moved(step) - moved(-step)) - (moved(2 * step) - moved(-2 * step))) / (12 * step);
    x[i] = at;
    EXPECT_NEAR(gradient[i], difference, 1e-6 * largest) << what << " " << i;
  }
}

TEST(ReferenceGradients, Embed) {
  const int B = 2, T = 3, C = 2, V = 4;
  const std::vector<std::int32_t> tokens{0, 3, 3, 1, 0, 3};
  DoubleArray token = random_doubles(8, 1), position = random_doubles(6, 2);
  const DoubleArray d_out = random_doubles(12, 3);
  const auto d = reference::embed_backward(B, T, C, V, tokens, d_out);
  const auto value = [&] { return dot(d_out, reference::embed(B, T, C, tokens, token, position)); };
  expect_gradient("token_embedding", token, d.token_embedding, value);
  expect_gradient("position_embedding", position, d.position_embedding, value);
}

TEST(ReferenceGradients, AddNorm) {
  const int M = 3, C = 5;
  DoubleArray residual = random_doubles(15, 1), branch = random_doubles(15, 2), weight = random_doubles(5, 3),
              bias = random_doubles(5, 4);
  const DoubleArray d_normed = random_doubles(15, 5), d_sum = random_doubles(15, 6);
  const auto forward = reference::add_norm(M, C, residual, branch, weight, bias);
  const auto d = reference::add_norm_backward(M, C, forward, d_normed, d_sum, weight);
  const auto value = [&] {
    const auto moved = reference::add_norm(M, C, residual, branch, weight, bias);
    return dot(d_normed, moved.normed) + dot(d_sum, moved.sum);
  };
  expect_gradient("residual", residual, d.sum, value);
  expect_gradient("branch", branch, d.sum, value);
  expect_gradient("weight", weight, d.weight, value);
  expect_gradient("bias", bias, d.bias, value);
}

TEST(ReferenceGradients, LinearWithGeluBefore) {
  const LinearShape shape{3, 4, 2};
  DoubleArray before = random_doubles(12, 1), weight = random_doubles(8, 2), bias = random_doubles(2, 3);
  const DoubleArray d_y = random_doubles(6, 4);
  const auto activated = [&] {
    DoubleArray x = before;
    for (double& u : x) u = reference::gelu(u);
    return x;
  };
  const auto d = reference::linear_backward(shape, activated(), weight, d_y, before);
  const auto value = [&] { return dot(d_y, reference::linear(shape, activated(), weight, bias)); };
  expect_gradient("gelu_input", before, d.x, value);
  expect_gradient("weight", weight, d.weight, value);
  expect_gradient("bias", bias, d.bias, value);
}

TEST(ReferenceGradients, Attention) {
  for (const AttentionPattern& pattern : {AttentionPattern::dense(), AttentionPattern::banded(3)}) {
    const AttentionShape shape{2, 6, 2, 3, pattern};
    DoubleArray qkv = random_doubles(2 * 6 * 3 * 2 * 3, 1);
    const DoubleArray d_out = random_doubles(2 * 6 * 2 * 3, 2);
    const auto d = reference::attention_backward(shape, qkv, reference::attention(shape, qkv), d_out);
    expect_gradient("qkv", qkv, d, [&] { return dot(d_out, reference::attention(shape, qkv).out); });
  }
}

TEST(ReferenceGradients, Classifier) {
  const ClassifierShape shape{4, 3, 5};
  DoubleArray hidden = random_doubles(12, 1), weight = random_doubles(15, 2);
  const std::vector<std::int32_t> targets{0, 4, 2, 2};
  const auto d = reference::classifier(shape, hidden, weight, targets, 0.7);
  const auto value = [&] {
    return 0.7 * reference::classifier(shape, hidden, weight, targets, 0.7).loss_sum;
  };
  expect_gradient("hidden", hidden, d.d_hidden, value);
  expect_gradient("weight", weight, d.d_weight, value);
}

}  // namespace
}  // namespace minichilla::reference_ops_test
