#include "model/activations.h"

#include <algorithm>
#include <limits>
#include <string>
#include <tuple>
#include <utility>

#include "kernels/error.h"

namespace minichilla {
namespace {

/// The operations of a layer's forward pass, in order.
enum LayerStep { kNorm1, kQkv, kAttention, kProjection, kNorm2, kExpand, kContract, kLayerSteps };

/// The moments of a pass in which a tensor is first and last used.
struct Uses {
  int first, last;
};

std::size_t bytes(std::int64_t count, std::size_t each) {
  return static_cast<std::size_t>(count) * each;
}

std::size_t backward_scratch_bytes(const ModelConfig& config, int vocabulary, int micro_batch,
                                   const Operations& operations) {
  const int M = micro_batch * config.context_length, C = config.d_model, F = config.mlp_width(),
            HD = config.n_heads * config.head_width();
  return std::max(
      {operations.embed_backward_scratch(micro_batch, config.context_length, C, vocabulary),
       operations.add_norm_backward_scratch(M, C), operations.linear_backward_scratch({M, C, 3 * HD}),
       operations.linear_backward_scratch({M, HD, C}), operations.linear_backward_scratch({M, C, F}),
       operations.linear_backward_scratch({M, F, C})});
}

}  // namespace

/// Moments of a forward and a backward pass. Backward visits the operations in the reverse order, so that it
/// mirrors forward around the classifier, which does both at once.
class Activations::Clock {
 public:
  explicit Clock(int layers) : layers_(layers) {}
  int embed() const { return 0; }
  int layer(int index, LayerStep step) const { return 1 + index * kLayerSteps + step; }
  int final_norm() const { return layer(layers_, kNorm1); }
  int classifier() const { return final_norm() + 1; }
  /// Of the backward pass of what runs forward at `moment`.
  int backward(int moment) const { return 2 * classifier() - moment; }

 private:
  int layers_;
};

Activations::Activations(const ModelConfig& config, int vocabulary, int micro_batch, Recompute recompute,
                         const Operations& operations)
    : recompute_(recompute) {
  const std::int64_t M = static_cast<std::int64_t>(micro_batch) * config.context_length, C = config.d_model;
  if (M > std::numeric_limits<int>::max()) {
    throw InputError("train.micro_batch: found " + std::to_string(micro_batch) + " sequences of " +
                     std::to_string(config.context_length) +
                     " tokens, expected less than 2^31 tokens together");
  }
  const Clock clock(config.n_layers);
  layers_.resize(static_cast<std::size_t>(config.n_layers));
  for (int index = 0; index < config.n_layers; ++index) {
    declare_layer(index, clock, config, micro_batch, operations);
  }
  const int norm = clock.final_norm(), classifier = clock.classifier();
  const std::size_t stream = bytes(M * C, operations.activation_bytes()), statistic = bytes(M, sizeof(float));
  final_sum = plan_.declare("final_sum", stream, norm, clock.backward(norm));
  final_mean = plan_.declare("final_mean", statistic, norm, clock.backward(norm));
  final_rstd = plan_.declare("final_rstd", statistic, norm, clock.backward(norm));
  final_normed = plan_.declare("final_normed", stream, norm, classifier);
  d_final_normed = plan_.declare("d_final_normed", stream, classifier, clock.backward(norm));
  d_stream = plan_.declare("d_stream", stream, clock.backward(norm), clock.backward(clock.embed()));
  const int rows = static_cast<int>(M);
  classifier_scratch =
      plan_.declare("classifier_scratch", operations.classifier_scratch({rows, config.d_model, vocabulary}),
                    classifier, classifier);
  backward_scratch =
      plan_.declare("backward_scratch", backward_scratch_bytes(config, vocabulary, micro_batch, operations),
                    clock.backward(norm), clock.backward(clock.embed()));
  plan_.assign();
}

void Activations::declare_layer(int index, const Clock& clock, const ModelConfig& config, int micro_batch,
                                const Operations& operations) {
  const std::int64_t M = static_cast<std::int64_t>(micro_batch) * config.context_length;
  const std::int64_t C = config.d_model, F = config.mlp_width(), H = config.n_heads,
                     HD = H * config.head_width();
  const std::size_t scratch = operations.attention_scratch(
      {micro_batch, config.context_length, config.n_heads, config.head_width(), config.layer_pattern(index)});
  const auto at = [&](LayerStep step) { return clock.layer(index, step); };
  const auto back = [&](LayerStep step) { return clock.backward(clock.layer(index, step)); };
  const auto declare = [&](const char* name, std::size_t size, int first_use, int last_use) {
    return plan_.declare("layers." + std::to_string(index) + "." + name, size, first_use, last_use);
  };
  const auto tensor = [&](const char* name, std::int64_t count, int first_use, int last_use) {
    return declare(name, bytes(count, operations.activation_bytes()), first_use, last_use);
  };
  const auto statistic = [&](const char* name, std::int64_t count, int first_use, int last_use) {
    return declare(name, bytes(count, sizeof(float)), first_use, last_use);
  };
  // What both passes use: one place that is kept between them, or one for each.
  const auto tensors = [&](const char* name, std::int64_t count, Uses forward, Uses backward, bool again) {
    const Id kept = tensor(name, count, forward.first, again ? forward.last : backward.last);
    const std::string name_again = std::string(name) + "_again";
    return std::pair(kept, again ? tensor(name_again.c_str(), count, backward.first, backward.last) : kept);
  };

  Layer& layer = layers_[static_cast<std::size_t>(index)];
  layer.input = tensor("input", M * C, index == 0 ? clock.embed() : at(kNorm1), back(kNorm1));
  layer.mean1 = statistic("mean1", M, at(kNorm1), back(kNorm1));
  layer.rstd1 = statistic("rstd1", M, at(kNorm1), back(kNorm1));
  std::tie(layer.normed1, layer.backward.normed1) =
      tensors("normed1", M * C, {at(kNorm1), at(kQkv)}, {back(kQkv), back(kQkv)}, recompute_.norms);
  layer.qkv = tensor("qkv", M * 3 * HD, at(kQkv), back(kAttention));
  layer.attended = tensor("attended", M * HD, at(kAttention), back(kAttention));
  layer.log_sum_exp = statistic("log_sum_exp", M * H, at(kAttention), back(kAttention));
  layer.projected = tensor("projected", M * C, at(kProjection), at(kNorm2));
  layer.middle = tensor("middle", M * C, at(kNorm2), back(kNorm2));
  layer.mean2 = statistic("mean2", M, at(kNorm2), back(kNorm2));
  layer.rstd2 = statistic("rstd2", M, at(kNorm2), back(kNorm2));
  const LayerStep needs_normed2 = recompute_.mlp ? kContract : kExpand;
  std::tie(layer.normed2, layer.backward.normed2) = tensors(
      "normed2", M * C, {at(kNorm2), at(kExpand)}, {back(needs_normed2), back(kExpand)}, recompute_.norms);
  const Uses contracting{back(kContract), back(kContract)};
  std::tie(layer.gelu_state, layer.backward.gelu_state) =
      tensors("gelu_state", M * F, {at(kExpand), at(kExpand)}, contracting, recompute_.mlp);
  std::tie(layer.expanded, layer.backward.expanded) =
      tensors("expanded", M * F, {at(kExpand), at(kContract)}, contracting, recompute_.mlp);
  layer.contracted = tensor("contracted", M * C, at(kContract), clock.layer(index + 1, kNorm1));
  layer.d_gelu_input = tensor("d_gelu_input", M * F, back(kContract), back(kExpand));
  layer.d_normed2 = tensor("d_normed2", M * C, back(kExpand), back(kNorm2));
  layer.d_attended = tensor("d_attended", M * HD, back(kProjection), back(kAttention));
  layer.d_qkv = tensor("d_qkv", M * 3 * HD, back(kAttention), back(kQkv));
  layer.d_normed1 = tensor("d_normed1", M * C, back(kQkv), back(kNorm1));
  layer.attention_scratch = declare("attention_scratch", scratch, at(kAttention), at(kAttention));
  layer.attention_backward_scratch =
      declare("attention_backward_scratch", scratch, back(kAttention), back(kAttention));
}

}  // namespace minichilla
