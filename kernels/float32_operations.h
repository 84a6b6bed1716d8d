// The operations of a device whose activations are fp32, as functions of floats.
#pragma once

#include "kernels/ops.h"

namespace minichilla {

/// Each operation as in kernels/ops.h with Activation read as float. None of them needs scratch for
/// embed_backward, add_norm_backward and linear_backward, and there are no rounded weights.
class Float32Operations : public Operations {
 public:
  virtual void embed(Lane& lane, int B, int T, int C, const std::int32_t* tokens,
                     const float* token_embedding, const float* position_embedding, float* out) const = 0;
  virtual void embed_backward(Lane& lane, int B, int T, int C, const std::int32_t* tokens, const float* d_out,
                              float* d_token_embedding, float* d_position_embedding) const = 0;
  virtual void add_norm(Lane& lane, int M, int C, const float* residual, const float* branch,
                        const float* weight, const float* bias, float* sum, float* normed, float* mean,
                        float* rstd) const = 0;
  virtual void add_norm_backward(Lane& lane, int M, int C, const float* d_normed, const float* d_sum_in,
                                 const float* sum, const float* mean, const float* rstd, const float* weight,
                                 float* d_sum_out, float* d_weight, float* d_bias) const = 0;
  virtual void linear(Lane& lane, LinearShape shape, const float* x, const float* weight, const float* bias,
                      float* y, float* gelu_state) const = 0;
  virtual void linear_backward(Lane& lane, LinearShape shape, const float* x, const float* weight,
                               const float* d_y, const float* gelu_state, float* d_x, float* d_weight,
                               float* d_bias) const = 0;
  virtual void attention(Lane& lane, const AttentionShape& shape, const float* qkv, float* out,
                         float* log_sum_exp, float* scratch) const = 0;
  virtual void attention_backward(Lane& lane, const AttentionShape& shape, const float* qkv, const float* out,
                                  const float* log_sum_exp, const float* d_out, float* d_qkv,
                                  float* scratch) const = 0;
  virtual void classifier(Lane& lane, ClassifierShape shape, const float* hidden, const float* weight,
                          const std::int32_t* targets, float loss_scale, double* loss_sum, float* d_hidden,
                          float* d_weight, float* scratch) const = 0;
  virtual void adamw(Lane& lane, AdamWSettings settings, ElementRange range, const StepState* state,
                     const std::uint8_t* decayed, const float* gradient, float* weights, float* first_moment,
                     float* second_moment) const = 0;

  std::size_t activation_bytes() const final { return sizeof(float); }
  std::size_t embed_backward_scratch(int, int, int, int) const final { return 0; }
  std::size_t add_norm_backward_scratch(int, int) const final { return 0; }
  std::size_t linear_backward_scratch(LinearShape) const final { return 0; }
  void round_weights(Lane&, ElementRange, const float*, Activation*) const final {}

  void embed(Lane& lane, int B, int T, int C, const std::int32_t* tokens, const Activation* token_embedding,
             const Activation* position_embedding, Activation* out) const final {
    embed(lane, B, T, C, tokens, floats(token_embedding), floats(position_embedding), floats(out));
  }
  void embed_backward(Lane& lane, int B, int T, int C, int, const std::int32_t* tokens,
                      const Activation* d_out, float* d_token_embedding, float* d_position_embedding,
                      void*) const final {
    embed_backward(lane, B, T, C, tokens, floats(d_out), d_token_embedding, d_position_embedding);
  }
  void add_norm(Lane& lane, int M, int C, const Activation* residual, const Activation* branch,
                const float* weight, const float* bias, Activation* sum, Activation* normed, float* mean,
                float* rstd) const final {
    add_norm(lane, M, C, floats(residual), floats(branch), weight, bias, floats(sum), floats(normed), mean,
             rstd);
  }
  void add_norm_backward(Lane& lane, int M, int C, const Activation* d_normed, const Activation* d_sum_in,
                         const Activation* sum, const float* mean, const float* rstd, const float* weight,
                         Activation* d_sum_out, float* d_weight, float* d_bias, void*) const final {
    add_norm_backward(lane, M, C, floats(d_normed), floats(d_sum_in), floats(sum), mean, rstd, weight,
                      floats(d_sum_out), d_weight, d_bias);
  }
  void linear(Lane& lane, LinearShape shape, const Activation* x, const Activation* weight, const float* bias,
              Activation* y, Activation* gelu_state) const final {
    linear(lane, shape, floats(x), floats(weight), bias, floats(y), floats(gelu_state));
  }
  void linear_backward(Lane& lane, LinearShape shape, const Activation* x, const Activation* weight,
                       const Activation* d_y, const Activation* gelu_state, Activation* d_x, float* d_weight,
                       float* d_bias, void*) const final {
    linear_backward(lane, shape, floats(x), floats(weight), floats(d_y), floats(gelu_state), floats(d_x),
                    d_weight, d_bias);
  }
  void attention(Lane& lane, const AttentionShape& shape, const Activation* qkv, Activation* out,
                 float* log_sum_exp, void* scratch) const final {
    attention(lane, shape, floats(qkv), floats(out), log_sum_exp, static_cast<float*>(scratch));
  }
  void attention_backward(Lane& lane, const AttentionShape& shape, const Activation* qkv,
                          const Activation* out, const float* log_sum_exp, const Activation* d_out,
                          Activation* d_qkv, void* scratch) const final {
    attention_backward(lane, shape, floats(qkv), floats(out), log_sum_exp, floats(d_out), floats(d_qkv),
                       static_cast<float*>(scratch));
  }
  void classifier(Lane& lane, ClassifierShape shape, const Activation* hidden, const Activation* weight,
                  const std::int32_t* targets, float loss_scale, double* loss_sum, Activation* d_hidden,
                  float* d_weight, void* scratch) const final {
    classifier(lane, shape, floats(hidden), floats(weight), targets, loss_scale, loss_sum, floats(d_hidden),
               d_weight, static_cast<float*>(scratch));
  }

  void adamw(Lane& lane, AdamWSettings settings, ElementRange range, const StepState* state,
             const std::uint8_t* decayed, const float* gradient, float* weights, float* first_moment,
             float* second_moment, Activation*) const final {
    adamw(lane, settings, range, state, decayed, gradient, weights, first_moment, second_moment);
  }

 private:
  static const float* floats(const Activation* values) { return reinterpret_cast<const float*>(values); }
  static float* floats(Activation* values) { return reinterpret_cast<float*>(values); }
};

}  // namespace minichilla
