#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd_target.cpp"

#include "kernels/cpu/simd_target.h"
// Highway's order: what is compiled once per target follows foreach_target.h.
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace minichilla::HWY_NAMESPACE {

const char* name_of_target() {
  return hwy::TargetName(HWY_TARGET);
}

}  // namespace minichilla::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace minichilla {

HWY_EXPORT(name_of_target);

std::string simd_target_name() {
  return HWY_DYNAMIC_DISPATCH(name_of_target)();
}

}  // namespace minichilla
#endif
