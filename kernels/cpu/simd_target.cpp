#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd_target.cpp"

#include "kernels/cpu/simd_target.h"

#include "kernels/cpu_bf16.h"
#if defined(__linux__) && defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
// Highway's order: what is compiled once per target follows foreach_target.h.
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace minichilla::HWY_NAMESPACE {

const char* name_of_target() {
  return hwy::TargetName(HWY_TARGET);
}

bool target_has_bf16_instructions() {
#if MINICHILLA_AVX512_BF16
  return __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

}  // namespace minichilla::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace minichilla {
namespace {

/// Whether this process may use AMX's tiles of bf16: the processor has them, and the system, which has to
/// save much more of a thread then, does not refuse.
bool may_use_tiles() {
#if defined(__linux__) && defined(__x86_64__)
  constexpr unsigned kBf16 = 1U << 22, kTiles = 1U << 24;      // of leaf 7's edx
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM of Linux 5.16
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  return (edx & kBf16) != 0 && (edx & kTiles) != 0 &&
         syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

}  // namespace

HWY_EXPORT(name_of_target);
HWY_EXPORT(target_has_bf16_instructions);

std::string simd_target_name() {
  return HWY_DYNAMIC_DISPATCH(name_of_target)();
}

Bf16Products cpu_bf16_products() {
  static const bool tiles = may_use_tiles();
  if (!HWY_DYNAMIC_DISPATCH(target_has_bf16_instructions)()) return Bf16Products::fp32_arithmetic;
  return tiles ? Bf16Products::tiles : Bf16Products::dot_products;
}

std::string name_of(Bf16Products products) {
  switch (products) {
    case Bf16Products::fp32_arithmetic:
      return "bf16 by fp32 arithmetic";
    case Bf16Products::dot_products:
      return "bf16 dot products";
    case Bf16Products::tiles:
      return "bf16 tiles";
  }
  return "";
}

}  // namespace minichilla
#endif
