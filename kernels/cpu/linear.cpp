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

/// Of kCount vectors u, step by step as in exp_bounded: σ(2z) and σ(2z)·(1 − σ(2z)).
template <std::size_t kCount>
HWY_INLINE void gelu_logistic(const Floats (&u)[kCount], Floats (&value)[kCount],
                              Floats (&derivative)[kCount]) {
  Floats e[kCount];
  for (std::size_t i = 0; i < kCount; ++i) {
    const Floats z2 = hn::Mul(u[i], hn::MulAdd(splat(kGeluCubic), hn::Mul(u[i], u[i]), splat(kGeluSlope)));
    e[i] = hn::Or(z2, splat(-0.0f));
  }
  exp_bounded(e);
  for (std::size_t i = 0; i < kCount; ++i) {
    const Floats larger = hn::Div(splat(1.0f), hn::Add(splat(1.0f), e[i]));
    const Floats numerator = hn::IfThenElse(hn::Lt(u[i], hn::Zero(kFloat)), e[i], splat(1.0f));
    value[i] = hn::Mul(numerator, larger);
    derivative[i] = hn::Mul(hn::Mul(e[i], larger), larger);
  }
}

template <std::size_t kCount>
HWY_INLINE void gelu(Floats (&u)[kCount]) {
  Floats s[kCount], slope[kCount];
  gelu_logistic(u, s, slope);
  for (std::size_t i = 0; i < kCount; ++i) u[i] = hn::Mul(u[i], s[i]);
}

/// σ + u·σ·(1 − σ)·d(2z)/du
template <std::size_t kCount>
HWY_INLINE void gelu_derivative(Floats (&u)[kCount]) {
  Floats s[kCount], slope[kCount];
  // Beyond ±16 σ is 0 or 1 to the last bit, while the last factor could overflow.
  for (std::size_t i = 0; i < kCount; ++i) u[i] = hn::Min(hn::Max(u[i], splat(-16)), splat(16));
  gelu_logistic(u, s, slope);
  for (std::size_t i = 0; i < kCount; ++i) {
    const Floats d_z2 = hn::MulAdd(hn::Mul(splat(3 * kGeluCubic), u[i]), u[i], splat(kGeluSlope));
    u[i] = hn::MulAdd(hn::Mul(u[i], slope[i]), d_z2, s[i]);
  }
}

// Blocks of matrices whose rows are `stride` floats apart.

void add_bias(std::size_t rows, std::size_t columns, std::size_t stride, const float* bias, float* y) {
  for (std::size_t m = 0; m < rows; ++m, y += stride) {
    for_each_vector(columns, [&](auto access, std::size_t c) HWY_ATTR {
      access.store(hn::Add(access.load(y + c), access.load(bias + c)), y + c);
    });
  }
}

/// sum += bias; y = gelu(sum)
template <std::size_t kCount, class Access>
HWY_INLINE void add_bias_gelu_at(Access access, const float* bias, float* sum, float* y) {
  Floats u[kCount];
  for (std::size_t i = 0; i < kCount; ++i) {
    u[i] = hn::Add(access.load(sum + i * kLanes), access.load(bias + i * kLanes));
    access.store(u[i], sum + i * kLanes);
  }
  gelu(u);
  for (std::size_t i = 0; i < kCount; ++i) access.store(u[i], y + i * kLanes);
}

void add_bias_gelu(std::size_t rows, std::size_t columns, std::size_t stride, const float* bias, float* sum,
                   float* y) {
  for (std::size_t m = 0; m < rows; ++m, sum += stride, y += stride) {
    std::size_t c = 0;
    for (; c + kAtOnce * kLanes <= columns; c += kAtOnce * kLanes) {
      add_bias_gelu_at<kAtOnce>(Whole(), bias + c, sum + c, y + c);
    }
    for_each_vector(columns - c, [&](auto access, std::size_t i) HWY_ATTR {
      add_bias_gelu_at<1>(access, bias + c + i, sum + c + i, y + c + i);
    });
  }
}

/// d_x *= gelu'(gelu_input)
template <std::size_t kCount, class Access>
HWY_INLINE void multiply_gelu_derivative_at(Access access, const float* gelu_input, float* d_x) {
  Floats u[kCount];
  for (std::size_t i = 0; i < kCount; ++i) u[i] = access.load(gelu_input + i * kLanes);
  gelu_derivative(u);
  for (std::size_t i = 0; i < kCount; ++i) {
    access.store(hn::Mul(access.load(d_x + i * kLanes), u[i]), d_x + i * kLanes);
  }
}

void multiply_gelu_derivative(std::size_t rows, std::size_t columns, std::size_t stride,
                              const float* gelu_input, float* d_x) {
  for (std::size_t m = 0; m < rows; ++m, gelu_input += stride, d_x += stride) {
    std::size_t c = 0;
    for (; c + kAtOnce * kLanes <= columns; c += kAtOnce * kLanes) {
      multiply_gelu_derivative_at<kAtOnce>(Whole(), gelu_input + c, d_x + c);
    }
    for_each_vector(columns - c, [&](auto access, std::size_t i) HWY_ATTR {
      multiply_gelu_derivative_at<1>(access, gelu_input + c + i, d_x + c + i);
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

HWY_EXPORT(add_bias);
HWY_EXPORT(add_bias_gelu);
HWY_EXPORT(multiply_gelu_derivative);
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
                           const float* bias, float* y, float* gelu_input) const {
  const auto [M, in, out] = Sizes(shape);
  float* const sum = gelu_input != nullptr ? gelu_input : y;
  const auto finish = [&, columns = out](const ProductBlock& block) {
    const std::size_t at = block.row * columns + block.column;
    if (gelu_input != nullptr) {
      HWY_DYNAMIC_DISPATCH(add_bias_gelu)
      (block.rows, block.columns, columns, bias + block.column, sum + at, y + at);
    } else {
      HWY_DYNAMIC_DISPATCH(add_bias)(block.rows, block.columns, columns, bias + block.column, y + at);
    }
  };
  gemm(precision_, {Transpose::no, Transpose::yes, M, out, in, x, in, weight, in, Output::replace, sum, out},
       gemm_workspace(lane), BlockDone(finish));
}

void CpuOperations::linear_backward(Lane& lane, LinearShape shape, const float* x, const float* weight,
                                    const float* d_y, const float* gelu_input, float* d_x, float* d_weight,
                                    float* d_bias) const {
  const auto [M, in, out] = Sizes(shape);
  const auto finish = [&, columns = in, d_y_columns = out](const ProductBlock& block) {
    const std::size_t at = block.row * columns + block.column;
    if (gelu_input != nullptr) {
      HWY_DYNAMIC_DISPATCH(multiply_gelu_derivative)
      (block.rows, block.columns, columns, gelu_input + at, d_x + at);
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
