// The output layer with its loss: logits of a few rows at a time, softmax and cross-entropy in place, then
// the two products of the backward pass while the logits' gradient is in cache.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/classifier.cpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "kernels/cpu/cpu_lane.h"
#include "kernels/cpu/cpu_operations.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/simd_target.h"
// Highway's order: what is compiled once per target follows foreach_target.h.
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace minichilla::HWY_NAMESPACE {

/// x = exp(x − top) of n numbers; returns their sum: four running ones, added in a fixed order.
HWY_INLINE float exponentials(std::size_t n, float top, float* x) {
  const Floats shift = splat(top);
  Floats sums[4], e[4];
  for (Floats& sum : sums) sum = hn::Zero(kFloat);
  std::size_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    for (std::size_t j = 0; j < 4; ++j) e[j] = hn::Sub(hn::LoadU(kFloat, x + i + j * kLanes), shift);
    exp_bounded(e);
    for (std::size_t j = 0; j < 4; ++j) {
      hn::StoreU(e[j], kFloat, x + i + j * kLanes);
      sums[j] = hn::Add(sums[j], e[j]);
    }
  }
  for_each_vector(n - i, [&](auto access, std::size_t j) HWY_ATTR {
    const Floats last = access.only(exp_bounded(hn::Sub(access.load(x + i + j), shift)));
    access.store(last, x + i + j);
    sums[0] = hn::Add(sums[0], last);
  });
  return sum_lanes(hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3])));
}

/// −log softmax(logits)[target] of one row of V logits. They are overwritten: with d_logits set by their
/// gradient, loss_scale · (softmax − one-hot(target)), else by what nobody needs.
HWY_INLINE double cross_entropy_row(std::size_t V, float* logits, std::size_t target, float loss_scale,
                                    bool d_logits) {
  Floats running = splat(logits[0]);
  for_each_vector(V, [&](auto access, std::size_t v)
                         HWY_ATTR { running = hn::Max(running, access.load_or(running, logits + v)); });
  const float top = max_lanes(running);
  const double hit = static_cast<double>(logits[target]) - static_cast<double>(top);
  const float total = exponentials(V, top, logits);
  if (d_logits) {
    const Floats scale = splat(loss_scale / total);
    for_each_vector(V, [&](auto access, std::size_t v)
                           HWY_ATTR { access.store(hn::Mul(scale, access.load(logits + v)), logits + v); });
    logits[target] -= loss_scale;
  }
  return std::log(static_cast<double>(total)) - hit;
}

/// The loss of rows that are `stride` floats apart.
double cross_entropy_rows(std::size_t rows, std::size_t V, std::size_t stride, float* logits,
                          const std::int32_t* targets, float loss_scale, bool d_logits) {
  double loss = 0;
  for (std::size_t m = 0; m < rows; ++m) {
    loss +=
        cross_entropy_row(V, logits + m * stride, static_cast<std::size_t>(targets[m]), loss_scale, d_logits);
  }
  return loss;
}

}  // namespace minichilla::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace minichilla {
namespace {

HWY_EXPORT(cross_entropy_rows);

/// Rows of logits in a chunk: weight is repacked and d_weight read and written once for each, which takes
/// many rows to be little beside the products; but no more than 8 MB.
int chunk_rows(ClassifierShape shape) {
  return std::min(shape.M, std::max(64, std::min(512, (1 << 21) / shape.V / 8 * 8)));
}

/// Floats from row to row of logits: a cache line more than V needs, since rows a power of two apart compete
/// for the same cache sets.
std::size_t logits_row(ClassifierShape shape) {
  return (static_cast<std::size_t>(shape.V) + 15) / 16 * 16 + 16;
}

}  // namespace

std::size_t CpuOperations::classifier_scratch(ClassifierShape shape) const {
  return static_cast<std::size_t>(chunk_rows(shape)) * logits_row(shape) * sizeof(float);
}

void CpuOperations::classifier(Lane& lane, ClassifierShape shape, const float* hidden, const float* weight,
                               const std::int32_t* targets, float loss_scale, double* loss_sum,
                               float* d_hidden, float* d_weight, float* scratch) const {
  const std::size_t M = static_cast<std::size_t>(shape.M), C = static_cast<std::size_t>(shape.C),
                    V = static_cast<std::size_t>(shape.V), row = logits_row(shape),
                    step = static_cast<std::size_t>(chunk_rows(shape));
  float* const workspace = gemm_workspace(lane);
  for (std::size_t begin = 0; begin < M; begin += step) {
    const std::size_t rows = std::min(step, M - begin);
    const float* x = hidden + begin * C;
    gemm(precision_,
         {Transpose::no, Transpose::yes, rows, V, C, x, C, weight, C, Output::replace, scratch, row},
         workspace);
    *loss_sum += HWY_DYNAMIC_DISPATCH(cross_entropy_rows)(rows, V, row, scratch, targets + begin, loss_scale,
                                                          d_hidden != nullptr);
    if (d_hidden == nullptr) continue;
    gemm(precision_,
         {Transpose::no, Transpose::no, rows, C, V, scratch, row, weight, C, Output::replace,
          d_hidden + begin * C, C},
         workspace);
    gemm(precision_,
         {Transpose::yes, Transpose::no, V, C, rows, scratch, row, x, C, Output::add, d_weight, C},
         workspace);
  }
}

}  // namespace minichilla
#endif
