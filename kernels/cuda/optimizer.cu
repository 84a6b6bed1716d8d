#include <algorithm>
#include <vector>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/optimizer.h"
#include "kernels/cuda/vectors.cuh"

namespace minichilla::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWidth = 4;

struct AdamWArrays {
  const std::uint8_t* decayed;
  const float* gradient;
  float *weights, *first_moment, *second_moment;
  __nv_bfloat16* weights_bf16;
};

/// base^exponent by squaring. What rounding adds to 1 − power is, relatively, about as much as one rounding
/// of the base would.
__device__ double whole_power(double base, std::int64_t exponent) {
  double power = 1;
  for (; exponent > 0; exponent /= 2, base *= base) {
    if (exponent % 2 != 0) power *= base;
  }
  return power;
}

template <int kCount>
__device__ void update(const AdamWArrays& arrays, const AdamWSettings& settings, const StepState& state,
                       float unbias1, float unbias2, std::int64_t i) {
  float gradient[kCount], m[kCount], v[kCount], w[kCount];
  load(arrays.gradient + i, gradient);
  load(arrays.first_moment + i, m);
  load(arrays.second_moment + i, v);
  load(arrays.weights + i, w);
  const float decay = arrays.decayed[i / Operations::kDecayBlock] != 0 ? settings.weight_decay : 0.0f;
#pragma unroll
  for (int j = 0; j < kCount; ++j) {
    const float g = state.gradient_scale * gradient[j];
    m[j] = fmaf(settings.beta1, m[j], (1 - settings.beta1) * g);
    v[j] = fmaf(settings.beta2, v[j], (1 - settings.beta2) * g * g);
    const float step_size = m[j] * unbias1 / (sqrtf(v[j] * unbias2) + settings.epsilon);
    w[j] = fmaf(-state.learning_rate, fmaf(decay, w[j], step_size), w[j]);
  }
  store(m, arrays.first_moment + i);
  store(v, arrays.second_moment + i);
  store(w, arrays.weights + i);
  if (arrays.weights_bf16 != nullptr) store(w, arrays.weights_bf16 + i);
}

__global__ void __launch_bounds__(kThreads)
    adamw_kernel(AdamWSettings settings, ElementRange range, bool aligned,
                 const StepState* __restrict__ state_address, AdamWArrays arrays) {
  __shared__ float unbias[2];
  const StepState state = *state_address;
  if (state.finite == 0) return;
  if (threadIdx.x < 2) {
    const double beta = threadIdx.x == 0 ? settings.beta1 : settings.beta2;
    unbias[threadIdx.x] = static_cast<float>(1 / (1 - whole_power(beta, state.step)));
  }
  __syncthreads();
  const float unbias1 = unbias[0], unbias2 = unbias[1];
  for_each_vector<kWidth>(range, aligned, [&](auto width, std::int64_t i) {
    update<width.value>(arrays, settings, state, unbias1, unbias2, i);
  });
}

constexpr int kGroupLevels = 6, kGroup = 1 << kGroupLevels;

struct SlotGroup {
  float* slots[kGroup];
};

/// Elements [i, i + kCount) of slots[0] = their sums over the slots. subtrees[l] is the sum of 2^l slots that
/// wait for as many to their right, so each sum joins two neighbours of equal size; what is left over at the
/// end is joined from the right.
template <int kCount>
__device__ void sum_tree(const SlotGroup& group, int count, std::int64_t i) {
  float subtrees[kGroupLevels][kCount] = {}, sum[kCount];
  for (int slot = 0; slot < count; ++slot) {
    load(group.slots[slot] + i, sum);
    bool waits = false;
#pragma unroll
    for (int level = 0; level < kGroupLevels; ++level) {
      const bool has_left = (slot >> level & 1) != 0;
#pragma unroll
      for (int j = 0; j < kCount; ++j) {
        if (!waits && has_left) sum[j] = subtrees[level][j] + sum[j];
        if (!waits && !has_left) subtrees[level][j] = sum[j];
      }
      waits = waits || !has_left;
    }
  }
  bool first = true;
#pragma unroll
  for (int level = 0; level < kGroupLevels; ++level) {
    if ((count >> level & 1) == 0) continue;
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      sum[j] = first ? subtrees[level][j] : subtrees[level][j] + sum[j];
    }
    first = false;
  }
  store(sum, group.slots[0] + i);
}

__global__ void __launch_bounds__(kThreads)
    sum_slots_kernel(const __grid_constant__ SlotGroup group, int count, ElementRange range, bool aligned) {
  for_each_vector<kWidth>(range, aligned,
                          [&](auto width, std::int64_t i) { sum_tree<width.value>(group, count, i); });
}

constexpr int kPartialsAtOnce = 1024;

/// One block: all threads fetch, the first one adds.
__global__ void __launch_bounds__(kThreads)
    finish_gradient_kernel(const double* __restrict__ partials, std::int64_t partial_count,
                           const double* __restrict__ slot_loss_sums, std::int64_t slot_count, double clip,
                           StepState* __restrict__ state) {
  __shared__ double fetched[kPartialsAtOnce];
  const auto sum_in_order = [&](const double* values, std::int64_t count) {
    double sum = 0;
    for (std::int64_t begin = 0; begin < count; begin += kPartialsAtOnce) {
      const int some = static_cast<int>(min(count - begin, std::int64_t{kPartialsAtOnce}));
      __syncthreads();
      for (int i = static_cast<int>(threadIdx.x); i < some; i += kThreads) fetched[i] = values[begin + i];
      __syncthreads();
      if (threadIdx.x != 0) continue;
#pragma unroll 8
      for (int i = 0; i < some; ++i) sum += fetched[i];
    }
    return sum;
  };
  const double norm = sqrt(sum_in_order(partials, partial_count));
  const double loss = sum_in_order(slot_loss_sums, slot_count);
  if (threadIdx.x != 0) return;
  state->loss_sum = loss;
  state->gradient_norm = norm;
  state->gradient_scale = clip > 0 && norm > clip ? static_cast<float>(clip / norm) : 1.0f;
  if (!isfinite(loss) || !isfinite(norm)) state->finite = 0;
}

constexpr int kCastWidth = kVectorWidth<__nv_bfloat16>;

__global__ void __launch_bounds__(kThreads)
    cast_to_bf16_kernel(ElementRange range, bool aligned, const float* __restrict__ from,
                        __nv_bfloat16* __restrict__ to) {
  for_each_vector<kCastWidth>(range, aligned, [&](auto width, std::int64_t i) {
    float values[width.value];
    load(from + i, values);
    store(values, to + i);
  });
}

}  // namespace

void adamw(cudaStream_t stream, AdamWSettings settings, ElementRange range, const StepState* state,
           const std::uint8_t* decayed, const float* gradient, float* weights, float* first_moment,
           float* second_moment, __nv_bfloat16* weights_bf16) {
  if (range.begin >= range.end) return;
  const bool aligned = all_aligned({gradient, weights, first_moment, second_moment, weights_bf16});
  adamw_kernel<<<vector_blocks(range, kWidth, kThreads), kThreads, 0, stream>>>(
      settings, range, aligned, state,
      {decayed, gradient, weights, first_moment, second_moment, weights_bf16});
  launched("adamw");
}

void sum_slots(cudaStream_t stream, std::span<float* const> slots, ElementRange range) {
  if (range.begin >= range.end) return;
  // Sums of 64 neighbours are whole subtrees, so they are the slots of a smaller tree.
  std::vector<float*> level(slots.begin(), slots.end());
  while (level.size() > 1) {
    std::vector<float*> sums;
    for (std::size_t begin = 0; begin < level.size(); begin += kGroup) {
      const std::size_t count = std::min<std::size_t>(kGroup, level.size() - begin);
      sums.push_back(level[begin]);
      if (count == 1) continue;
      SlotGroup group = {};
      std::copy_n(level.begin() + static_cast<std::ptrdiff_t>(begin), count, group.slots);
      const bool aligned = std::all_of(group.slots, group.slots + count,
                                       [](const float* slot) { return all_aligned({slot}); });
      sum_slots_kernel<<<vector_blocks(range, kWidth, kThreads), kThreads, 0, stream>>>(
          group, static_cast<int>(count), range, aligned);
      launched("sum_slots");
    }
    level = sums;
  }
}

void finish_gradient(cudaStream_t stream, std::span<const double> partials,
                     std::span<const double> slot_loss_sums, float clip, StepState* state) {
  finish_gradient_kernel<<<1, kThreads, 0, stream>>>(
      partials.data(), static_cast<std::int64_t>(partials.size()), slot_loss_sums.data(),
      static_cast<std::int64_t>(slot_loss_sums.size()), clip, state);
  launched("finish_gradient");
}

void cast_to_bf16(cudaStream_t stream, std::int64_t count, const float* from, __nv_bfloat16* to) {
  if (count <= 0) return;
  const ElementRange range{0, count};
  cast_to_bf16_kernel<<<vector_blocks(range, kCastWidth, kThreads), kThreads, 0, stream>>>(
      range, all_aligned({from, to}), from, to);
  launched("cast_to_bf16");
}

}  // namespace minichilla::cuda
