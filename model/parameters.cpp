#include "model/parameters.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <stdexcept>
#include <string_view>

namespace minichilla {
namespace {

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// FNV-1a, 64 bits (Fowler, Noll & Vo).
std::uint64_t hash_of(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char byte : text) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3u;
  return hash;
}

/// The output function of SplitMix64 (Steele, Lea & Flood 2014): a bijection that scatters neighbours.
std::uint64_t scatter(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// Standard normals by counter: value i depends on key and i alone. Box & Muller 1958 in double precision;
/// between mathematics libraries the double may differ in its last bit, the float almost never.
class NormalStream {
 public:
  NormalStream(std::uint64_t seed, std::string_view name)
      : key_(scatter(scatter(seed + kGamma) ^ hash_of(name))) {}

  double operator()(std::int64_t i) const {
    const auto pair = static_cast<std::uint64_t>(i) / 2;
    const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform(2 * pair)));
    const double angle = 2.0 * std::numbers::pi * uniform(2 * pair + 1);
    return radius * (i % 2 == 0 ? std::cos(angle) : std::sin(angle));
  }

 private:
  static constexpr std::uint64_t kGamma = 0x9e3779b97f4a7c15u;

  /// In [0, 1), 53 bits.
  double uniform(std::uint64_t counter) const {
    return static_cast<double>(scatter(key_ + (counter + 1) * kGamma) >> 11) * 0x1p-53;
  }

  std::uint64_t key_;
};

}  // namespace

std::int64_t ParameterTensor::count() const {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

ParameterTable::ParameterTable(const ModelConfig& config, int vocabulary) {
  const std::int64_t V = vocabulary, T = config.context_length, C = config.d_model, F = config.mlp_width();
  const std::int64_t HD = static_cast<std::int64_t>(config.n_heads) * config.head_width();
  // Each layer adds two branches to the residual stream; their variances shall not add up with depth (GPT-2).
  const double initial_std = config.initial_std;
  const double residual_std = initial_std / std::sqrt(2.0 * config.n_layers);
  const auto matrix = [&](const std::string& name, std::int64_t rows, std::int64_t columns, double std) {
    return append(name, {rows, columns}, true, Initial::normal, std);
  };
  const auto linear = [&](const std::string& name, std::int64_t out, std::int64_t in, double std) {
    matrix(name + ".weight", out, in, std);
    append(name + ".bias", {out}, false, Initial::zeros, 0);
  };
  const auto norm = [&](const std::string& name) {
    append(name + ".weight", {C}, false, Initial::ones, 0);
    append(name + ".bias", {C}, false, Initial::zeros, 0);
  };

  const std::int64_t embeddings =
      matrix("token_embedding", V, C, initial_std) + matrix("position_embedding", T, C, initial_std);
  for (int layer = 0; layer < config.n_layers; ++layer) {
    const std::string prefix = "layers." + std::to_string(layer) + ".";
    norm(prefix + "norm1");
    linear(prefix + "attention.qkv", 3 * HD, C, initial_std);
    linear(prefix + "attention.projection", C, HD, residual_std);
    norm(prefix + "norm2");
    linear(prefix + "mlp.expand", F, C, initial_std);
    linear(prefix + "mlp.contract", C, F, residual_std);
  }
  norm("final_norm");
  flat_size_ = round_up(flat_size_, kFlatAlignment);
  params_non_embedding_ = params_ - embeddings;
}

std::int64_t ParameterTable::append(std::string name, std::vector<std::int64_t> shape, bool decayed,
                                    Initial initial, double std) {
  ParameterTensor tensor{std::move(name), std::move(shape), decayed, initial, std, flat_size_};
  const std::int64_t count = tensor.count();
  flat_size_ += round_up(count, kTensorAlignment);
  params_ += count;
  tensors_.push_back(std::move(tensor));
  return count;
}

const ParameterTensor& ParameterTable::at(const std::string& name) const {
  for (const ParameterTensor& tensor : tensors_) {
    if (tensor.name == name) return tensor;
  }
  throw std::logic_error("no parameter tensor is called " + name);
}

void initial_values(const ParameterTensor& tensor, std::uint64_t seed, std::int64_t begin,
                    std::span<float> values) {
  if (tensor.initial != Initial::normal) {
    std::ranges::fill(values, tensor.initial == Initial::ones ? 1.0f : 0.0f);
    return;
  }
  const NormalStream normal(seed, tensor.name);
  for (float& value : values) value = static_cast<float>(tensor.initial_std * normal(begin++));
}

}  // namespace minichilla
