// AdamW, Loshchilov & Hutter 2019.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/adamw.cpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "kernels/cpu/cpu_operations.h"
#include "kernels/cpu/simd_target.h"
// Highway's order: what is compiled once per target follows foreach_target.h.
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace minichilla::HWY_NAMESPACE {

void adamw_update(const AdamWSettings& settings, std::size_t count, const StepState& state,
                  const float* gradient, float* weights, float* first_moment, float* second_moment) {
  const double step = static_cast<double>(state.step);
  const double correction1 = 1 - std::pow(static_cast<double>(settings.beta1), step);
  const double correction2 = 1 - std::pow(static_cast<double>(settings.beta2), step);
  const Floats unbias1 = splat(static_cast<float>(1 / correction1)),
               unbias2 = splat(static_cast<float>(1 / correction2));
  const Floats beta1 = splat(settings.beta1), rest1 = splat(1 - settings.beta1);
  const Floats beta2 = splat(settings.beta2), rest2 = splat(1 - settings.beta2);
  const Floats scale = splat(state.gradient_scale), rate = splat(state.learning_rate);
  const Floats epsilon = splat(settings.epsilon), decay = splat(settings.weight_decay);
  for_each_vector(count, [&](auto access, std::size_t i) HWY_ATTR {
    const Floats g = hn::Mul(scale, access.load(gradient + i));
    const Floats m = hn::MulAdd(beta1, access.load(first_moment + i), hn::Mul(rest1, g));
    const Floats v = hn::MulAdd(beta2, access.load(second_moment + i), hn::Mul(hn::Mul(rest2, g), g));
    const Floats w = access.load(weights + i);
    const Floats step_size = hn::Div(hn::Mul(m, unbias1), hn::Add(hn::Sqrt(hn::Mul(v, unbias2)), epsilon));
    access.store(m, first_moment + i);
    access.store(v, second_moment + i);
    access.store(hn::NegMulAdd(rate, hn::MulAdd(decay, w, step_size), w), weights + i);
  });
}

}  // namespace minichilla::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace minichilla {
namespace {

HWY_EXPORT(adamw_update);

}  // namespace

void CpuOperations::adamw(Lane&, AdamWSettings settings, ElementRange range, const StepState* state,
                          const std::uint8_t* decayed, const float* gradient, float* weights,
                          float* first_moment, float* second_moment) const {
  if (state->finite == 0) return;
  AdamWSettings undecayed = settings;
  undecayed.weight_decay = 0;
  for (std::int64_t begin = range.begin, end; begin < range.end; begin = end) {
    const bool decays = decayed[begin / kDecayBlock] != 0;
    end = begin;
    do {
      end = std::min((end / kDecayBlock + 1) * kDecayBlock, range.end);
    } while (end < range.end && (decayed[end / kDecayBlock] != 0) == decays);
    HWY_DYNAMIC_DISPATCH(adamw_update)
    (decays ? settings : undecayed, static_cast<std::size_t>(end - begin), *state, gradient + begin,
     weights + begin, first_moment + begin, second_moment + begin);
  }
}

}  // namespace minichilla
#endif
