// The CPU device with every activation and every matrix rounded to bf16 where the CUDA device stores it so:
// the naive implementation in that precision, whose error sets the tolerance.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cpu/cpu_operations.h"
#include "tests/kernels/forwarding_device.h"
#include "tests/kernels/random_arrays.h"

namespace minichilla {

class RoundedOperations final : public CpuOperations {
 public:
  void embed(Lane& lane, int B, int T, int C, const std::int32_t* tokens, const float* token_embedding,
             const float* position_embedding, float* out) const override {
    CpuOperations::embed(lane, B, T, C, tokens, token_embedding, position_embedding, out);
    round(out, B * T * C);
  }
  void add_norm(Lane& lane, int M, int C, const float* residual, const float* branch, const float* weight,
                const float* bias, float* sum, float* normed, float* mean, float* rstd) const override {
    CpuOperations::add_norm(lane, M, C, residual, branch, weight, bias, sum, normed, mean, rstd);
    if (branch) {
      round(sum, M * C);
      CpuOperations::add_norm(lane, M, C, sum, nullptr, weight, bias, nullptr, normed, mean, rstd);
    }
    round(normed, M * C);
  }
  void add_norm_backward(Lane& lane, int M, int C, const float* d_normed, const float* d_sum_in,
                         const float* sum, const float* mean, const float* rstd, const float* weight,
                         float* d_sum_out, float* d_weight, float* d_bias) const override {
    CpuOperations::add_norm_backward(lane, M, C, d_normed, d_sum_in, sum, mean, rstd, weight, d_sum_out,
                                     d_weight, d_bias);
    round(d_sum_out, M * C);
  }
  void linear(Lane& lane, LinearShape shape, const float* x, const float* weight, const float* bias, float* y,
              float* gelu_input) const override {
    CpuOperations::linear(lane, shape, x, matrix(weight, shape.in * shape.out).data(), bias, y, gelu_input);
    round(y, shape.M * shape.out);
    if (gelu_input) round(gelu_input, shape.M * shape.out);
  }
  void linear_backward(Lane& lane, LinearShape shape, const float* x, const float* weight, const float* d_y,
                       const float* gelu_input, float* d_x, float* d_weight, float* d_bias) const override {
    CpuOperations::linear_backward(lane, shape, x, matrix(weight, shape.in * shape.out).data(), d_y,
                                   gelu_input, d_x, d_weight, d_bias);
    round(d_x, shape.M * shape.in);
  }
  void attention(Lane& lane, const AttentionShape& shape, const float* qkv, float* out, float* log_sum_exp,
                 float* scratch) const override {
    CpuOperations::attention(lane, shape, qkv, out, log_sum_exp, scratch);
    round(out, shape.B * shape.T * shape.H * shape.D);
  }
  void attention_backward(Lane& lane, const AttentionShape& shape, const float* qkv, const float* out,
                          const float* log_sum_exp, const float* d_out, float* d_qkv,
                          float* scratch) const override {
    CpuOperations::attention_backward(lane, shape, qkv, out, log_sum_exp, d_out, d_qkv, scratch);
    round(d_qkv, 3 * shape.B * shape.T * shape.H * shape.D);
  }
  void classifier(Lane& lane, ClassifierShape shape, const float* hidden, const float* weight,
                  const std::int32_t* targets, float loss_scale, double* loss_sum, float* d_hidden,
                  float* d_weight, float* scratch) const override {
    CpuOperations::classifier(lane, shape, hidden, matrix(weight, shape.V * shape.C).data(), targets,
                              loss_scale, loss_sum, d_hidden, d_weight, scratch);
    if (d_hidden) round(d_hidden, shape.M * shape.C);
  }

 private:
  static void round(float* values, int count) {
    for (int i = 0; i < count; ++i) values[i] = rounded_to_bf16(values[i]);
  }
  static std::vector<float> matrix(const float* weight, int count) {
    std::vector<float> rounded(weight, weight + count);
    round(rounded.data(), count);
    return rounded;
  }
};

class RoundedDevice final : public ForwardingDevice {
 public:
  const Operations& operations() const override { return operations_; }

 private:
  RoundedOperations operations_;
};

}  // namespace minichilla
