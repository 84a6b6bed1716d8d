#include "model/transformer.h"

#include <stdexcept>
#include <string>

#include "kernels/ops.h"
#include "model/activations.h"

namespace minichilla {
namespace {

/// First elements of a layer's tensors in a flat array of weights or gradients.
struct LayerOffsets {
  std::int64_t norm1_weight, norm1_bias;
  std::int64_t qkv_weight, qkv_bias;                ///< (3·HD,C), (3·HD)
  std::int64_t projection_weight, projection_bias;  ///< (C,HD), (C)
  std::int64_t norm2_weight, norm2_bias;
  std::int64_t expand_weight, expand_bias;      ///< (F,C), (F)
  std::int64_t contract_weight, contract_bias;  ///< (C,F), (C)
};

struct Offsets {
  std::int64_t token_embedding, position_embedding;  ///< (V,C), (T,C)
  std::vector<LayerOffsets> layers;
  std::int64_t final_weight, final_bias;

  Offsets(const ParameterTable& table, int n_layers) {
    const auto offset = [&](const std::string& name) { return table.at(name).offset; };
    token_embedding = offset("token_embedding");
    position_embedding = offset("position_embedding");
    for (int index = 0; index < n_layers; ++index) {
      const std::string prefix = "layers." + std::to_string(index) + ".";
      const auto of = [&](const char* name) { return offset(prefix + name); };
      layers.push_back({of("norm1.weight"), of("norm1.bias"), of("attention.qkv.weight"),
                        of("attention.qkv.bias"), of("attention.projection.weight"),
                        of("attention.projection.bias"), of("norm2.weight"), of("norm2.bias"),
                        of("mlp.expand.weight"), of("mlp.expand.bias"), of("mlp.contract.weight"),
                        of("mlp.contract.bias")});
    }
    final_weight = offset("final_norm.weight");
    final_bias = offset("final_norm.bias");
  }
};

/// Announces a flat gradient from its end to its start, in whole blocks of kFlatAlignment elements.
class ReadyRanges {
 public:
  ReadyRanges(std::int64_t flat_size, const Transformer::OnReady& on_ready)
      : end_(flat_size), on_ready_(on_ready) {}

  /// Everything from `begin` on is final.
  void complete_from(std::int64_t begin) {
    const std::int64_t block = ParameterTable::kFlatAlignment;
    const std::int64_t whole = (begin + block - 1) / block * block;
    if (whole >= end_) return;
    if (on_ready_) on_ready_({whole, end_});
    end_ = whole;
  }

 private:
  std::int64_t end_;
  const Transformer::OnReady& on_ready_;
};

std::size_t flat_bytes(const ParameterTable& table) {
  return static_cast<std::size_t>(table.flat_size()) * sizeof(float);
}

std::size_t compute_weight_bytes(const ParameterTable& table, const Operations& operations) {
  const std::size_t each = operations.activation_bytes();
  return each == sizeof(float) ? 0 : static_cast<std::size_t>(table.flat_size()) * each;
}

std::size_t loss_bytes(int gradient_slots) {
  return static_cast<std::size_t>(gradient_slots) * sizeof(double);
}

}  // namespace

ModelMemory model_memory(const ModelConfig& config, int vocabulary, int micro_batch, int gradient_slots,
                         int lanes, const Device& device, Recompute recompute) {
  const ParameterTable table(config, vocabulary);
  const std::size_t flat = flat_bytes(table);
  const Activations activations(config, vocabulary, micro_batch, recompute, device.operations());
  return {.weights = flat,
          .gradients = flat * static_cast<std::size_t>(gradient_slots),
          .compute_weights = compute_weight_bytes(table, device.operations()),
          .activations = activations.plan().bytes() * static_cast<std::size_t>(lanes),
          .losses = loss_bytes(gradient_slots)};
}

/// Shapes as in kernels/ops.h; the residual stream is what the norms' sums hold.
struct Transformer::Implementation {
  class Pass;

  Implementation(const ModelConfig& model, int V, int micro_batch, int gradient_slots, Device& on,
                 Recompute recompute)
      : config(model),
        vocabulary(V),
        B(micro_batch),
        K(gradient_slots),
        ops(on.operations()),
        table(model, V),
        offsets(table, model.n_layers),
        activations(model, V, micro_batch, recompute, ops),
        weights(on.allocate(flat_bytes(table))),
        compute_weights(on.allocate(compute_weight_bytes(table, ops))),
        losses(on.allocate(loss_bytes(K))) {
    for (int slot = 0; slot < K; ++slot) gradients.push_back(on.allocate(flat_bytes(table)));
    for (int lane = 0; lane < on.lanes(); ++lane) arenas.push_back(on.allocate(activations.plan().bytes()));
  }

  int M() const { return B * config.context_length; }
  int C() const { return config.d_model; }
  int F() const { return config.mlp_width(); }
  int HD() const { return config.n_heads * config.head_width(); }
  AttentionShape attention_shape(int layer) const {
    return {B, config.context_length, config.n_heads, config.head_width(), config.layer_pattern(layer)};
  }
  std::size_t checked(int slot) const {
    if (slot < 0 || slot >= K) throw std::logic_error("no gradient slot " + std::to_string(slot));
    return static_cast<std::size_t>(slot);
  }

  const ModelConfig config;
  const int vocabulary, B, K;
  const Operations& ops;
  const ParameterTable table;
  const Offsets offsets;
  const Activations activations;
  const Buffer weights, compute_weights, losses;
  std::vector<Buffer> gradients;  ///< K flat arrays
  std::vector<Buffer> arenas;     ///< one per lane
};

/// Forward and backward of one micro-batch on one lane.
class Transformer::Implementation::Pass {
 public:
  Pass(const Implementation& model, Lane& lane)
      : model_(model),
        ops_(model.ops),
        acts_(model.activations),
        lane_(lane),
        weights_(model.weights.as<float>()),
        matrices_(model.compute_weights.bytes() != 0 ? model.compute_weights.as<char>()
                                                     : model.weights.as<char>()),
        arena_(model.arenas.at(static_cast<std::size_t>(lane.index())).as<char>()) {}

  /// From tokens (B,T) to final_normed.
  void forward(const std::int32_t* tokens);
  /// Adds Σ loss; with `gradient` (flat) not nullptr also the classifier's gradients.
  void classify(const std::int32_t* targets, float loss_scale, double* loss_sum, float* gradient);
  /// From d_final_normed to all gradients.
  void backward(const std::int32_t* tokens, float* gradient, ReadyRanges ready);

 private:
  void forward_layer(int index);
  void expand(int index, Activations::Id normed2, Activations::Id expanded, Activations::Id gelu_state);
  void recompute_normed1(int index);
  void recompute_normed2(int index);
  void backward_mlp(int index, float* gradient);
  void backward_attention(int index, float* gradient);

  void* scratch(Activations::Id id) const { return arena_ + acts_.plan().offset(id); }
  Activation* at(Activations::Id id) const { return static_cast<Activation*>(scratch(id)); }
  float* statistic(Activations::Id id) const { return static_cast<float*>(scratch(id)); }
  /// Of a norm or a bias, and of an embedding or a matrix.
  const float* weight(std::int64_t offset) const { return weights_ + offset; }
  const Activation* matrix(std::int64_t offset) const {
    return reinterpret_cast<const Activation*>(matrices_ +
                                               static_cast<std::size_t>(offset) * ops_.activation_bytes());
  }
  LinearShape linear(int in, int out) const { return {model_.M(), in, out}; }
  const LayerOffsets& offsets(int layer) const {
    return model_.offsets.layers[static_cast<std::size_t>(layer)];
  }

  const Implementation& model_;
  const Operations& ops_;
  const Activations& acts_;
  Lane& lane_;
  const float* weights_;
  const char* matrices_;
  char* arena_;
};

void Transformer::Implementation::Pass::forward(const std::int32_t* tokens) {
  const int M = model_.M(), C = model_.C(), L = model_.config.n_layers;
  ops_.embed(lane_, model_.B, model_.config.context_length, C, tokens, matrix(model_.offsets.token_embedding),
             matrix(model_.offsets.position_embedding), at(acts_.layer(0).input));
  for (int index = 0; index < L; ++index) forward_layer(index);
  const Activations::Layer& last = acts_.layer(L - 1);
  ops_.add_norm(lane_, M, C, at(last.middle), at(last.contracted), weight(model_.offsets.final_weight),
                weight(model_.offsets.final_bias), at(acts_.final_sum), at(acts_.final_normed),
                statistic(acts_.final_mean), statistic(acts_.final_rstd));
}

void Transformer::Implementation::Pass::forward_layer(int index) {
  const int M = model_.M(), C = model_.C(), F = model_.F(), HD = model_.HD();
  const LayerOffsets& w = offsets(index);
  const Activations::Layer& a = acts_.layer(index);
  if (index == 0) {
    ops_.add_norm(lane_, M, C, at(a.input), nullptr, weight(w.norm1_weight), weight(w.norm1_bias), nullptr,
                  at(a.normed1), statistic(a.mean1), statistic(a.rstd1));
  } else {
    const Activations::Layer& before = acts_.layer(index - 1);
    ops_.add_norm(lane_, M, C, at(before.middle), at(before.contracted), weight(w.norm1_weight),
                  weight(w.norm1_bias), at(a.input), at(a.normed1), statistic(a.mean1), statistic(a.rstd1));
  }
  ops_.linear(lane_, linear(C, 3 * HD), at(a.normed1), matrix(w.qkv_weight), weight(w.qkv_bias), at(a.qkv),
              nullptr);
  ops_.attention(lane_, model_.attention_shape(index), at(a.qkv), at(a.attended), statistic(a.log_sum_exp),
                 scratch(a.attention_scratch));
  ops_.linear(lane_, linear(HD, C), at(a.attended), matrix(w.projection_weight), weight(w.projection_bias),
              at(a.projected), nullptr);
  ops_.add_norm(lane_, M, C, at(a.input), at(a.projected), weight(w.norm2_weight), weight(w.norm2_bias),
                at(a.middle), at(a.normed2), statistic(a.mean2), statistic(a.rstd2));
  expand(index, a.normed2, a.expanded, a.gelu_state);
  ops_.linear(lane_, linear(F, C), at(a.expanded), matrix(w.contract_weight), weight(w.contract_bias),
              at(a.contracted), nullptr);
}

void Transformer::Implementation::Pass::expand(int index, Activations::Id normed2, Activations::Id expanded,
                                               Activations::Id gelu_state) {
  const LayerOffsets& w = offsets(index);
  ops_.linear(lane_, linear(model_.C(), model_.F()), at(normed2), matrix(w.expand_weight),
              weight(w.expand_bias), at(expanded), at(gelu_state));
}

void Transformer::Implementation::Pass::recompute_normed1(int index) {
  const LayerOffsets& w = offsets(index);
  const Activations::Layer& a = acts_.layer(index);
  ops_.add_norm(lane_, model_.M(), model_.C(), at(a.input), nullptr, weight(w.norm1_weight),
                weight(w.norm1_bias), nullptr, at(a.backward.normed1), statistic(a.mean1),
                statistic(a.rstd1));
}

void Transformer::Implementation::Pass::recompute_normed2(int index) {
  const LayerOffsets& w = offsets(index);
  const Activations::Layer& a = acts_.layer(index);
  ops_.add_norm(lane_, model_.M(), model_.C(), at(a.middle), nullptr, weight(w.norm2_weight),
                weight(w.norm2_bias), nullptr, at(a.backward.normed2), statistic(a.mean2),
                statistic(a.rstd2));
}

void Transformer::Implementation::Pass::classify(const std::int32_t* targets, float loss_scale,
                                                 double* loss_sum, float* gradient) {
  const std::int64_t embedding = model_.offsets.token_embedding;
  ops_.classifier(lane_, {model_.M(), model_.C(), model_.vocabulary}, at(acts_.final_normed),
                  matrix(embedding), targets, loss_scale, loss_sum,
                  gradient ? at(acts_.d_final_normed) : nullptr, gradient ? gradient + embedding : nullptr,
                  scratch(acts_.classifier_scratch));
}

void Transformer::Implementation::Pass::backward(const std::int32_t* tokens, float* gradient,
                                                 ReadyRanges ready) {
  const int M = model_.M(), C = model_.C();
  const Offsets& w = model_.offsets;
  ops_.add_norm_backward(lane_, M, C, at(acts_.d_final_normed), nullptr, at(acts_.final_sum),
                         statistic(acts_.final_mean), statistic(acts_.final_rstd), weight(w.final_weight),
                         at(acts_.d_stream), gradient + w.final_weight, gradient + w.final_bias,
                         scratch(acts_.backward_scratch));
  ready.complete_from(w.final_weight);
  for (int index = model_.config.n_layers - 1; index >= 0; --index) {
    backward_mlp(index, gradient);
    backward_attention(index, gradient);
    ready.complete_from(offsets(index).norm1_weight);
  }
  ops_.embed_backward(lane_, model_.B, model_.config.context_length, C, model_.vocabulary, tokens,
                      at(acts_.d_stream), gradient + w.token_embedding, gradient + w.position_embedding,
                      scratch(acts_.backward_scratch));
  ready.complete_from(0);
}

void Transformer::Implementation::Pass::backward_mlp(int index, float* gradient) {
  const int M = model_.M(), C = model_.C(), F = model_.F();
  const LayerOffsets& w = offsets(index);
  const Activations::Layer& a = acts_.layer(index);
  Activation* const d_stream = at(acts_.d_stream);
  const Recompute again = acts_.recompute();
  if (again.norms && again.mlp) recompute_normed2(index);
  if (again.mlp) expand(index, a.backward.normed2, a.backward.expanded, a.backward.gelu_state);
  ops_.linear_backward(lane_, linear(F, C), at(a.backward.expanded), matrix(w.contract_weight), d_stream,
                       at(a.backward.gelu_state), at(a.d_gelu_input), gradient + w.contract_weight,
                       gradient + w.contract_bias, scratch(acts_.backward_scratch));
  if (again.norms && !again.mlp) recompute_normed2(index);  // no sooner than its place is free
  ops_.linear_backward(lane_, linear(C, F), at(a.backward.normed2), matrix(w.expand_weight),
                       at(a.d_gelu_input), nullptr, at(a.d_normed2), gradient + w.expand_weight,
                       gradient + w.expand_bias, scratch(acts_.backward_scratch));
  ops_.add_norm_backward(lane_, M, C, at(a.d_normed2), d_stream, at(a.middle), statistic(a.mean2),
                         statistic(a.rstd2), weight(w.norm2_weight), d_stream, gradient + w.norm2_weight,
                         gradient + w.norm2_bias, scratch(acts_.backward_scratch));
}

void Transformer::Implementation::Pass::backward_attention(int index, float* gradient) {
  const int M = model_.M(), C = model_.C(), HD = model_.HD();
  const LayerOffsets& w = offsets(index);
  const Activations::Layer& a = acts_.layer(index);
  Activation* const d_stream = at(acts_.d_stream);
  ops_.linear_backward(lane_, linear(HD, C), at(a.attended), matrix(w.projection_weight), d_stream, nullptr,
                       at(a.d_attended), gradient + w.projection_weight, gradient + w.projection_bias,
                       scratch(acts_.backward_scratch));
  ops_.attention_backward(lane_, model_.attention_shape(index), at(a.qkv), at(a.attended),
                          statistic(a.log_sum_exp), at(a.d_attended), at(a.d_qkv),
                          scratch(a.attention_backward_scratch));
  if (acts_.recompute().norms) recompute_normed1(index);
  ops_.linear_backward(lane_, linear(C, 3 * HD), at(a.backward.normed1), matrix(w.qkv_weight), at(a.d_qkv),
                       nullptr, at(a.d_normed1), gradient + w.qkv_weight, gradient + w.qkv_bias,
                       scratch(acts_.backward_scratch));
  ops_.add_norm_backward(lane_, M, C, at(a.d_normed1), d_stream, at(a.input), statistic(a.mean1),
                         statistic(a.rstd1), weight(w.norm1_weight), d_stream, gradient + w.norm1_weight,
                         gradient + w.norm1_bias, scratch(acts_.backward_scratch));
}

Transformer::Transformer(const ModelConfig& config, int vocabulary, int micro_batch, int gradient_slots,
                         Device& device, Recompute recompute)
    : implementation_(std::make_unique<Implementation>(config, vocabulary, micro_batch, gradient_slots,
                                                       device, recompute)) {}

Transformer::~Transformer() = default;

const ModelConfig& Transformer::config() const {
  return implementation_->config;
}

const ParameterTable& Transformer::parameters() const {
  return implementation_->table;
}

int Transformer::micro_batch() const {
  return implementation_->B;
}

float* Transformer::weights() {
  return implementation_->weights.as<float>();
}

Activation* Transformer::compute_weights() {
  return implementation_->compute_weights.as<Activation>();
}

float* Transformer::gradient_slot(int slot) {
  return implementation_->gradients[implementation_->checked(slot)].as<float>();
}

double* Transformer::slot_loss(int slot) {
  return implementation_->losses.as<double>() + implementation_->checked(slot);
}

void Transformer::clear_slot(Lane& lane, int slot) {
  implementation_->ops.clear(lane, gradient_slot(slot), flat_bytes(parameters()));
  implementation_->ops.clear(lane, slot_loss(slot), sizeof(double));
}

void Transformer::forward_backward(Lane& lane, int slot, const std::int32_t* tokens,
                                   const std::int32_t* targets, float loss_scale, const OnReady& on_ready) {
  float* const gradient = gradient_slot(slot);
  Implementation::Pass pass(*implementation_, lane);
  pass.forward(tokens);
  pass.classify(targets, loss_scale, slot_loss(slot), gradient);
  pass.backward(tokens, gradient, ReadyRanges(parameters().flat_size(), on_ready));
}

void Transformer::evaluate(Lane& lane, const std::int32_t* tokens, const std::int32_t* targets,
                           double* loss_sum) {
  Implementation::Pass pass(*implementation_, lane);
  pass.forward(tokens);
  pass.classify(targets, 0, loss_sum, nullptr);
}

}  // namespace minichilla
