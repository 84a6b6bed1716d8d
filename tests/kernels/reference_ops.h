// Every operation of kernels/ops.h in plain loops, straight from its formula. With Real = double it is the
// reference that results are compared with; with Real = float it is the naive implementation whose error sets
// the tolerance.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/ops.h"

namespace minichilla::reference {

using Size = std::size_t;

template <class Real>
using Array = std::vector<Real>;

inline Size size(int n) {
  return static_cast<Size>(n);
}

template <class Real>
Array<Real> embed(int B, int T, int C, const std::vector<std::int32_t>& tokens,
                  const Array<Real>& token_embedding, const Array<Real>& position_embedding) {
  Array<Real> out;
  for (int row = 0; row < B * T; ++row) {
    for (int c = 0; c < C; ++c) {
      out.push_back(token_embedding[size(tokens[size(row)] * C + c)] +
                    position_embedding[size(row % T * C + c)]);
    }
  }
  return out;
}

template <class Real>
struct EmbedGradients {
  Array<Real> token_embedding, position_embedding;
};

template <class Real>
EmbedGradients<Real> embed_backward(int B, int T, int C, int V, const std::vector<std::int32_t>& tokens,
                                    const Array<Real>& d_out) {
  EmbedGradients<Real> d{Array<Real>(size(V * C)), Array<Real>(size(T * C))};
  for (int row = 0; row < B * T; ++row) {
    for (int c = 0; c < C; ++c) {
      d.token_embedding[size(tokens[size(row)] * C + c)] += d_out[size(row * C + c)];
      d.position_embedding[size(row % T * C + c)] += d_out[size(row * C + c)];
    }
  }
  return d;
}

template <class Real>
struct Norm {
  Array<Real> sum, normed, mean, rstd;
};

/// `branch` may be empty.
template <class Real>
Norm<Real> add_norm(int M, int C, const Array<Real>& residual, const Array<Real>& branch,
                    const Array<Real>& weight, const Array<Real>& bias) {
  Norm<Real> out;
  for (int m = 0; m < M; ++m) {
    Real mean = 0, variance = 0;
    for (int c = 0; c < C; ++c) {
      const Size i = size(m * C + c);
      out.sum.push_back(branch.empty() ? residual[i] : residual[i] + branch[i]);
      mean += out.sum.back() / static_cast<Real>(C);
    }
    for (int c = 0; c < C; ++c) {
      const Real x = out.sum[size(m * C + c)] - mean;
      variance += x * x / static_cast<Real>(C);
    }
    const Real rstd = 1 / std::sqrt(variance + static_cast<Real>(1e-5));
    for (int c = 0; c < C; ++c) {
      out.normed.push_back(weight[size(c)] * (out.sum[size(m * C + c)] - mean) * rstd + bias[size(c)]);
    }
    out.mean.push_back(mean);
    out.rstd.push_back(rstd);
  }
  return out;
}

template <class Real>
struct NormGradients {
  Array<Real> sum, weight, bias;
};

/// `d_sum` may be empty.
template <class Real>
NormGradients<Real> add_norm_backward(int M, int C, const Norm<Real>& forward, const Array<Real>& d_normed,
                                      const Array<Real>& d_sum, const Array<Real>& weight) {
  NormGradients<Real> d{Array<Real>(size(M * C)), Array<Real>(size(C)), Array<Real>(size(C))};
  for (int m = 0; m < M; ++m) {
    const auto x = [&](int c) {
      return (forward.sum[size(m * C + c)] - forward.mean[size(m)]) * forward.rstd[size(m)];
    };
    const auto g = [&](int c) { return d_normed[size(m * C + c)] * weight[size(c)]; };
    Real mean_g = 0, mean_gx = 0;
    for (int c = 0; c < C; ++c) {
      mean_g += g(c) / static_cast<Real>(C);
      mean_gx += g(c) * x(c) / static_cast<Real>(C);
      d.weight[size(c)] += d_normed[size(m * C + c)] * x(c);
      d.bias[size(c)] += d_normed[size(m * C + c)];
    }
    for (int c = 0; c < C; ++c) {
      const Size i = size(m * C + c);
      d.sum[i] = (d_sum.empty() ? 0 : d_sum[i]) + forward.rstd[size(m)] * (g(c) - mean_g - x(c) * mean_gx);
    }
  }
  return d;
}

template <class Real>
Real gelu(Real u) {
  const Real slope = std::sqrt(static_cast<Real>(2 / 3.14159265358979323846));
  return u / 2 * (1 + std::tanh(slope * (u + static_cast<Real>(0.044715) * u * u * u)));
}

template <class Real>
Real gelu_derivative(Real u) {
  const Real slope = std::sqrt(static_cast<Real>(2 / 3.14159265358979323846)),
             cubic = static_cast<Real>(0.044715);
  const Real t = std::tanh(slope * (u + cubic * u * u * u));
  return (1 + t) / 2 + u / 2 * (1 - t * t) * slope * (1 + 3 * cubic * u * u);
}

/// x · weightᵀ + bias, before any GELU.
template <class Real>
Array<Real> linear(LinearShape shape, const Array<Real>& x, const Array<Real>& weight,
                   const Array<Real>& bias) {
  Array<Real> y;
  for (int m = 0; m < shape.M; ++m) {
    for (int o = 0; o < shape.out; ++o) {
      Real sum = 0;
      for (int i = 0; i < shape.in; ++i) sum += x[size(m * shape.in + i)] * weight[size(o * shape.in + i)];
      y.push_back(sum + bias[size(o)]);
    }
  }
  return y;
}

template <class Real>
struct LinearGradients {
  Array<Real> x, weight, bias;
};

/// `gelu_input` may be empty; else x is gelu(gelu_input) and d.x is its gradient.
template <class Real>
LinearGradients<Real> linear_backward(LinearShape shape, const Array<Real>& x, const Array<Real>& weight,
                                      const Array<Real>& d_y, const Array<Real>& gelu_input) {
  LinearGradients<Real> d{Array<Real>(x.size()), Array<Real>(weight.size()), Array<Real>(size(shape.out))};
  for (int m = 0; m < shape.M; ++m) {
    for (int o = 0; o < shape.out; ++o) {
      const Real g = d_y[size(m * shape.out + o)];
      d.bias[size(o)] += g;
      for (int i = 0; i < shape.in; ++i) {
        d.x[size(m * shape.in + i)] += g * weight[size(o * shape.in + i)];
        d.weight[size(o * shape.in + i)] += g * x[size(m * shape.in + i)];
      }
    }
  }
  for (Size i = 0; i < gelu_input.size(); ++i) d.x[i] *= gelu_derivative(gelu_input[i]);
  return d;
}

/// Index of element d of the query (part 0), key (1) or value (2) of a token in qkv (B,T,3,H,D).
inline Size qkv_index(const AttentionShape& s, int b, int t, int part, int h, int d) {
  return size((((b * s.T + t) * 3 + part) * s.H + h) * s.D + d);
}

/// Index in out (B,T,H,D).
inline Size out_index(const AttentionShape& s, int b, int t, int h, int d) {
  return size(((b * s.T + t) * s.H + h) * s.D + d);
}

template <class Real>
struct Attention {
  Array<Real> out, log_sum_exp;
};

/// Scaled score of one pair.
template <class Real>
Real attention_score(const AttentionShape& s, const Array<Real>& qkv, int b, int h, int query, int key) {
  Real sum = 0;
  for (int d = 0; d < s.D; ++d)
    sum += qkv[qkv_index(s, b, query, 0, h, d)] * qkv[qkv_index(s, b, key, 1, h, d)];
  return sum / std::sqrt(static_cast<Real>(s.D));
}

/// Softmax over all pairs that the predicate allows: T² of them are asked.
template <class Real>
Attention<Real> attention(const AttentionShape& s, const Array<Real>& qkv) {
  Attention<Real> result{Array<Real>(size(s.B * s.T * s.H * s.D)), Array<Real>(size(s.B * s.H * s.T))};
  for (int b = 0; b < s.B; ++b) {
    for (int h = 0; h < s.H; ++h) {
      for (int query = 0; query < s.T; ++query) {
        Array<Real> scores(size(s.T), -static_cast<Real>(HUGE_VAL));
        for (int key = 0; key < s.T; ++key) {
          if (s.pattern.allows(query, key)) scores[size(key)] = attention_score(s, qkv, b, h, query, key);
        }
        const Real top = *std::max_element(scores.begin(), scores.end());
        Real total = 0;
        for (const Real score : scores) total += std::exp(score - top);
        result.log_sum_exp[size((b * s.H + h) * s.T + query)] = top + std::log(total);
        for (int key = 0; key < s.T; ++key) {
          if (!s.pattern.allows(query, key)) continue;
          const Real p = std::exp(scores[size(key)] - top) / total;
          for (int d = 0; d < s.D; ++d) {
            result.out[out_index(s, b, query, h, d)] += p * qkv[qkv_index(s, b, key, 2, h, d)];
          }
        }
      }
    }
  }
  return result;
}

template <class Real>
Array<Real> attention_backward(const AttentionShape& s, const Array<Real>& qkv,
                               const Attention<Real>& forward, const Array<Real>& d_out) {
  Array<Real> d_qkv(qkv.size());
  const Real scale = 1 / std::sqrt(static_cast<Real>(s.D));
  for (int b = 0; b < s.B; ++b) {
    for (int h = 0; h < s.H; ++h) {
      for (int query = 0; query < s.T; ++query) {
        for (int key = 0; key < s.T; ++key) {
          if (!s.pattern.allows(query, key)) continue;
          const Real score = attention_score(s, qkv, b, h, query, key);
          const Real p = std::exp(score - forward.log_sum_exp[size((b * s.H + h) * s.T + query)]);
          Real d_p = 0, delta = 0;
          for (int d = 0; d < s.D; ++d) {
            const Size i = out_index(s, b, query, h, d);
            d_p += d_out[i] * qkv[qkv_index(s, b, key, 2, h, d)];
            delta += d_out[i] * forward.out[i];
          }
          const Real d_score = p * (d_p - delta) * scale;
          for (int d = 0; d < s.D; ++d) {
            const Size q = qkv_index(s, b, query, 0, h, d), k = qkv_index(s, b, key, 1, h, d);
            d_qkv[q] += d_score * qkv[k];
            d_qkv[k] += d_score * qkv[q];
            d_qkv[qkv_index(s, b, key, 2, h, d)] += p * d_out[out_index(s, b, query, h, d)];
          }
        }
      }
    }
  }
  return d_qkv;
}

template <class Real>
struct Classifier {
  Real loss_sum;
  Array<Real> d_hidden, d_weight;
};

template <class Real>
Classifier<Real> classifier(ClassifierShape shape, const Array<Real>& hidden, const Array<Real>& weight,
                            const std::vector<std::int32_t>& targets, Real loss_scale) {
  Classifier<Real> result{0, Array<Real>(hidden.size()), Array<Real>(weight.size())};
  for (int m = 0; m < shape.M; ++m) {
    Array<Real> logits(size(shape.V));
    for (int v = 0; v < shape.V; ++v) {
      for (int c = 0; c < shape.C; ++c)
        logits[size(v)] += hidden[size(m * shape.C + c)] * weight[size(v * shape.C + c)];
    }
    const Real top = *std::max_element(logits.begin(), logits.end());
    Real total = 0;
    for (const Real logit : logits) total += std::exp(logit - top);
    result.loss_sum += std::log(total) + top - logits[size(targets[size(m)])];
    for (int v = 0; v < shape.V; ++v) {
      const Real hit = v == targets[size(m)] ? 1 : 0;
      const Real d_logit = loss_scale * (std::exp(logits[size(v)] - top) / total - hit);
      for (int c = 0; c < shape.C; ++c) {
        result.d_hidden[size(m * shape.C + c)] += d_logit * weight[size(v * shape.C + c)];
        result.d_weight[size(v * shape.C + c)] += d_logit * hidden[size(m * shape.C + c)];
      }
    }
  }
  return result;
}

template <class Real>
struct AdamW {
  Array<Real> weights, first_moment, second_moment;
};

template <class Real>
AdamW<Real> adamw(AdamWSettings settings, const StepState& state, const std::vector<std::uint8_t>& decayed,
                  const Array<Real>& gradient, AdamW<Real> before) {
  const Real beta1 = static_cast<Real>(settings.beta1), beta2 = static_cast<Real>(settings.beta2);
  const Real step = static_cast<Real>(state.step);
  for (Size i = 0; i < gradient.size(); ++i) {
    const Real g = gradient[i] * static_cast<Real>(state.gradient_scale);
    Real &m = before.first_moment[i], &v = before.second_moment[i], &w = before.weights[i];
    m = beta1 * m + (1 - beta1) * g;
    v = beta2 * v + (1 - beta2) * g * g;
    const Real unbiased_m = m / (1 - std::pow(beta1, step)), unbiased_v = v / (1 - std::pow(beta2, step));
    w -= static_cast<Real>(state.learning_rate) *
         (unbiased_m / (std::sqrt(unbiased_v) + static_cast<Real>(settings.epsilon)) +
          (decayed[i / Operations::kDecayBlock] != 0 ? static_cast<Real>(settings.weight_decay) : 0) * w);
  }
  return before;
}

}  // namespace minichilla::reference
