// Between backward pass and optimizer: the sum of the gradient slots, and the global norm.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/gradient.cpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>

#include "kernels/cpu/cpu_operations.h"
#include "kernels/cpu/simd_target.h"
// Highway's order: what is compiled once per target follows foreach_target.h.
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace minichilla::HWY_NAMESPACE {

/// out = a + b; out may be a.
void add_arrays(std::size_t count, const float* a, const float* b, float* out) {
  for_each_vector(count, [&](auto access, std::size_t i) HWY_ATTR {
    access.store(hn::Add(access.load(a + i), access.load(b + i)), out + i);
  });
}

/// Σ x² in double: squares of floats are exact there.
double square_sum(std::size_t count, const float* x) {
  const hn::ScalableTag<double> doubles;
  const hn::Rebind<float, decltype(doubles)> floats;
  constexpr std::size_t kDoubles = hn::MaxLanes(doubles);
  const auto load = [&](std::size_t i) HWY_ATTR { return hn::PromoteTo(doubles, hn::LoadU(floats, x + i)); };
  auto s0 = hn::Zero(doubles), s1 = s0, s2 = s0, s3 = s0;
  std::size_t i = 0;
  for (; i + 4 * kDoubles <= count; i += 4 * kDoubles) {
    const auto x0 = load(i), x1 = load(i + kDoubles), x2 = load(i + 2 * kDoubles),
               x3 = load(i + 3 * kDoubles);
    s0 = hn::MulAdd(x0, x0, s0);
    s1 = hn::MulAdd(x1, x1, s1);
    s2 = hn::MulAdd(x2, x2, s2);
    s3 = hn::MulAdd(x3, x3, s3);
  }
  double tail = 0;
  for (; i < count; ++i) tail += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return hn::GetLane(hn::SumOfLanes(doubles, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)))) + tail;
}

}  // namespace minichilla::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace minichilla {
namespace {

HWY_EXPORT(add_arrays);
HWY_EXPORT(square_sum);

constexpr std::int64_t kSumBlock = 512;

/// out = the binary tree's sum of elements [begin, begin + count) of the slots, count ≤ kSumBlock, at least
/// two slots. The left subtree has the largest power of two of slots that leaves some for the right one.
void sum_tree(std::span<float* const> slots, std::int64_t begin, std::int64_t count, float* out) {
  const std::size_t left_slots = std::bit_floor(slots.size() - 1);
  const std::span<float*const> left = slots.first(left_slots), right = slots.subspan(left_slots);
  float right_sum[kSumBlock];
  const float* a = left[0] + begin;
  const float* b = right[0] + begin;
  if (left.size() > 1) {
    sum_tree(left, begin, count, out);
    a = out;
  }
  if (right.size() > 1) {
    sum_tree(right, begin, count, right_sum);
    b = right_sum;
  }
  HWY_DYNAMIC_DISPATCH(add_arrays)(static_cast<std::size_t>(count), a, b, out);
}

}  // namespace

void CpuOperations::sum_slots(Lane&, std::span<float* const> slots, ElementRange range) const {
  if (slots.size() < 2) return;
  for (std::int64_t begin = range.begin; begin < range.end; begin += kSumBlock) {
    sum_tree(slots, begin, std::min(kSumBlock, range.end - begin), slots[0] + begin);
  }
}

void CpuOperations::square_sums(Lane&, const float* gradient, ElementRange range, double* partials) const {
  for (std::int64_t begin = range.begin; begin < range.end; begin += kNormBlock) {
    const std::int64_t count = std::min(kNormBlock, range.end - begin);
    partials[begin / kNormBlock] =
        HWY_DYNAMIC_DISPATCH(square_sum)(static_cast<std::size_t>(count), gradient + begin);
  }
}

void CpuOperations::finish_gradient(Lane&, std::span<const double> partials,
                                    std::span<const double> slot_loss_sums, float clip,
                                    StepState* state) const {
  double squares = 0, loss = 0;
  for (const double partial : partials) squares += partial;
  for (const double slot_loss : slot_loss_sums) loss += slot_loss;
  const double norm = std::sqrt(squares), limit = static_cast<double>(clip);
  state->loss_sum = loss;
  state->gradient_norm = norm;
  state->gradient_scale = limit > 0 && norm > limit ? static_cast<float>(limit / norm) : 1.0f;
  if (!std::isfinite(loss) || !std::isfinite(norm)) state->finite = 0;
}

}  // namespace minichilla
#endif
