// Residual addition and layer norm (Ba et al. 2016), forward and backward.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/add_norm.cpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "kernels/cpu/cpu_operations.h"
#include "kernels/cpu/simd_target.h"
// Highway's order: what is compiled once per target follows foreach_target.h.
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace minichilla::HWY_NAMESPACE {

void add_norm_rows(std::size_t M, std::size_t C, const float* residual, const float* branch,
                   const float* weight, const float* bias, float* sum, float* normed, float* mean,
                   float* rstd) {
  constexpr float kEpsilon = 1e-5f;
  const float share = 1 / static_cast<float>(C);
  for (std::size_t m = 0; m < M; ++m, residual += C, normed += C) {
    const float* row = residual;
    if (branch != nullptr) {
      for_each_vector(C, [&](auto access, std::size_t c) HWY_ATTR {
        access.store(hn::Add(access.load(residual + c), access.load(branch + c)), sum + c);
      });
      row = sum;
      branch += C;
      sum += C;
    }
    const float mu =
        share * sum_over(C, [&](auto access, std::size_t c) HWY_ATTR { return access.load(row + c); });
    const Floats center = splat(mu);
    // From centred values: the difference of the mean square and the squared mean would cancel.
    const float variance = share * sum_over(C, [&](auto access, std::size_t c) HWY_ATTR {
                             const Floats x = access.only(hn::Sub(access.load(row + c), center));
                             return hn::Mul(x, x);
                           });
    const float r = 1 / std::sqrt(variance + kEpsilon);
    const Floats scale = splat(r);
    for_each_vector(C, [&](auto access, std::size_t c) HWY_ATTR {
      const Floats x = hn::Mul(hn::Sub(access.load(row + c), center), scale);
      access.store(hn::MulAdd(x, access.load(weight + c), access.load(bias + c)), normed + c);
    });
    mean[m] = mu;
    rstd[m] = r;
  }
}

/// The input gradient of one row: with x the normed row before weight and bias and g = d_normed · weight, it
/// is rstd · (g − mean(g) − x · mean(g · x)).
HWY_INLINE void norm_backward_row(std::size_t C, const float* d_normed, const float* d_sum_in,
                                  const float* sum, float mu, float r, const float* weight,
                                  float* d_sum_out) {
  const Floats center = splat(mu), scale = splat(r);
  const auto gradient = [&](auto access, std::size_t c)
                            HWY_ATTR { return hn::Mul(access.load(d_normed + c), access.load(weight + c)); };
  const auto normed = [&](auto access, std::size_t c)
                          HWY_ATTR { return hn::Mul(hn::Sub(access.load(sum + c), center), scale); };
  const float share = 1 / static_cast<float>(C);
  const Floats mean_g = splat(share * sum_over(C, gradient));
  const Floats mean_gx = splat(share * sum_over(C, [&](auto access, std::size_t c) HWY_ATTR {
                                 return hn::Mul(gradient(access, c), normed(access, c));
                               }));
  for_each_vector(C, [&](auto access, std::size_t c) HWY_ATTR {
    const Floats centred = hn::NegMulAdd(normed(access, c), mean_gx, hn::Sub(gradient(access, c), mean_g));
    const Floats from_later = d_sum_in != nullptr ? access.load(d_sum_in + c) : hn::Zero(kFloat);
    access.store(hn::MulAdd(scale, centred, from_later), d_sum_out + c);
  });
}

void add_norm_backward_rows(std::size_t M, std::size_t C, const float* d_normed, const float* d_sum_in,
                            const float* sum, const float* mean, const float* rstd, const float* weight,
                            float* d_sum_out, float* d_weight, float* d_bias) {
  // Few enough rows to be in cache when their columns are summed, and a second level of summation for
  // accuracy.
  constexpr std::size_t kRows = 32;
  for (std::size_t begin = 0; begin < M; begin += kRows) {
    const std::size_t end = std::min(M, begin + kRows);
    for (std::size_t m = begin; m < end; ++m) {
      norm_backward_row(C, d_normed + m * C, d_sum_in != nullptr ? d_sum_in + m * C : nullptr, sum + m * C,
                        mean[m], rstd[m], weight, d_sum_out + m * C);
    }
    for_each_vector(C, [&](auto access, std::size_t c) HWY_ATTR {
      Floats d_w = hn::Zero(kFloat), d_b = d_w;
      for (std::size_t m = begin; m < end; ++m) {
        const Floats d = access.load(d_normed + m * C + c);
        const Floats x = hn::Mul(hn::Sub(access.load(sum + m * C + c), splat(mean[m])), splat(rstd[m]));
        d_w = hn::MulAdd(d, x, d_w);
        d_b = hn::Add(d, d_b);
      }
      access.store(hn::Add(access.load(d_weight + c), d_w), d_weight + c);
      access.store(hn::Add(access.load(d_bias + c), d_b), d_bias + c);
    });
  }
}

}  // namespace minichilla::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace minichilla {
namespace {

HWY_EXPORT(add_norm_rows);
HWY_EXPORT(add_norm_backward_rows);

}  // namespace

void CpuOperations::add_norm(Lane&, int M, int C, const float* residual, const float* branch,
                             const float* weight, const float* bias, float* sum, float* normed, float* mean,
                             float* rstd) const {
  HWY_DYNAMIC_DISPATCH(add_norm_rows)
  (static_cast<std::size_t>(M), static_cast<std::size_t>(C), residual, branch, weight, bias, sum, normed,
   mean, rstd);
}

void CpuOperations::add_norm_backward(Lane&, int M, int C, const float* d_normed, const float* d_sum_in,
                                      const float* sum, const float* mean, const float* rstd,
                                      const float* weight, float* d_sum_out, float* d_weight,
                                      float* d_bias) const {
  HWY_DYNAMIC_DISPATCH(add_norm_backward_rows)
  (static_cast<std::size_t>(M), static_cast<std::size_t>(C), d_normed, d_sum_in, sum, mean, rstd, weight,
   d_sum_out, d_weight, d_bias);
}

}  // namespace minichilla
#endif
