// The tests of CUDA code on a real GPU. Where none can run them they are skipped, and say why.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "kernels/cuda_device.h"

namespace {

/// What ctest takes for a skipped test (SKIP_RETURN_CODE).
constexpr int kSkipped = 77;

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const std::string problem = minichilla::cuda_support().problem;
  if (!problem.empty()) {
    std::printf("SKIPPED: no GPU to test on: %s\n", problem.c_str());
    return kSkipped;
  }
  return RUN_ALL_TESTS();
}
