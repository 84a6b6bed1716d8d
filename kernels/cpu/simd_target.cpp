#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd_target.cpp"

#include "kernels/cpu/simd_target.h"
// Highway's order: what is compiled once per target follows foreach_target.h.
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/device.h"

HWY_BEFORE_NAMESPACE();
namespace minichilla::HWY_NAMESPACE {

const char* name_of_target() {
  return hwy::TargetName(HWY_TARGET);
}

bool target_has_bf16_instruction() {
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

HWY_EXPORT(name_of_target);
HWY_EXPORT(target_has_bf16_instruction);

std::string simd_target_name() {
  return HWY_DYNAMIC_DISPATCH(name_of_target)();
}

bool cpu_has_bf16_instruction() {
  return HWY_DYNAMIC_DISPATCH(target_has_bf16_instruction)();
}

}  // namespace minichilla
#endif
