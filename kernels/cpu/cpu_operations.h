// The operations of kernels/ops.h on a CPU: every operation runs to its end on the calling thread.
#pragma once

#include "kernels/float32_operations.h"
#include "kernels/precision.h"

namespace minichilla {

/// Each operation is defined in the file that is named after it. Safe to call from any number of threads.
class CpuOperations : public Float32Operations {
 public:
  /// With Precision::bf16 linear layers and the classifier round what they multiply to bf16, and the sums are
  /// fp32; all that is stored, and all of attention, is fp32.
  explicit CpuOperations(Precision precision = Precision::fp32) : precision_(precision) {}

  void clear(Lane& lane, void* data, std::size_t bytes) const override;

  void embed(Lane& lane, int B, int T, int C, const std::int32_t* tokens, const float* token_embedding,
             const float* position_embedding, float* out) const override;
  void embed_backward(Lane& lane, int B, int T, int C, const std::int32_t* tokens, const float* d_out,
                      float* d_token_embedding, float* d_position_embedding) const override;

  void add_norm(Lane& lane, int M, int C, const float* residual, const float* branch, const float* weight,
                const float* bias, float* sum, float* normed, float* mean, float* rstd) const override;
  void add_norm_backward(Lane& lane, int M, int C, const float* d_normed, const float* d_sum_in,
                         const float* sum, const float* mean, const float* rstd, const float* weight,
                         float* d_sum_out, float* d_weight, float* d_bias) const override;

  void linear(Lane& lane, LinearShape shape, const float* x, const float* weight, const float* bias, float* y,
              float* gelu_state) const override;
  void linear_backward(Lane& lane, LinearShape shape, const float* x, const float* weight, const float* d_y,
                       const float* gelu_state, float* d_x, float* d_weight, float* d_bias) const override;

  std::size_t attention_scratch(const AttentionShape& shape) const override;
  void attention(Lane& lane, const AttentionShape& shape, const float* qkv, float* out, float* log_sum_exp,
                 float* scratch) const override;
  void attention_backward(Lane& lane, const AttentionShape& shape, const float* qkv, const float* out,
                          const float* log_sum_exp, const float* d_out, float* d_qkv,
                          float* scratch) const override;

  std::size_t classifier_scratch(ClassifierShape shape) const override;
  void classifier(Lane& lane, ClassifierShape shape, const float* hidden, const float* weight,
                  const std::int32_t* targets, float loss_scale, double* loss_sum, float* d_hidden,
                  float* d_weight, float* scratch) const override;

  void sum_slots(Lane& lane, std::span<float* const> slots, ElementRange range) const override;
  void square_sums(Lane& lane, const float* gradient, ElementRange range, double* partials) const override;
  void finish_gradient(Lane& lane, std::span<const double> partials, std::span<const double> slot_loss_sums,
                       float clip, StepState* state) const override;

  void adamw(Lane& lane, AdamWSettings settings, ElementRange range, const StepState* state,
             const std::uint8_t* decayed, const float* gradient, float* weights, float* first_moment,
             float* second_moment) const override;

 private:
  Precision precision_;
};

}  // namespace minichilla
