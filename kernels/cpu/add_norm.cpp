// Residual addition and layer norm (Ba et al. 2016), forward and backward.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/add_norm.cpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <type_traits>

#include "kernels/cpu/cpu_operations.h"
#include "kernels/cpu/simd_target.h"
// Highway's order: what is compiled once per target follows foreach_target.h.
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace minichilla::HWY_NAMESPACE {

/// Rows that are worked on together: one alone waits for each of its sums.
constexpr std::size_t kRowsAtOnce = 4;

/// kRows rows of add_norm(), its `mean` and `rstd` beginning with them.
template <std::size_t kRows>
HWY_INLINE void add_norm_rows_at(std::size_t C, const float* residual, const float* branch,
                                 const float* weight, const float* bias, float* sum, float* normed,
                                 float* mean, float* rstd) {
  constexpr float kEpsilon = 1e-5f;
  const float share = 1 / static_cast<float>(C);
  const float* x = residual;
  if (branch != nullptr) {
    for_each_vector(kRows * C, [&](auto access, std::size_t c) HWY_ATTR {
      access.store(hn::Add(access.load(residual + c), access.load(branch + c)), sum + c);
    });
    x = sum;
  }
  for (std::size_t m = 0; m < kRows; ++m) {
    const float* const row = x + m * C;
    mean[m] = share * sum_over(C, [&](auto access, std::size_t c) HWY_ATTR { return access.load(row + c); });
  }
  for (std::size_t m = 0; m < kRows; ++m) {
    const float* const row = x + m * C;
    const Floats center = splat(mean[m]);
    // From centred values: the difference of the mean square and the squared mean would cancel.
    const float variance = share * sum_over(C, [&](auto access, std::size_t c) HWY_ATTR {
                             const Floats centred = access.only(hn::Sub(access.load(row + c), center));
                             return hn::Mul(centred, centred);
                           });
    rstd[m] = 1 / std::sqrt(variance + kEpsilon);
  }
  for (std::size_t m = 0; m < kRows; ++m) {
    const float* const row = x + m * C;
    float* const out = normed + m * C;
    const Floats center = splat(mean[m]), scale = splat(rstd[m]);
    for_each_vector(C, [&](auto access, std::size_t c) HWY_ATTR {
      const Floats centred = hn::Mul(hn::Sub(access.load(row + c), center), scale);
      access.store(hn::MulAdd(centred, access.load(weight + c), access.load(bias + c)), out + c);
    });
  }
}

void add_norm_rows(std::size_t M, std::size_t C, const float* residual, const float* branch,
                   const float* weight, const float* bias, float* sum, float* normed, float* mean,
                   float* rstd) {
  const auto rows_at = [&](auto count, std::size_t m) HWY_ATTR {
    const std::size_t at = m * C;
    add_norm_rows_at<count>(C, residual + at, branch != nullptr ? branch + at : nullptr, weight, bias,
                            sum != nullptr ? sum + at : nullptr, normed + at, mean + m, rstd + m);
  };
  std::size_t m = 0;
  for (; m + kRowsAtOnce <= M; m += kRowsAtOnce)
    rows_at(std::integral_constant<std::size_t, kRowsAtOnce>(), m);
  for (; m < M; ++m) rows_at(std::integral_constant<std::size_t, 1>(), m);
}

/// The input gradients of kRows rows: with x a normed row before weight and bias and g = d_normed · weight,
/// it is rstd · (g − mean(g) − x · mean(g · x)).
template <std::size_t kRows>
HWY_INLINE void norm_backward_rows_at(std::size_t C, const float* d_normed, const float* d_sum_in,
                                      const float* sum, const float* mean, const float* rstd,
                                      const float* weight, float* d_sum_out) {
  const float share = 1 / static_cast<float>(C);
  const auto gradient = [&](auto access, std::size_t at, std::size_t c) HWY_ATTR {
    return hn::Mul(access.load(d_normed + at + c), access.load(weight + c));
  };
  float mean_g[kRows], mean_gx[kRows];
  for (std::size_t m = 0; m < kRows; ++m) {
    mean_g[m] =
        share * sum_over(C, [&](auto access, std::size_t c) HWY_ATTR { return gradient(access, m * C, c); });
  }
  for (std::size_t m = 0; m < kRows; ++m) {
    const Floats center = splat(mean[m]), scale = splat(rstd[m]);
    mean_gx[m] = share * sum_over(C, [&](auto access, std::size_t c) HWY_ATTR {
                   const Floats normed = hn::Mul(hn::Sub(access.load(sum + m * C + c), center), scale);
                   return hn::Mul(gradient(access, m * C, c), normed);
                 });
  }
  for (std::size_t m = 0; m < kRows; ++m) {
    const Floats center = splat(mean[m]), scale = splat(rstd[m]);
    const Floats all_g = splat(mean_g[m]), all_gx = splat(mean_gx[m]);
    for_each_vector(C, [&](auto access, std::size_t c) HWY_ATTR {
      const Floats normed = hn::Mul(hn::Sub(access.load(sum + m * C + c), center), scale);
      const Floats centred = hn::NegMulAdd(normed, all_gx, hn::Sub(gradient(access, m * C, c), all_g));
      const Floats from_later = d_sum_in != nullptr ? access.load(d_sum_in + m * C + c) : hn::Zero(kFloat);
      access.store(hn::MulAdd(scale, centred, from_later), d_sum_out + m * C + c);
    });
  }
}

/// d_weight and d_bias += what kVectors vectors of columns of some rows give. Several at once hide the
/// adder's latency.
template <std::size_t kVectors, class Access>
HWY_INLINE void add_weight_gradients(Access access, std::size_t rows, std::size_t C, const float* d_normed,
                                     const float* sum, const float* mean, const float* rstd, float* d_weight,
                                     float* d_bias) {
  Floats d_w[kVectors], d_b[kVectors];
  for (std::size_t i = 0; i < kVectors; ++i) d_w[i] = d_b[i] = hn::Zero(kFloat);
  for (std::size_t m = 0; m < rows; ++m) {
    const Floats center = splat(mean[m]), scale = splat(rstd[m]);
    for (std::size_t i = 0; i < kVectors; ++i) {
      const Floats d = access.load(d_normed + m * C + i * kLanes);
      const Floats x = hn::Mul(hn::Sub(access.load(sum + m * C + i * kLanes), center), scale);
      d_w[i] = hn::MulAdd(d, x, d_w[i]);
      d_b[i] = hn::Add(d, d_b[i]);
    }
  }
  for (std::size_t i = 0; i < kVectors; ++i) {
    access.store(hn::Add(access.load(d_weight + i * kLanes), d_w[i]), d_weight + i * kLanes);
    access.store(hn::Add(access.load(d_bias + i * kLanes), d_b[i]), d_bias + i * kLanes);
  }
}

void add_norm_backward_rows(std::size_t M, std::size_t C, const float* d_normed, const float* d_sum_in,
                            const float* sum, const float* mean, const float* rstd, const float* weight,
                            float* d_sum_out, float* d_weight, float* d_bias) {
  // Few enough rows to be in cache when their columns are summed, and a second level of summation for
  // accuracy.
  constexpr std::size_t kRows = 32;
  const auto rows_at = [&](auto count, std::size_t m) HWY_ATTR {
    const std::size_t at = m * C;
    norm_backward_rows_at<count>(C, d_normed + at, d_sum_in != nullptr ? d_sum_in + at : nullptr, sum + at,
                                 mean + m, rstd + m, weight, d_sum_out + at);
  };
  for (std::size_t begin = 0; begin < M; begin += kRows) {
    const std::size_t end = std::min(M, begin + kRows);
    std::size_t m = begin;
    for (; m + kRowsAtOnce <= end; m += kRowsAtOnce)
      rows_at(std::integral_constant<std::size_t, kRowsAtOnce>(), m);
    for (; m < end; ++m) rows_at(std::integral_constant<std::size_t, 1>(), m);

    const std::size_t at = begin * C;
    constexpr std::size_t kTogether = 2;
    std::size_t c = 0;
    for (; c + kTogether * kLanes <= C; c += kTogether * kLanes) {
      add_weight_gradients<kTogether>(Whole(), end - begin, C, d_normed + at + c, sum + at + c, mean + begin,
                                      rstd + begin, d_weight + c, d_bias + c);
    }
    for_each_vector(C - c, [&](auto access, std::size_t i) HWY_ATTR {
      add_weight_gradients<1>(access, end - begin, C, d_normed + at + c + i, sum + at + c + i, mean + begin,
                              rstd + begin, d_weight + c + i, d_bias + c + i);
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
