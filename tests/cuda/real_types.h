// The types of activations that kernels are tested with.
#pragma once

#include <cuda_bf16.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <type_traits>

namespace minichilla {

using RealTypes = testing::Types<float, __nv_bfloat16>;

struct RealNames {
  template <class Real>
  static std::string GetName(int) {
    return std::is_same_v<Real, float> ? "fp32" : "bf16";
  }
};

/// For expect_accurate with results that are computed in fp32 and then rounded to Real once: its 8·eps is
/// what that rounding alone may take, 2⁻⁸ for bf16.
template <class Real>
constexpr double kRoundedOnce = std::is_same_v<Real, float>
                                    ? static_cast<double>(std::numeric_limits<float>::epsilon())
                                    : 0x1.02p-11;

}  // namespace minichilla
