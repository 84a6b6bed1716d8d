#include "kernels/cuda/add_norm.h"

#include "tests/cuda/device_array.h"
#include "tests/cuda/real_types.h"
#include "tests/kernels/random_arrays.h"
#include "tests/kernels/reference_ops.h"

namespace minichilla {
namespace {

struct Inputs {
  int M, C;
  FloatArray residual, branch, weight, bias, d_normed, d_sum;
};

/// Values that Real has exactly. Without `every` there are neither branch nor d_sum.
template <class Real>
Inputs random_inputs(int M, int C, bool every, float shift = 0.5f) {
  const std::size_t size = static_cast<std::size_t>(M) * static_cast<std::size_t>(C),
                    width = static_cast<std::size_t>(C);
  FloatArray residual = random_array(size, 1);
  for (float& x : residual) x += shift;
  return {M,
          C,
          rounded<Real>(residual),
          every ? rounded<Real>(random_array(size, 2)) : FloatArray(),
          random_array(width, 3),
          random_array(width, 4),
          rounded<Real>(random_array(size, 5)),
          every ? rounded<Real>(random_array(size, 6)) : FloatArray()};
}

FloatArray shifted(std::size_t offset, const FloatArray& values) {
  FloatArray longer(offset);
  longer.insert(longer.end(), values.begin(), values.end());
  return longer;
}
FloatArray without(std::size_t offset, const FloatArray& values) {
  return FloatArray(values.begin() + static_cast<std::ptrdiff_t>(offset), values.end());
}

/// With `in_place` the sum overwrites the residual. Each row-major array starts `offset` elements behind an
/// aligned address.
template <class Real>
reference::Norm<float> forward(const Inputs& in, bool in_place = false, std::size_t offset = 0) {
  const std::size_t rows = static_cast<std::size_t>(in.M), size = in.residual.size();
  const DeviceArray<Real> residual(shifted(offset, in.residual)), branch(shifted(offset, in.branch)),
      sum(size + offset), normed(size + offset);
  const DeviceArray<float> weight(in.weight), bias(in.bias), mean(rows), rstd(rows);
  const bool with_branch = !in.branch.empty();
  Real* target = in_place ? residual.data() + offset : sum.data() + offset;
  cuda::add_norm<Real>(nullptr, in.M, in.C, residual.data() + offset,
                       with_branch ? branch.data() + offset : nullptr, weight.data(), bias.data(),
                       with_branch ? target : nullptr, normed.data() + offset, mean.data(), rstd.data());
  return {without(offset, in_place || !with_branch ? residual.floats() : sum.floats()),
          without(offset, normed.floats()), mean.floats(), rstd.floats()};
}

/// d_weight starts at 0.5 and d_bias at −0.25: both are added to.
template <class Real>
reference::NormGradients<float> backward(const Inputs& in, const reference::Norm<float>& norm,
                                         bool in_place = false, std::size_t offset = 0) {
  const std::size_t width = static_cast<std::size_t>(in.C);
  const DeviceArray<Real> d_normed(shifted(offset, in.d_normed)), d_sum(shifted(offset, in.d_sum)),
      sum(shifted(offset, norm.sum)), d_out(in.d_normed.size() + offset);
  const DeviceArray<float> mean(norm.mean), rstd(norm.rstd), weight(in.weight),
      d_weight(FloatArray(width, 0.5f)), d_bias(FloatArray(width, -0.25f)),
      scratch(static_cast<std::size_t>(cuda::add_norm_backward_scratch(in.M, in.C)));
  cuda::add_norm_backward<Real>(nullptr, in.M, in.C, d_normed.data() + offset,
                                in.d_sum.empty() ? nullptr : d_sum.data() + offset, sum.data() + offset,
                                mean.data(), rstd.data(), weight.data(),
                                in_place ? d_sum.data() + offset : d_out.data() + offset, d_weight.data(),
                                d_bias.data(), scratch.data());
  return {without(offset, in_place ? d_sum.floats() : d_out.floats()), d_weight.floats(), d_bias.floats()};
}

template <class Real>
void check(const Inputs& in, std::size_t offset = 0) {
  SCOPED_TRACE(testing::Message() << "M=" << in.M << " C=" << in.C << " branch=" << !in.branch.empty()
                                  << " offset=" << offset);
  const int M = in.M, C = in.C;
  const auto actual = forward<Real>(in, false, offset);
  const auto sums =
      reference::add_norm(M, C, widen(in.residual), widen(in.branch), widen(in.weight), widen(in.bias));
  FloatArray expected_sum;
  for (const double sum : sums.sum) expected_sum.push_back(widened(narrowed<Real>(static_cast<float>(sum))));
  EXPECT_EQ(actual.sum, expected_sum);
  // What follows is of the sum as it is stored.
  const auto exact = reference::add_norm(M, C, widen(actual.sum), {}, widen(in.weight), widen(in.bias));
  const auto naive = reference::add_norm(M, C, actual.sum, {}, in.weight, in.bias);
  expect_accurate("normed", actual.normed, exact.normed, naive.normed, kRoundedOnce<Real>);
  expect_accurate("mean", actual.mean, exact.mean, naive.mean);
  expect_accurate("rstd", actual.rstd, exact.rstd, naive.rstd);

  const auto d = backward<Real>(in, actual, false, offset);
  auto d_exact =
      reference::add_norm_backward(M, C, exact, widen(in.d_normed), widen(in.d_sum), widen(in.weight));
  auto d_naive = reference::add_norm_backward(M, C, naive, in.d_normed, in.d_sum, in.weight);
  for (std::size_t c = 0; c < in.weight.size(); ++c) {
    d_exact.weight[c] += 0.5;
    d_exact.bias[c] -= 0.25;
    d_naive.weight[c] += 0.5f;
    d_naive.bias[c] -= 0.25f;
  }
  expect_accurate("d_sum", d.sum, d_exact.sum, d_naive.sum, kRoundedOnce<Real>);
  expect_accurate("d_weight", d.weight, d_exact.weight, d_naive.weight);
  expect_accurate("d_bias", d.bias, d_exact.bias, d_naive.bias);
}

template <class Real>
class CudaAddNorm : public testing::Test {};
TYPED_TEST_SUITE(CudaAddNorm, RealTypes, RealNames);

TYPED_TEST(CudaAddNorm, AgreesWithTheReference) {
  for (const int C : {1, 3, 16, 17, 100, 257}) {
    check<TypeParam>(random_inputs<TypeParam>(C < 100 ? 67 : 9, C, true));
    check<TypeParam>(random_inputs<TypeParam>(5, C, false));
  }
}

TYPED_TEST(CudaAddNorm, AgreesWithTheReferenceWithSeveralWarpsToARow) {
  check<TypeParam>(random_inputs<TypeParam>(37, 768, true));
  check<TypeParam>(random_inputs<TypeParam>(2, 515, true));
  check<TypeParam>(random_inputs<TypeParam>(3, 1536, false));
  check<TypeParam>(random_inputs<TypeParam>(2, 8192, true));
}

TYPED_TEST(CudaAddNorm, AgreesWithTheReferenceInWideRows) {
  check<TypeParam>(random_inputs<TypeParam>(3, 8200, true));
  check<TypeParam>(random_inputs<TypeParam>(2, 12288, true));
  check<TypeParam>(random_inputs<TypeParam>(33, 4099, false));  // summed by two blocks
  check<TypeParam>(random_inputs<TypeParam>(2, 8193, true));
  check<TypeParam>(random_inputs<TypeParam>(2, 9001, false));
}

// Part of such a row is read again.
TYPED_TEST(CudaAddNorm, AgreesWithTheReferenceInRowsTooWideToKeep) {
  check<TypeParam>(random_inputs<TypeParam>(3, 12296, true));
  check<TypeParam>(random_inputs<TypeParam>(2, 12291, false));
}

TYPED_TEST(CudaAddNorm, AgreesWithTheReferenceAtAnyAddress) {
  check<TypeParam>(random_inputs<TypeParam>(3, 64, true), 1);
  check<TypeParam>(random_inputs<TypeParam>(2, 8200, true), 1);
}

TYPED_TEST(CudaAddNorm, KeepsItsDigitsFarFromZero) {
  check<TypeParam>(random_inputs<TypeParam>(11, 48, true, 1000));
}

TYPED_TEST(CudaAddNorm, ConstantRowsGiveTheBias) {
  Inputs in = random_inputs<TypeParam>(2, 5, false);
  in.residual = FloatArray(10, 3.0f);
  in.bias = {1, 2, 3, 4, 5};
  const auto out = forward<TypeParam>(in);
  EXPECT_EQ(out.normed, (FloatArray{1, 2, 3, 4, 5, 1, 2, 3, 4, 5}));
  EXPECT_FLOAT_EQ(out.rstd[0], 1 / std::sqrt(1e-5f));
}

TYPED_TEST(CudaAddNorm, SumMayBeTheResidualAndDSumOutMayBeDSumIn) {
  for (const int C : {13, 64, 768, 12296}) {
    const Inputs in = random_inputs<TypeParam>(C < 100 ? 9 : 2, C, true);
    const auto apart = forward<TypeParam>(in), in_place = forward<TypeParam>(in, true);
    EXPECT_EQ(in_place.sum, apart.sum);
    EXPECT_EQ(in_place.normed, apart.normed);
    const auto d_apart = backward<TypeParam>(in, apart), d_in_place = backward<TypeParam>(in, apart, true);
    EXPECT_EQ(d_in_place.sum, d_apart.sum);
    EXPECT_EQ(d_in_place.weight, d_apart.weight);
  }
}

}  // namespace
}  // namespace minichilla
