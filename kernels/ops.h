// The operations that a device offers, at the grain at which each device can fuse.
//
// Legend: B sequences in a micro-batch, T tokens in a sequence, M = B·T rows, V vocabulary, C model width, H
// heads, D head width, F MLP width, K gradient slots. All matrices are row-major and dense; pointers are
// device pointers. An Activation is fp32, or bf16 on a device of that precision; statistics, losses,
// parameter gradients, moments and the weights that AdamW keeps are fp32 or double on every device.
// Operations only enqueue: no allocation, no synchronisation, no host read. Outputs are written with "="
// unless the comment says "+=" (parameter gradients, which accumulate over micro-batches). Arguments do not
// alias unless the comment allows it. Work inside an operation runs in an order that depends on its shape
// alone, so results have the same bits on every lane. Scratch is the caller's, of as many bytes as …_scratch
// says, 64-byte aligned; what it holds before and after means nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/attention_pattern.h"
#include "kernels/step_state.h"

namespace minichilla {

class Lane;

/// A value of an activation or of its gradient, or of a weight as embeddings and matrix products read it.
/// Only the device that it belongs to looks inside: activation_bytes() each.
struct Activation;

struct AttentionShape {
  int B, T, H, D;
  AttentionPattern pattern;
};

struct LinearShape {
  int M;    ///< rows
  int in;   ///< columns of x
  int out;  ///< columns of y
};

struct ClassifierShape {
  int M, C, V;
};

struct AdamWSettings {
  float beta1, beta2, epsilon, weight_decay;
};

/// Elements [begin, end) of a flat array.
struct ElementRange {
  std::int64_t begin, end;
};

class Operations {
 public:
  virtual ~Operations() = default;

  /// 4: fp32; 2: bf16.
  virtual std::size_t activation_bytes() const = 0;

  /// Zeroes `bytes` bytes.
  virtual void clear(Lane& lane, void* data, std::size_t bytes) const = 0;

  /// out (B,T,C)[b,t] = token_embedding (V,C)[tokens (B,T)[b,t]] + position_embedding (T,C)[t]
  virtual void embed(Lane& lane, int B, int T, int C, const std::int32_t* tokens,
                     const Activation* token_embedding, const Activation* position_embedding,
                     Activation* out) const = 0;
  virtual std::size_t embed_backward_scratch(int B, int T, int C, int V) const = 0;
  /// d_token_embedding (V,C) += and d_position_embedding (T,C) += from d_out (B,T,C).
  virtual void embed_backward(Lane& lane, int B, int T, int C, int V, const std::int32_t* tokens,
                              const Activation* d_out, float* d_token_embedding, float* d_position_embedding,
                              void* scratch) const = 0;

  /// sum (M,C) = residual (M,C) + branch (M,C); normed (M,C) = weight (C) · (sum − mean) · rstd + bias (C),
  /// with mean, rstd (M) of each row of sum, rstd = 1/sqrt(variance + 1e-5). Without a branch (nullptr) sum
  /// is not written and may be nullptr: the residual itself is normed. `sum` may alias `residual`.
  virtual void add_norm(Lane& lane, int M, int C, const Activation* residual, const Activation* branch,
                        const float* weight, const float* bias, Activation* sum, Activation* normed,
                        float* mean, float* rstd) const = 0;
  virtual std::size_t add_norm_backward_scratch(int M, int C) const = 0;
  /// d_sum_out (M,C) = d_sum_in (M,C, what reaches sum from later layers; nullptr: zero) + the norm's
  /// gradient from d_normed (M,C); d_weight, d_bias (C) +=. d_sum_out is the gradient of residual and of
  /// branch alike, and may alias d_sum_in.
  virtual void add_norm_backward(Lane& lane, int M, int C, const Activation* d_normed,
                                 const Activation* d_sum_in, const Activation* sum, const float* mean,
                                 const float* rstd, const float* weight, Activation* d_sum_out,
                                 float* d_weight, float* d_bias, void* scratch) const = 0;

  /// y (M,out) = x (M,in) · weightᵀ (weight is (out,in)) + bias (out). With `gelu_state` (M,out) not nullptr
  /// y = gelu(that sum), the tanh form, and gelu_state is what linear_backward needs of it: the sum itself
  /// (CUDA) or gelu's derivative there (CPU).
  virtual void linear(Lane& lane, LinearShape shape, const Activation* x, const Activation* weight,
                      const float* bias, Activation* y, Activation* gelu_state) const = 0;
  virtual std::size_t linear_backward_scratch(LinearShape shape) const = 0;
  /// d_x (M,in) = d_y (M,out) · weight, d_weight (out,in) += d_yᵀ · x, d_bias (out) += column sums of d_y.
  /// With `gelu_state` (M,in) not nullptr x was the y that linear returned with it, and d_x is multiplied
  /// with gelu's derivative there.
  virtual void linear_backward(Lane& lane, LinearShape shape, const Activation* x, const Activation* weight,
                               const Activation* d_y, const Activation* gelu_state, Activation* d_x,
                               float* d_weight, float* d_bias, void* scratch) const = 0;

  /// Of attention and of attention_backward alike.
  virtual std::size_t attention_scratch(const AttentionShape& shape) const = 0;
  /// out (B,T,H,D) = softmax(q·kᵀ/sqrt(D)) · v over the pattern's pairs, qkv (B,T,3,H,D); log_sum_exp (B,H,T)
  /// of the scaled scores is kept for the backward pass. Pairs outside the pattern's tiles are never
  /// computed.
  virtual void attention(Lane& lane, const AttentionShape& shape, const Activation* qkv, Activation* out,
                         float* log_sum_exp, void* scratch) const = 0;
  /// d_qkv (B,T,3,H,D) from d_out (B,T,H,D).
  virtual void attention_backward(Lane& lane, const AttentionShape& shape, const Activation* qkv,
                                  const Activation* out, const float* log_sum_exp, const Activation* d_out,
                                  Activation* d_qkv, void* scratch) const = 0;

  /// Logits of a chunk of rows, never M·V at once.
  virtual std::size_t classifier_scratch(ClassifierShape shape) const = 0;
  /// logits = hidden (M,C) · weightᵀ (weight is (V,C)); loss_sum (one double) += Σ_rows −log
  /// softmax(logits)[target], in nats, targets (M). With d_hidden (M,C) not nullptr also d_hidden = and
  /// d_weight (V,C) += the gradients of loss_scale · Σ_rows loss (loss_scale is 1 / tokens of the whole
  /// step).
  virtual void classifier(Lane& lane, ClassifierShape shape, const Activation* hidden,
                          const Activation* weight, const std::int32_t* targets, float loss_scale,
                          double* loss_sum, Activation* d_hidden, float* d_weight, void* scratch) const = 0;

  /// slots[0][range] = the sum of the K slots in a fixed binary tree: (0+1)+(2+3) …
  virtual void sum_slots(Lane& lane, std::span<float* const> slots, ElementRange range) const = 0;

  /// Elements that one partial sum of square_sums covers.
  static constexpr std::int64_t kNormBlock = 4096;
  /// partials[i / kNormBlock] = Σ gradient²  over each block of `range`; range.begin is a multiple of
  /// kNormBlock.
  virtual void square_sums(Lane& lane, const float* gradient, ElementRange range, double* partials) const = 0;
  /// Adds the partials in order and the slots' loss sums in order; sets loss_sum, gradient_norm,
  /// gradient_scale (clip 0: never clipped), and finite to 0 where one of the two is not. What is 0 stays 0:
  /// a step that was enqueued before the host saw that the last one failed does nothing either.
  virtual void finish_gradient(Lane& lane, std::span<const double> partials,
                               std::span<const double> slot_loss_sums, float clip,
                               StepState* state) const = 0;

  /// Elements of the flat arrays that are decayed or not together.
  static constexpr std::int64_t kDecayBlock = 16;
  /// AdamW (Loshchilov & Hutter 2019) on `range` of the flat arrays, with g = gradient ·
  /// state->gradient_scale: m = β1·m + (1−β1)·g, v = β2·v + (1−β2)·g², w −= lr·(m̂/(sqrt(v̂)+ε) +
  /// weight_decay·w), the weight decay only where decayed[i / kDecayBlock] is not 0. Does nothing when
  /// state->finite is 0.
  /// Where activation_bytes() is not 4 the new weights also go to compute_weights, rounded; else that is
  /// nullptr.
  virtual void adamw(Lane& lane, AdamWSettings settings, ElementRange range, const StepState* state,
                     const std::uint8_t* decayed, const float* gradient, float* weights, float* first_moment,
                     float* second_moment, Activation* compute_weights) const = 0;
  /// compute_weights[range] = weights[range], rounded: after weights came from elsewhere than adamw. Never
  /// called where activation_bytes() is 4.
  virtual void round_weights(Lane& lane, ElementRange range, const float* weights,
                             Activation* compute_weights) const = 0;
};

}  // namespace minichilla
