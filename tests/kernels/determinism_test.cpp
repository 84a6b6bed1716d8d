// The same bits on every lane, for any number of lanes, from run to run, and wherever the operands lie in
// memory.
#include <gtest/gtest.h>

#include <cstring>

#include "tests/kernels/comparison.h"

namespace minichilla::determinism_test {
namespace {

/// Forward and backward of one layer's operations and a classifier at one shape, all results in one array.
/// `shift` floats are put before every array, so that nothing is aligned as it was.
class LayerPass {
 public:
  LayerPass(const Float32Operations& ops, Lane& lane, int B, int T, int H, int D, std::size_t shift)
      : ops_(ops), lane_(lane), B_(B), T_(T), H_(H), D_(D), shift_(shift) {}

  FloatArray run() {
    const int C = H_ * D_, M = B_ * T_, V = 257;
    const AttentionShape shape{B_, T_, H_, D_, AttentionPattern::banded(T_ / 2 + 1)};
    const float* const x = random(M * C, 1);
    float *const sum = zeros(M * C), *const normed = zeros(M * C), *const mean = zeros(M),
                 *const rstd = zeros(M);
    ops_.add_norm(lane_, M, C, x, random(M * C, 2), random(C, 3), random(C, 4), sum, normed, mean, rstd);
    float* const qkv = zeros(3 * M * C);
    ops_.linear(lane_, {M, C, 3 * C}, normed, random(3 * C * C, 5), random(3 * C, 6), qkv, nullptr);
    float *const attended = zeros(M * C), *const log_sum_exp = zeros(B_ * H_ * T_);
    float* const scratch = zeros(static_cast<int>(ops_.attention_scratch(shape) / sizeof(float)));
    ops_.attention(lane_, shape, qkv, attended, log_sum_exp, scratch);
    float *const wide = zeros(4 * M * C), *const gelu_state = zeros(4 * M * C);
    ops_.linear(lane_, {M, C, 4 * C}, attended, random(4 * C * C, 7), random(4 * C, 8), wide, gelu_state);
    float *const d_wide = zeros(4 * M * C), *const d_w = zeros(4 * C * C), *const d_b = zeros(C);
    ops_.linear_backward(lane_, {M, 4 * C, C}, wide, random(4 * C * C, 9), random(M * C, 10), gelu_state,
                         d_wide, d_w, d_b);
    float* const d_qkv = zeros(3 * M * C);
    ops_.attention_backward(lane_, shape, qkv, attended, log_sum_exp, random(M * C, 11), d_qkv, scratch);
    float *const d_sum = zeros(M * C), *const d_norm = zeros(2 * C);
    ops_.add_norm_backward(lane_, M, C, random(M * C, 12), random(M * C, 13), sum, mean, rstd, random(C, 14),
                           d_sum, d_norm, d_norm + C);
    const ClassifierShape classifier{M, C, V};
    const std::vector<std::int32_t> targets = random_tokens(static_cast<std::size_t>(M), V, 15);
    float *const d_hidden = zeros(M * C), *const d_weight = zeros(V * C);
    double loss = 0;
    ops_.classifier(lane_, classifier, normed, random(V * C, 16), targets.data(), 0.01f, &loss, d_hidden,
                    d_weight, zeros(static_cast<int>(ops_.classifier_scratch(classifier) / sizeof(float))));
    zeros(1)[0] = static_cast<float>(loss);
    return results();
  }

 private:
  float* random(int size, unsigned seed) { return keep(random_array(static_cast<std::size_t>(size), seed)); }
  float* zeros(int size) { return keep(FloatArray(static_cast<std::size_t>(size))); }
  float* keep(FloatArray values) {
    values.insert(values.begin(), shift_, 0.0f);
    arrays_.push_back(std::move(values));
    return arrays_.back().data() + shift_;
  }
  FloatArray results() const {
    FloatArray all;
    for (const FloatArray& array : arrays_) {
      all.insert(all.end(), array.begin() + static_cast<std::ptrdiff_t>(shift_), array.end());
    }
    return all;
  }

  const Float32Operations& ops_;
  Lane& lane_;
  int B_, T_, H_, D_;
  std::size_t shift_;
  std::vector<FloatArray> arrays_;
};

bool same_bits(const FloatArray& a, const FloatArray& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

struct Shape {
  int B, T, H, D;
};

const Shape kShapes[] = {{1, 1, 1, 1},   {2, 13, 3, 5},  {4, 64, 2, 8},
                         {3, 64, 2, 12}, {2, 67, 4, 16}, {4, 64, 4, 24}};

std::vector<FloatArray> run_tasks(Precision precision, int lanes, int tasks, const Shape& shape,
                                  bool shifted) {
  const auto device = make_cpu_device(lanes, precision);
  std::vector<FloatArray> results(static_cast<std::size_t>(tasks));
  device->for_each_task(tasks, [&](Lane& lane, int task) {
    const std::size_t shift = shifted ? 3 * static_cast<std::size_t>(task) : 0;
    results[static_cast<std::size_t>(task)] =
        LayerPass(dynamic_cast<const Float32Operations&>(device->operations()), lane, shape.B, shape.T,
                  shape.H, shape.D, shift)
            .run();
  });
  return results;
}

class Determinism : public testing::TestWithParam<Precision> {};

TEST_P(Determinism, TheSameBitsOnEveryLaneForAnyNumberOfLanes) {
  for (const Shape& shape : kShapes) {
    const FloatArray expected = run_tasks(GetParam(), 1, 1, shape, false)[0];
    for (const int lanes : {1, 2, 3}) {
      for (const FloatArray& result : run_tasks(GetParam(), lanes, 4, shape, false)) {
        EXPECT_TRUE(same_bits(result, expected)) << "T=" << shape.T << " D=" << shape.D << " lanes=" << lanes;
      }
    }
  }
}

TEST_P(Determinism, TheSameBitsWhereverOperandsLie) {
  for (const Shape& shape : kShapes) {
    const std::vector<FloatArray> results = run_tasks(GetParam(), 1, 6, shape, true);
    for (std::size_t shift = 1; shift < results.size(); ++shift) {
      EXPECT_TRUE(same_bits(results[shift], results[0]))
          << "T=" << shape.T << " D=" << shape.D << " shift=" << 3 * shift;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, Determinism, testing::Values(Precision::fp32, Precision::bf16),
                         [](const auto& instance) { return name_of(instance.param); });

}  // namespace
}  // namespace minichilla::determinism_test
