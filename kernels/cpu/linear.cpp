// Linear layers with bias and GELU. The element-wise work is done on blocks of rows while they are in cache.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/linear.cpp"

#include <algorithm>
#include <cstddef>

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

struct Logistic {
  Floats value;       ///< σ(2z)
  Floats complement;  ///< 1 − σ(2z)
};

HWY_INLINE Logistic gelu_logistic(Floats u) {
  const Floats z2 = hn::Mul(u, hn::MulAdd(splat(kGeluCubic), hn::Mul(u, u), splat(kGeluSlope)));
  const Floats e = exp_bounded(hn::Or(z2, splat(-0.0f)));
  const Floats larger = hn::Div(splat(1.0f), hn::Add(splat(1.0f), e));
  const Floats smaller = hn::Mul(e, larger);
  const auto negative = hn::Lt(u, hn::Zero(kFloat));
  return {hn::IfThenElse(negative, smaller, larger), hn::IfThenElse(negative, larger, smaller)};
}

HWY_INLINE Floats gelu(Floats u) {
  return hn::Mul(u, gelu_logistic(u).value);
}

/// σ + u·σ·(1 − σ)·d(2z)/du
HWY_INLINE Floats gelu_derivative(Floats u) {
  // Beyond ±16 σ is 0 or 1 to the last bit, while the last factor could overflow.
  const Floats x = hn::Min(hn::Max(u, splat(-16)), splat(16));
  const Logistic s = gelu_logistic(x);
  const Floats slope = hn::MulAdd(hn::Mul(splat(3 * kGeluCubic), x), x, splat(kGeluSlope));
  return hn::MulAdd(hn::Mul(x, s.value), hn::Mul(s.complement, slope), s.value);
}

void add_bias(std::size_t rows, std::size_t columns, const float* bias, float* y) {
  for (std::size_t m = 0; m < rows; ++m, y += columns) {
    for_each_vector(columns, [&](auto access, std::size_t c) HWY_ATTR {
      access.store(hn::Add(access.load(y + c), access.load(bias + c)), y + c);
    });
  }
}

/// sum += bias; y = gelu(sum)
void add_bias_gelu(std::size_t rows, std::size_t columns, const float* bias, float* sum, float* y) {
  for (std::size_t m = 0; m < rows; ++m, sum += columns, y += columns) {
    for_each_vector(columns, [&](auto access, std::size_t c) HWY_ATTR {
      const Floats u = hn::Add(access.load(sum + c), access.load(bias + c));
      access.store(u, sum + c);
      access.store(gelu(u), y + c);
    });
  }
}

void multiply_gelu_derivative(std::size_t count, const float* gelu_input, float* d_x) {
  for_each_vector(count, [&](auto access, std::size_t i) HWY_ATTR {
    access.store(hn::Mul(access.load(d_x + i), gelu_derivative(access.load(gelu_input + i))), d_x + i);
  });
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

/// Rows that are worked on together: 128 KB of the matrix that is `columns` wide, but enough for a good
/// product.
int block_rows(int columns) {
  return std::max(64, 32768 / columns / 8 * 8);
}

std::size_t offset(int row, int columns) {
  return static_cast<std::size_t>(row) * static_cast<std::size_t>(columns);
}

}  // namespace

void CpuOperations::linear(Lane&, LinearShape shape, const float* x, const float* weight, const float* bias,
                           float* y, float* gelu_input) const {
  float* const sum = gelu_input != nullptr ? gelu_input : y;
  const std::size_t columns = static_cast<std::size_t>(shape.out);
  const int step = block_rows(shape.out);
  for (int begin = 0; begin < shape.M; begin += step) {
    const int rows = std::min(step, shape.M - begin);
    float* block = sum + offset(begin, shape.out);
    gemm(Transpose::no, Transpose::yes, rows, shape.out, shape.in, x + offset(begin, shape.in), shape.in,
         weight, shape.in, Output::replace, block, shape.out);
    if (gelu_input != nullptr) {
      HWY_DYNAMIC_DISPATCH(add_bias_gelu)
      (static_cast<std::size_t>(rows), columns, bias, block, y + offset(begin, shape.out));
    } else {
      HWY_DYNAMIC_DISPATCH(add_bias)(static_cast<std::size_t>(rows), columns, bias, block);
    }
  }
}

void CpuOperations::linear_backward(Lane&, LinearShape shape, const float* x, const float* weight,
                                    const float* d_y, const float* gelu_input, float* d_x, float* d_weight,
                                    float* d_bias) const {
  const int step = block_rows(std::max(shape.in, shape.out));
  for (int begin = 0; begin < shape.M; begin += step) {
    const int rows = std::min(step, shape.M - begin);
    const std::size_t count = offset(rows, shape.in);
    const float* d_y_block = d_y + offset(begin, shape.out);
    float* d_x_block = d_x + offset(begin, shape.in);
    gemm(Transpose::no, Transpose::no, rows, shape.in, shape.out, d_y_block, shape.out, weight, shape.in,
         Output::replace, d_x_block, shape.in);
    if (gelu_input != nullptr) {
      HWY_DYNAMIC_DISPATCH(multiply_gelu_derivative)(count, gelu_input + offset(begin, shape.in), d_x_block);
    }
    HWY_DYNAMIC_DISPATCH(add_column_sums)
    (static_cast<std::size_t>(rows), static_cast<std::size_t>(shape.out), d_y_block, d_bias);
  }
  gemm(Transpose::yes, Transpose::no, shape.out, shape.in, shape.M, d_y, shape.out, x, shape.in, Output::add,
       d_weight, shape.in);
}

}  // namespace minichilla
#endif
