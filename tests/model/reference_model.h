// The decoder written plainly, one loop per formula, to judge the devices by. In double it is the reference;
// in float it is the naive implementation whose error sets the tolerance. Shares the parameter table and the
// attention pattern with the program, and nothing else.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <string>
#include <utility>
#include <vector>

#include "model/config.h"
#include "model/parameters.h"

namespace minichilla {

/// Shapes as in kernels/ops.h: M = B·T rows.
template <class Real>
class ReferenceModel {
 public:
  using Array = std::vector<Real>;

  ReferenceModel(const ModelConfig& config, int vocabulary, int micro_batch)
      : config_(config), table_(config, vocabulary), V(vocabulary), B(micro_batch) {}

  /// Σ loss in nats over the (B,T) targets; `weights` in the flat layout of the table.
  Real loss(const Array& weights, const std::vector<std::int32_t>& tokens,
            const std::vector<std::int32_t>& targets) {
    forward(weights, tokens);
    Real sum = 0;
    for (int m = 0; m < M; ++m) {
      sum -= std::log(probabilities_[at(m, V, targets[static_cast<std::size_t>(m)])]);
    }
    return sum;
  }

  /// Gradient of loss_scale · Σ loss in the flat layout; padding is zero.
  Array gradient(const Array& weights, const std::vector<std::int32_t>& tokens,
                 const std::vector<std::int32_t>& targets, Real loss_scale) {
    forward(weights, tokens);
    gradient_.assign(static_cast<std::size_t>(table_.flat_size()), Real(0));
    backward(tokens, targets, loss_scale);
    return gradient_;
  }

 private:
  static constexpr Real kEpsilon = Real(1e-5);

  struct Norm {
    Array input, mean, rstd, output;
  };
  struct Layer {
    Norm norm1, norm2;
    Array qkv, attention, attended;  // attention: the weights (B,H,T,T)
    Array gelu_input, expanded;
  };

  static std::size_t at(std::int64_t row, std::int64_t columns, std::int64_t column) {
    return static_cast<std::size_t>(row * columns + column);
  }
  const Real* weight(const std::string& name) const { return weights_->data() + table_.at(name).offset; }
  Real* gradient_of(const std::string& name) { return gradient_.data() + table_.at(name).offset; }

  // ---- forward

  void forward(const Array& weights, const std::vector<std::int32_t>& tokens) {
    weights_ = &weights;
    const Real* wte = weight("token_embedding");
    const Real* wpe = weight("position_embedding");
    Array stream(at(M, C, 0));
    for (int m = 0; m < M; ++m) {
      for (int c = 0; c < C; ++c) {
        stream[at(m, C, c)] = wte[at(tokens[static_cast<std::size_t>(m)], C, c)] + wpe[at(m % T, C, c)];
      }
    }
    layers_.assign(static_cast<std::size_t>(config_.n_layers), {});
    for (int l = 0; l < config_.n_layers; ++l) forward_layer(l, stream);
    final_norm_ = norm("final_norm", stream);
    const Array zero_bias(static_cast<std::size_t>(V), Real(0));
    probabilities_ = linear(final_norm_.output, C, V, wte, zero_bias.data());
    for (int m = 0; m < M; ++m) softmax(&probabilities_[at(m, V, 0)], V);
  }

  void forward_layer(int l, Array& stream) {
    Layer& layer = layers_[static_cast<std::size_t>(l)];
    const std::string name = "layers." + std::to_string(l) + ".";
    layer.norm1 = norm(name + "norm1", stream);
    layer.qkv = linear(layer.norm1.output, C, 3 * HD, name + "attention.qkv");
    attend(layer, config_.layer_pattern(l));
    add(stream, linear(layer.attended, HD, C, name + "attention.projection"));
    layer.norm2 = norm(name + "norm2", stream);
    layer.gelu_input = linear(layer.norm2.output, C, F, name + "mlp.expand");
    layer.expanded = layer.gelu_input;
    for (Real& x : layer.expanded) x = gelu(x).first;
    add(stream, linear(layer.expanded, F, C, name + "mlp.contract"));
  }

  Norm norm(const std::string& name, const Array& x) const {
    const Real* w = weight(name + ".weight");
    const Real* b = weight(name + ".bias");
    Norm result{x, Array(at(M, 1, 0)), Array(at(M, 1, 0)), x};
    for (int m = 0; m < M; ++m) {
      Real mean = 0, variance = 0;
      for (int c = 0; c < C; ++c) mean += x[at(m, C, c)];
      mean /= Real(C);
      for (int c = 0; c < C; ++c) variance += (x[at(m, C, c)] - mean) * (x[at(m, C, c)] - mean);
      variance /= Real(C);
      const Real rstd = Real(1) / std::sqrt(variance + kEpsilon);
      for (int c = 0; c < C; ++c) result.output[at(m, C, c)] = w[c] * (x[at(m, C, c)] - mean) * rstd + b[c];
      result.mean[at(m, 1, 0)] = mean;
      result.rstd[at(m, 1, 0)] = rstd;
    }
    return result;
  }

  Array linear(const Array& x, int in, int out, const std::string& name) const {
    return linear(x, in, out, weight(name + ".weight"), weight(name + ".bias"));
  }

  Array linear(const Array& x, int in, int out, const Real* w, const Real* b) const {
    Array y(at(M, out, 0));
    for (int m = 0; m < M; ++m) {
      for (int o = 0; o < out; ++o) {
        Real sum = b[o];
        for (int i = 0; i < in; ++i) sum += x[at(m, in, i)] * w[at(o, in, i)];
        y[at(m, out, o)] = sum;
      }
    }
    return y;
  }

  void attend(Layer& layer, AttentionPattern pattern) const {
    layer.attention.assign(at(static_cast<std::int64_t>(B) * H * T, T, 0), Real(0));
    layer.attended.assign(at(M, HD, 0), Real(0));
    for (int b = 0; b < B; ++b) {
      for (int h = 0; h < H; ++h) {
        for (int query = 0; query < T; ++query) {
          Real* row = &layer.attention[at((b * H + h) * T + query, T, 0)];
          Real sum = 0, largest = -INFINITY;
          for (int key = 0; key < T; ++key) {
            if (!pattern.allows(query, key)) continue;
            for (int d = 0; d < D; ++d) row[key] += q(layer.qkv, b, query, h, d) * k(layer.qkv, b, key, h, d);
            row[key] /= std::sqrt(Real(D));
            largest = std::max(largest, row[key]);
          }
          for (int key = 0; key < T; ++key) {
            row[key] = pattern.allows(query, key) ? std::exp(row[key] - largest) : Real(0);
            sum += row[key];
          }
          for (int key = 0; key < T; ++key) {
            row[key] /= sum;
            for (int d = 0; d < D; ++d) {
              layer.attended[at(b * T + query, HD, h * D + d)] += row[key] * v(layer.qkv, b, key, h, d);
            }
          }
        }
      }
    }
  }

  // One value of qkv (B,T,3,H,D) or of its gradient.
  template <class Values>
  auto& q(Values& qkv, int b, int t, int h, int d) const {
    return qkv[at(b * T + t, 3 * HD, h * D + d)];
  }
  template <class Values>
  auto& k(Values& qkv, int b, int t, int h, int d) const {
    return qkv[at(b * T + t, 3 * HD, HD + h * D + d)];
  }
  template <class Values>
  auto& v(Values& qkv, int b, int t, int h, int d) const {
    return qkv[at(b * T + t, 3 * HD, 2 * HD + h * D + d)];
  }

  static void softmax(Real* row, int n) {
    Real largest = row[0], sum = 0;
    for (int i = 1; i < n; ++i) largest = std::max(largest, row[i]);
    for (int i = 0; i < n; ++i) sum += row[i] = std::exp(row[i] - largest);
    for (int i = 0; i < n; ++i) row[i] /= sum;
  }

  /// gelu(x) in the tanh form (Hendrycks & Gimpel 2016) and its derivative.
  static std::pair<Real, Real> gelu(Real x) {
    const Real a = std::sqrt(Real(2) / std::numbers::pi_v<Real>), b = Real(0.044715);
    const Real t = std::tanh(a * (x + b * x * x * x));
    const Real slope = (Real(1) - t * t) * a * (Real(1) + 3 * b * x * x);
    return {x * (Real(1) + t) / 2, (Real(1) + t) / 2 + x * slope / 2};
  }

  static void add(Array& to, const Array& from) {
    for (std::size_t i = 0; i < to.size(); ++i) to[i] += from[i];
  }

  // ---- backward

  void backward(const std::vector<std::int32_t>& tokens, const std::vector<std::int32_t>& targets,
                Real loss_scale) {
    Array d_logits = probabilities_;
    for (int m = 0; m < M; ++m) d_logits[at(m, V, targets[static_cast<std::size_t>(m)])] -= Real(1);
    for (Real& x : d_logits) x *= loss_scale;
    Real* d_wte = gradient_of("token_embedding");
    Array unused_bias(static_cast<std::size_t>(V), Real(0));
    const Array d_normed = linear_backward(final_norm_.output, d_logits, C, V, weight("token_embedding"),
                                           d_wte, unused_bias.data());
    Array d_stream(at(M, C, 0), Real(0));
    norm_backward("final_norm", final_norm_, d_normed, d_stream);
    for (int l = config_.n_layers - 1; l >= 0; --l) backward_layer(l, d_stream);
    Real* d_wpe = gradient_of("position_embedding");
    for (int m = 0; m < M; ++m) {
      for (int c = 0; c < C; ++c) {
        d_wte[at(tokens[static_cast<std::size_t>(m)], C, c)] += d_stream[at(m, C, c)];
        d_wpe[at(m % T, C, c)] += d_stream[at(m, C, c)];
      }
    }
  }

  void backward_layer(int l, Array& d_stream) {
    const Layer& layer = layers_[static_cast<std::size_t>(l)];
    const std::string name = "layers." + std::to_string(l) + ".";
    Array d_hidden = linear_backward(layer.expanded, d_stream, F, C, name + "mlp.contract");
    for (std::size_t i = 0; i < d_hidden.size(); ++i) d_hidden[i] *= gelu(layer.gelu_input[i]).second;
    const Array d_normed2 = linear_backward(layer.norm2.output, d_hidden, C, F, name + "mlp.expand");
    norm_backward(name + "norm2", layer.norm2, d_normed2, d_stream);
    const Array d_attended = linear_backward(layer.attended, d_stream, HD, C, name + "attention.projection");
    const Array d_qkv = attend_backward(layer, d_attended);
    const Array d_normed1 = linear_backward(layer.norm1.output, d_qkv, C, 3 * HD, name + "attention.qkv");
    norm_backward(name + "norm1", layer.norm1, d_normed1, d_stream);
  }

  /// Adds to d_stream what reaches the norm's input.
  void norm_backward(const std::string& name, const Norm& norm, const Array& d_output, Array& d_stream) {
    const Real* w = weight(name + ".weight");
    Real* d_w = gradient_of(name + ".weight");
    Real* d_b = gradient_of(name + ".bias");
    for (int m = 0; m < M; ++m) {
      const Real rstd = norm.rstd[at(m, 1, 0)];
      const auto unit = [&](int c) { return (norm.input[at(m, C, c)] - norm.mean[at(m, 1, 0)]) * rstd; };
      Real mean_d = 0, mean_d_unit = 0;
      for (int c = 0; c < C; ++c) {
        const Real d = d_output[at(m, C, c)];
        d_w[c] += d * unit(c);
        d_b[c] += d;
        mean_d += d * w[c] / Real(C);
        mean_d_unit += d * w[c] * unit(c) / Real(C);
      }
      for (int c = 0; c < C; ++c) {
        d_stream[at(m, C, c)] += rstd * (d_output[at(m, C, c)] * w[c] - mean_d - unit(c) * mean_d_unit);
      }
    }
  }

  Array linear_backward(const Array& x, const Array& d_y, int in, int out, const std::string& name) {
    return linear_backward(x, d_y, in, out, weight(name + ".weight"), gradient_of(name + ".weight"),
                           gradient_of(name + ".bias"));
  }

  Array linear_backward(const Array& x, const Array& d_y, int in, int out, const Real* w, Real* d_w,
                        Real* d_b) const {
    Array d_x(at(M, in, 0), Real(0));
    for (int m = 0; m < M; ++m) {
      for (int o = 0; o < out; ++o) {
        const Real d = d_y[at(m, out, o)];
        d_b[o] += d;
        for (int i = 0; i < in; ++i) {
          d_w[at(o, in, i)] += d * x[at(m, in, i)];
          d_x[at(m, in, i)] += d * w[at(o, in, i)];
        }
      }
    }
    return d_x;
  }

  Array attend_backward(const Layer& layer, const Array& d_attended) const {
    Array d_qkv(layer.qkv.size(), Real(0)), d_row(at(T, 1, 0));
    for (int b = 0; b < B; ++b) {
      for (int h = 0; h < H; ++h) {
        for (int query = 0; query < T; ++query) {
          const Real* row = &layer.attention[at((b * H + h) * T + query, T, 0)];
          Real mean = 0;
          for (int key = 0; key <= query; ++key) {
            Real d_weight = 0;
            for (int d = 0; d < D; ++d) {
              const Real d_out = d_attended[at(b * T + query, HD, h * D + d)];
              d_weight += d_out * v(layer.qkv, b, key, h, d);
              v(d_qkv, b, key, h, d) += row[key] * d_out;
            }
            d_row[at(key, 1, 0)] = d_weight;
            mean += row[key] * d_weight;
          }
          for (int key = 0; key <= query; ++key) {
            const Real d_score = row[key] * (d_row[at(key, 1, 0)] - mean) / std::sqrt(Real(D));
            for (int d = 0; d < D; ++d) {
              q(d_qkv, b, query, h, d) += d_score * k(layer.qkv, b, key, h, d);
              k(d_qkv, b, key, h, d) += d_score * q(layer.qkv, b, query, h, d);
            }
          }
        }
      }
    }
    return d_qkv;
  }

  const ModelConfig config_;
  const ParameterTable table_;
  const int V, B;
  const int T = config_.context_length, C = config_.d_model, H = config_.n_heads, D = config_.head_width();
  const int F = config_.mlp_width(), HD = H * D, M = B * T;
  const Array* weights_ = nullptr;
  std::vector<Layer> layers_;
  Norm final_norm_;
  Array probabilities_;  // (M,V)
  Array gradient_;
};

}  // namespace minichilla
