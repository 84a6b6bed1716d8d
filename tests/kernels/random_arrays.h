// Random arrays, and the tolerance rule for every result of an operation.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

namespace minichilla {

using FloatArray = std::vector<float>;
using DoubleArray = std::vector<double>;

inline FloatArray random_array(std::size_t size, unsigned seed, float deviation = 1) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0, deviation);
  FloatArray values(size);
  for (float& value : values) value = normal(engine);
  return values;
}

inline std::vector<std::int32_t> random_tokens(std::size_t size, int V, unsigned seed) {
  std::mt19937 engine(seed);
  std::uniform_int_distribution<std::int32_t> uniform(0, V - 1);
  std::vector<std::int32_t> tokens(size);
  for (std::int32_t& token : tokens) token = uniform(engine);
  return tokens;
}

inline DoubleArray widen(const FloatArray& values) {
  return DoubleArray(values.begin(), values.end());
}

/// To the nearest bf16, ties to even; for finite values.
inline float rounded_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return std::bit_cast<float>((bits + 0x7fffU + (bits >> 16 & 1U)) & 0xffff0000U);
}

inline FloatArray rounded_to_bf16(FloatArray values) {
  for (float& value : values) value = rounded_to_bf16(value);
  return values;
}

/// The largest |actual − reference|; NaN when there is one that is not the reference's.
template <class Real>
double largest_error(const std::vector<Real>& actual, const DoubleArray& reference) {
  double worst = 0;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    const double error = std::abs(static_cast<double>(actual[i]) - reference[i]);
    if (!(error <= worst)) worst = error;
    if (std::isnan(error)) return error;
  }
  return worst;
}

/// The rule for every result: error ≤ 2 · (error of a naive implementation in the same precision) +
/// 8·eps·‖reference‖∞, with eps of the precision (2⁻²³ for fp32, 2⁻⁷ for bf16).
inline void expect_accurate(const char* what, const FloatArray& actual, const DoubleArray& reference,
                            const FloatArray& naive,
                            double eps = static_cast<double>(std::numeric_limits<float>::epsilon())) {
  ASSERT_EQ(actual.size(), reference.size()) << what;
  ASSERT_EQ(naive.size(), reference.size()) << what;
  double norm = 0;
  for (const double value : reference) norm = std::max(norm, std::abs(value));
  const double allowed = 2 * largest_error(naive, reference) + 8 * eps * norm;
  EXPECT_LE(largest_error(actual, reference), allowed) << what;
}

}  // namespace minichilla
