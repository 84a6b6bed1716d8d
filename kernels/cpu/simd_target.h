// The instruction-set paths that the vectorised kernels are compiled for. Include it before any Highway
// header.
#pragma once

#include <string>

// On x86-64 three paths (the compiler's baseline, AVX2 with FMA, AVX-512) keep compile time down; what lies
// between is old. Vectors whose length is unknown to the compiler (SVE, RVV) cannot be held in arrays, which
// the kernels do.
#ifdef MINICHILLA_WITHOUT_AVX512  // for builds that run on this machine alone
#define MINICHILLA_LEFT_OUT HWY_AVX3
#else
#define MINICHILLA_LEFT_OUT 0
#endif
#define HWY_DISABLED_TARGETS                                                                        \
  (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV | \
   MINICHILLA_LEFT_OUT)

namespace minichilla {

// Whether the AVX-512 path may use the instructions of AVX512_BF16 and AMX, which needs GCC's or Clang's
// assembler. To be asked inside of Highway's namespaces.
#define MINICHILLA_AVX512_BF16 \
  (HWY_ARCH_X86_64 && HWY_TARGET == HWY_AVX3 && (HWY_COMPILER_GCC || HWY_COMPILER_CLANG))

/// Highway's name of the path that this machine takes, for instance "AVX2".
std::string simd_target_name();

}  // namespace minichilla
