// What a micro-batch keeps in its arena: the decoder's activations and their gradients, placed by one plan.
#pragma once

#include <vector>

#include "kernels/ops.h"
#include "model/activation_plan.h"
#include "model/config.h"
#include "model/recompute.h"

namespace minichilla {

/// Declares every tensor of forward and backward with its lifetime and assigns offsets. A forward pass alone
/// fits the same places. M = B·T rows. Means, rstds and log_sum_exp are fp32, the rest the device's
/// Activation.
class Activations {
 public:
  using Id = ActivationPlan::Id;

  /// What one layer keeps. Rows are the M tokens; H·D is `HD`.
  struct Layer {
    Id input;                 ///< (M,C) the residual stream before the layer
    Id mean1, rstd1;          ///< (M)
    Id normed1;               ///< (M,C); backward reads backward.normed1
    Id qkv;                   ///< (B,T,3,H,D)
    Id attended;              ///< (B,T,H,D)
    Id log_sum_exp;           ///< (B,H,T)
    Id projected;             ///< (M,C) the attention's branch
    Id middle;                ///< (M,C) the residual stream between attention and MLP
    Id mean2, rstd2;          ///< (M)
    Id normed2;               ///< (M,C); backward reads backward.normed2
    Id gelu_state, expanded;  ///< (M,F); backward reads backward's
    Id contracted;            ///< (M,C) the MLP's branch
    Id d_gelu_input;          ///< (M,F)
    Id d_normed2;             ///< (M,C)
    Id d_attended;            ///< (M,HD)
    Id d_qkv;                 ///< (M,3·HD)
    Id d_normed1;             ///< (M,C)
    Id attention_scratch, attention_backward_scratch;
    /// Where backward finds these: the places above, or with recomputation others that it fills itself and
    /// that live for the operations that read them.
    struct {
      Id normed1, normed2, gelu_state, expanded;
    } backward;
  };

  /// `config` is resolved(). InputError when a micro-batch has more tokens than an int counts.
  Activations(const ModelConfig& config, int vocabulary, int micro_batch, Recompute recompute,
              const Operations& operations);

  Recompute recompute() const { return recompute_; }
  const Layer& layer(int index) const { return layers_[static_cast<std::size_t>(index)]; }
  Id final_sum;               ///< (M,C) the residual stream after the last layer
  Id final_mean, final_rstd;  ///< (M)
  Id final_normed;            ///< (M,C)
  Id d_final_normed;          ///< (M,C)
  Id d_stream;  ///< (M,C) gradient of the residual stream, updated in place from the end to the start
  Id classifier_scratch;
  Id backward_scratch;  ///< of embed_backward, add_norm_backward and linear_backward, one after the other

  const ActivationPlan& plan() const { return plan_; }

 private:
  class Clock;
  void declare_layer(int index, const Clock& clock, const ModelConfig& config, int micro_batch,
                     const Operations& operations);
  Recompute recompute_;
  ActivationPlan plan_;
  std::vector<Layer> layers_;
};

}  // namespace minichilla
