// Linear layers with bias and GELU. The element-wise work is done on blocks of a product while they are in
// cache.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/linear.cpp"

#include <cstddef>

#include "kernels/cpu/cpu_lane.h"
#include "kernels/cpu/cpu_operations.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/simd_target.h"
// Highway's order: what is compiled once per target follows foreach_target.h.
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace minichilla::HWY_NAMESPACE {

// The tanh form of GELU (Hendrycks & Gimpel 2016): u·(1 + tanh z)/2 with z = sqrt(2/π)·(u + 0.044715·u³).
// Since (1 + tanh z)/2 = σ(2z), the logistic function, one exponential of −|2z| gives value and derivative
// without cancellation or overflow.
constexpr float kGeluSlope = 2 * 0.79788456f, kGeluCubic = 0.044715f * kGeluSlope;

/// Vectors that are worked on together; see exp_bounded.
constexpr std::size_t kAtOnce = 4;

/// Of kCount vectors, step by step as in exp_bounded: each u = gelu(u), derivative = gelu'(u), which is
/// σ + u·σ·(1 − σ)·d(2z)/du.
template <std::size_t kCount>
HWY_INLINE void gelu(Floats (&u)[kCount], Floats (&derivative)[kCount]) {
  Floats e[kCount];
  for (std::size_t i = 0; i < kCount; ++i) {
    const Floats z2 = hn::Mul(u[i], hn::MulAdd(splat(kGeluCubic), hn::Mul(u[i], u[i]), splat(kGeluSlope)));
    e[i] = hn::Or(z2, splat(-0.0f));
  }
  exp_bounded(e);
  for (std::size_t i = 0; i < kCount; ++i) {
    const Floats larger = hn::Div(splat(1.0f), hn::Add(splat(1.0f), e[i]));
    const Floats numerator = hn::IfThenElse(hn::Lt(u[i], hn::Zero(kFloat)), e[i], splat(1.0f));
    const Floats logistic = hn::Mul(numerator, larger), slope = hn::Mul(hn::Mul(e[i], larger), larger);
    // Beyond ±16 the slope is 0, while the last factor could overflow.
    const Floats near = hn::Min(hn::Max(u[i], splat(-16)), splat(16));
    const Floats d_z2 = hn::MulAdd(hn::Mul(splat(3 * kGeluCubic), near), near, splat(kGeluSlope));
    derivative[i] = hn::MulAdd(hn::Mul(near, slope), d_z2, logistic);
    u[i] = hn::Mul(u[i], logistic);
  }
}

// Blocks of matrices whose rows are `stride` floats apart.

/// y = gelu(y), derivative = gelu'(y)
template <std::size_t kCount, class Access>
HWY_INLINE void gelu_at(Access access, float* y, float* derivative) {
  Floats u[kCount], slope[kCount];
  for (std::size_t i = 0; i < kCount; ++i) u[i] = access.load(y + i * kLanes);
  gelu(u, slope);
  for (std::size_t i = 0; i < kCount; ++i) {
    access.store(u[i], y + i * kLanes);
    access.store(slope[i], derivative + i * kLanes);
  }
}

void gelu_rows(std::size_t rows, std::size_t columns, std::size_t stride, float* y, float* derivative) {
  for (std::size_t m = 0; m < rows; ++m, y += stride, derivative += stride) {
    std::size_t c = 0;
    for (; c + kAtOnce * kLanes <= columns; c += kAtOnce * kLanes) {
      gelu_at<kAtOnce>(Whole(), y + c, derivative + c);
    }
    for_each_vector(columns - c, [&](auto access, std::size_t i)
                                     HWY_ATTR { gelu_at<1>(access, y + c + i, derivative + c + i); });
  }
}

/// x *= factors
void multiply_by(std::size_t rows, std::size_t columns, std::size_t stride, const float* factors, float* x) {
  for (std::size_t m = 0; m < rows; ++m, factors += stride, x += stride) {
    for_each_vector(columns, [&](auto access, std::size_t c) HWY_ATTR {
      access.store(hn::Mul(access.load(x + c), access.load(factors + c)), x + c);
    });
  }
}

/// out (columns) += column sums of x (rows, columns). Four columns of vectors at a time hide the adder's
/// latency.
void add_column_sums(std::size_t rows, std::size_t columns, const float* x, float* out) {
  std::size_t c = 0;
  for (; c + 4 * kLanes <= columns; c += 4 * kLanes) {
    Floats s0 = hn::Zero(kFloat), s1 = s0, s2 = s0, s3 = s0;
    for (std::size_t m = 0; m < rows; ++m) {
      const float* row = x + m * columns + c;
      s0 = hn::Add(s0, hn::LoadU(kFloat, row));
      s1 = hn::Add(s1, hn::LoadU(kFloat, row + kLanes));
      s2 = hn::Add(s2, hn::LoadU(kFloat, row + 2 * kLanes));
      s3 = hn::Add(s3, hn::LoadU(kFloat, row + 3 * kLanes));
    }
    hn::StoreU(hn::Add(s0, hn::LoadU(kFloat, out + c)), kFloat, out + c);
    hn::StoreU(hn::Add(s1, hn::LoadU(kFloat, out + c + kLanes)), kFloat, out + c + kLanes);
    hn::StoreU(hn::Add(s2, hn::LoadU(kFloat, out + c + 2 * kLanes)), kFloat, out + c + 2 * kLanes);
    hn::StoreU(hn::Add(s3, hn::LoadU(kFloat, out + c + 3 * kLanes)), kFloat, out + c + 3 * kLanes);
  }
  for_each_vector(columns - c, [&](auto access, std::size_t i) HWY_ATTR {
    Floats s = hn::Zero(kFloat);
    for (std::size_t m = 0; m < rows; ++m) s = hn::Add(s, access.load(x + m * columns + c + i));
    access.store(hn::Add(s, access.load(out + c + i)), out + c + i);
  });
}

}  // namespace minichilla::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace minichilla {
namespace {

HWY_EXPORT(gelu_rows);
HWY_EXPORT(multiply_by);
HWY_EXPORT(add_column_sums);

struct Sizes {
  explicit Sizes(LinearShape shape)
      : M(static_cast<std::size_t>(shape.M)),
        in(static_cast<std::size_t>(shape.in)),
        out(static_cast<std::size_t>(shape.out)) {}
  std::size_t M, in, out;
};

}  // namespace

void CpuOperations::linear(Lane& lane, LinearShape shape, const float* x, const float* weight,
                           const float* bias, float* y, float* gelu_state) const {
  const auto [M, in, out] = Sizes(shape);
  const Product product{Transpose::no, Transpose::yes, M, out, in, x, in, weight, in, Output::replace, y, out,
                        bias};
  const auto apply_gelu = [&, columns = out](const ProductBlock& block) {
    const std::size_t at = block.row * columns + block.column;
    HWY_DYNAMIC_DISPATCH(gelu_rows)(block.rows, block.columns, columns, y + at, gelu_state + at);
  };
  gemm(precision_, product, gemm_workspace(lane),
       gelu_state != nullptr ? BlockDone(apply_gelu) : BlockDone());
}

void CpuOperations::linear_backward(Lane& lane, LinearShape shape, const float* x, const float* weight,
                                    const float* d_y, const float* gelu_state, float* d_x, float* d_weight,
                                    float* d_bias) const {
  const auto [M, in, out] = Sizes(shape);
  const auto finish = [&, columns = in, d_y_columns = out](const ProductBlock& block) {
    const std::size_t at = block.row * columns + block.column;
    if (gelu_state != nullptr) {
      HWY_DYNAMIC_DISPATCH(multiply_by)(block.rows, block.columns, columns, gelu_state + at, d_x + at);
    }
    // The product has just read these rows of d_y.
    if (block.column == 0) {
      HWY_DYNAMIC_DISPATCH(add_column_sums)
      (block.rows, d_y_columns, d_y + block.row * d_y_columns, d_bias);
    }
  };
  gemm(precision_, {Transpose::no, Transpose::no, M, in, out, d_y, out, weight, in, Output::replace, d_x, in},
       gemm_workspace(lane), BlockDone(finish));
  gemm(precision_, {Transpose::yes, Transpose::no, out, in, M, d_y, out, x, in, Output::add, d_weight, in},
       gemm_workspace(lane));
}

}  // namespace minichilla
#endif
