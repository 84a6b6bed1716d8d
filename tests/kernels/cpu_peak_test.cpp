#include "kernels/cpu_peak.h"

#include <gtest/gtest.h>

#include "kernels/device.h"

namespace minichilla::cpu_peak_test {
namespace {

TEST(CpuPeak, CountsTheMultiplyAddsThatItDoes) {
  const FmaRun none = run_multiply_adds(0), one = run_multiply_adds(1), many = run_multiply_adds(1000);
  EXPECT_EQ(none.flops, 0);
  const auto vector = static_cast<int>(one.flops) / (2 * 12 * 16);
  EXPECT_EQ(one.flops, 2.0 * 12 * 16 * vector);
  EXPECT_EQ(many.flops, 1000 * one.flops);
  // Each of the 12 sums begins at its number, and x/2 + 1/2 goes to 1.
  EXPECT_EQ(none.last_value, static_cast<float>(vector * 66));
  EXPECT_EQ(many.last_value, static_cast<float>(vector * 12));
}

TEST(CpuPeak, CountsBf16ProductsWhereAnInstructionDoesThem) {
  const FmaRun fp32 = run_multiply_adds(1000),
               none = run_bf16_multiply_adds(Bf16Products::fp32_arithmetic, 1000);
  EXPECT_EQ(none.flops, 0);
  if (cpu_bf16_products() == Bf16Products::fp32_arithmetic) GTEST_SKIP() << "no instruction for bf16";
  const FmaRun dots = run_bf16_multiply_adds(Bf16Products::dot_products, 1000);
  EXPECT_EQ(dots.flops, 2 * fp32.flops);
  const auto vector = static_cast<int>(fp32.flops) / (2 * 12 * 16 * 1000);
  EXPECT_EQ(dots.last_value, static_cast<float>(vector * 66));
  if (cpu_bf16_products() == Bf16Products::tiles) {
    const FmaRun tiles = run_bf16_multiply_adds(Bf16Products::tiles, 1000);
    EXPECT_EQ(tiles.flops, 2.0 * 16 * 16 * 32 * 12 * 1000);
    // Each sum began at 1, and the two products of a pair are ½ and −½.
    EXPECT_EQ(tiles.last_value, 1);
  }
}

}  // namespace
}  // namespace minichilla::cpu_peak_test
