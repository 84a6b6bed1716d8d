#include "kernels/cpu/simd_target.h"
#include "tests/kernels/comparison.h"
#include "tests/kernels/reference_ops.h"

namespace minichilla::add_norm_test {
namespace {

class AddNorm : public EveryTarget {
 protected:
  struct Gradients {
    FloatArray sum, weight, bias;
  };

  reference::Norm<float> forward(int M, int C, const FloatArray& residual, const FloatArray& branch,
                                 const FloatArray& weight, const FloatArray& bias) {
    const std::size_t rows = static_cast<std::size_t>(M);
    reference::Norm<float> out{residual, FloatArray(residual.size()), FloatArray(rows), FloatArray(rows)};
    on_lane([&](Lane& lane) {
      ops().add_norm(lane, M, C, residual.data(), branch.empty() ? nullptr : branch.data(), weight.data(),
                     bias.data(), branch.empty() ? nullptr : out.sum.data(), out.normed.data(),
                     out.mean.data(), out.rstd.data());
    });
    return out;
  }

  void check(int M, int C, float deviation, float shift, bool with_branch, bool with_d_sum) {
    SCOPED_TRACE(testing::Message() << "M=" << M << " C=" << C << " branch=" << with_branch
                                    << " d_sum=" << with_d_sum);
    const std::size_t size = static_cast<std::size_t>(M * C), width = static_cast<std::size_t>(C);
    FloatArray residual = random_array(size, 1, deviation);
    for (float& x : residual) x += shift;
    const FloatArray branch = with_branch ? random_array(size, 2, deviation) : FloatArray();
    const FloatArray weight = random_array(width, 3), bias = random_array(width, 4);
    const FloatArray d_normed = random_array(size, 5),
                     d_sum = with_d_sum ? random_array(size, 6) : FloatArray();

    const auto actual = forward(M, C, residual, branch, weight, bias);
    const auto exact = reference::add_norm(M, C, widen(residual), widen(branch), widen(weight), widen(bias));
    const auto naive = reference::add_norm(M, C, residual, branch, weight, bias);
    expect_accurate("sum", actual.sum, exact.sum, naive.sum);
    expect_accurate("normed", actual.normed, exact.normed, naive.normed);
    expect_accurate("mean", actual.mean, exact.mean, naive.mean);
    expect_accurate("rstd", actual.rstd, exact.rstd, naive.rstd);

    Gradients d{FloatArray(size), FloatArray(width, 0.5f), FloatArray(width, -0.25f)};
    on_lane([&](Lane& lane) {
      ops().add_norm_backward(lane, M, C, d_normed.data(), with_d_sum ? d_sum.data() : nullptr,
                              actual.sum.data(), actual.mean.data(), actual.rstd.data(), weight.data(),
                              d.sum.data(), d.weight.data(), d.bias.data());
    });
    auto d_exact = reference::add_norm_backward(M, C, exact, widen(d_normed), widen(d_sum), widen(weight));
    auto d_naive = reference::add_norm_backward(M, C, naive, d_normed, d_sum, weight);
    for (std::size_t c = 0; c < width; ++c) {  // parameter gradients add to what was there
      d_exact.weight[c] += 0.5;
      d_exact.bias[c] -= 0.25;
      d_naive.weight[c] += 0.5f;
      d_naive.bias[c] -= 0.25f;
    }
    expect_accurate("d_sum", d.sum, d_exact.sum, d_naive.sum);
    expect_accurate("d_weight", d.weight, d_exact.weight, d_naive.weight);
    expect_accurate("d_bias", d.bias, d_exact.bias, d_naive.bias);
  }
};

TEST_P(AddNorm, AgreesWithTheReference) {
  for (const int C : {1, 3, 7, 16, 24, 33, 96, 257}) {
    for (const int M : {1, 5, 67}) {
      check(M, C, 1, 0.5f, true, true);
      check(M, C, 1, 0.5f, false, false);
    }
  }
}

TEST_P(AddNorm, KeepsItsDigitsFarFromZero) {
  check(11, 48, 1, 1000, true, false);
}

TEST_P(AddNorm, ConstantRowsGiveTheBias) {
  const auto out = forward(2, 5, FloatArray(10, 3.0f), {}, FloatArray(5, 2.0f), {1, 2, 3, 4, 5});
  EXPECT_EQ(out.normed, (FloatArray{1, 2, 3, 4, 5, 1, 2, 3, 4, 5}));
  EXPECT_FLOAT_EQ(out.rstd[0], 1 / std::sqrt(1e-5f));
}

TEST_P(AddNorm, SumMayBeTheResidualAndDSumOutMayBeDSumIn) {
  const int M = 9, C = 13;
  const std::size_t size = 9 * 13;
  const FloatArray residual = random_array(size, 1), branch = random_array(size, 2),
                   weight = random_array(13, 3);
  const auto apart = forward(M, C, residual, branch, weight, weight);
  FloatArray sum = residual, normed(size), mean(9), rstd(9);
  const FloatArray d_normed = random_array(size, 4), d_sum = random_array(size, 5);
  FloatArray d_apart(size), d_in_place = d_sum, d_weight(13), d_bias(13);
  on_lane([&](Lane& lane) {
    ops().add_norm(lane, M, C, sum.data(), branch.data(), weight.data(), weight.data(), sum.data(),
                   normed.data(), mean.data(), rstd.data());
    ops().add_norm_backward(lane, M, C, d_normed.data(), d_sum.data(), sum.data(), mean.data(), rstd.data(),
                            weight.data(), d_apart.data(), d_weight.data(), d_bias.data());
    ops().add_norm_backward(lane, M, C, d_normed.data(), d_in_place.data(), sum.data(), mean.data(),
                            rstd.data(), weight.data(), d_in_place.data(), d_weight.data(), d_bias.data());
  });
  EXPECT_EQ(sum, apart.sum);
  EXPECT_EQ(normed, apart.normed);
  EXPECT_EQ(d_in_place, d_apart);
}

MINICHILLA_ON_EVERY_TARGET(AddNorm);

}  // namespace
}  // namespace minichilla::add_norm_test
