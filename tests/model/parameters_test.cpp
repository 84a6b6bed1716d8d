#include "model/parameters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace minichilla::parameters_test {
namespace {

ModelConfig gpt2_small() {
  ModelConfig config;
  config.n_layers = 12;
  config.d_model = 768;
  config.n_heads = 12;
  config.context_length = 1024;
  return resolved(config);
}

ModelConfig odd() {
  ModelConfig config;
  config.n_layers = 3;
  config.d_model = 10;
  config.n_heads = 3;
  config.d_head = 7;
  config.d_ff = 13;
  config.context_length = 11;
  return resolved(config);
}

std::vector<float> initial(const ParameterTable& table, std::uint64_t seed) {
  std::vector<float> weights(static_cast<std::size_t>(table.flat_size()), -7.0f);
  for (const ParameterTensor& tensor : table.tensors()) {
    initial_values(tensor, seed, 0,
                   std::span(weights).subspan(static_cast<std::size_t>(tensor.offset),
                                              static_cast<std::size_t>(tensor.count())));
  }
  return weights;
}

struct Moments {
  double mean, std, kurtosis;
};

Moments moments(const std::vector<float>& weights, const ParameterTensor& tensor) {
  const auto n = static_cast<double>(tensor.count());
  double mean = 0, square = 0, fourth = 0;
  for (std::int64_t i = 0; i < tensor.count(); ++i)
    mean += weights[static_cast<std::size_t>(tensor.offset + i)] / n;
  for (std::int64_t i = 0; i < tensor.count(); ++i) {
    const double x = weights[static_cast<std::size_t>(tensor.offset + i)] - mean;
    square += x * x / n;
    fourth += x * x * x * x / n;
  }
  return {mean, std::sqrt(square), fourth / (square * square)};
}

TEST(ParameterTable, CountsThePublishedParametersOfGpt2) {
  const ParameterTable table(gpt2_small(), 50257);
  EXPECT_EQ(table.params(), 124'439'808);  // Radford et al. 2019, as released
  EXPECT_EQ(table.params_non_embedding(), 124'439'808 - 50257 * 768 - 1024 * 768);
}

TEST(ParameterTable, CountsOddShapesByHand) {
  const ParameterTable table(odd(), 19);
  const std::int64_t layer =
      2 * 10 + (63 * 10 + 63) + (10 * 21 + 10) + 2 * 10 + (13 * 10 + 13) + (10 * 13 + 10);
  EXPECT_EQ(table.params_non_embedding(), 3 * layer + 2 * 10);
  EXPECT_EQ(table.params(), 3 * layer + 2 * 10 + 19 * 10 + 11 * 10);
}

TEST(ParameterTable, NamesAndShapesFollowTheDecoder) {
  const ParameterTable table(odd(), 19);
  std::vector<std::string> names;
  for (const ParameterTensor& tensor : table.tensors()) names.push_back(tensor.name);
  EXPECT_EQ(names.size(), 2u + 3 * 12 + 2);
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), names.size());
  EXPECT_EQ(names.front(), "token_embedding");
  EXPECT_EQ(names.back(), "final_norm.bias");
  const auto shape = [&](const char* name) { return table.at(name).shape; };
  EXPECT_THAT(shape("token_embedding"), testing::ElementsAre(19, 10));
  EXPECT_THAT(shape("position_embedding"), testing::ElementsAre(11, 10));
  EXPECT_THAT(shape("layers.2.attention.qkv.weight"), testing::ElementsAre(63, 10));
  EXPECT_THAT(shape("layers.2.attention.qkv.bias"), testing::ElementsAre(63));
  EXPECT_THAT(shape("layers.0.attention.projection.weight"), testing::ElementsAre(10, 21));
  EXPECT_THAT(shape("layers.1.mlp.expand.weight"), testing::ElementsAre(13, 10));
  EXPECT_THAT(shape("layers.1.mlp.contract.weight"), testing::ElementsAre(10, 13));
  EXPECT_THAT(shape("layers.1.norm2.weight"), testing::ElementsAre(10));
  EXPECT_THROW(table.at("layers.3.norm1.weight"), std::logic_error);
}

TEST(ParameterTable, TensorsAreAlignedInOrderWithoutOverlap) {
  const ParameterTable table(odd(), 19);
  std::int64_t end = 0;
  for (const ParameterTensor& tensor : table.tensors()) {
    EXPECT_EQ(tensor.offset % ParameterTable::kTensorAlignment, 0) << tensor.name;
    EXPECT_GE(tensor.offset, end) << tensor.name;
    EXPECT_LT(tensor.offset - end, ParameterTable::kTensorAlignment) << tensor.name;
    end = tensor.offset + tensor.count();
  }
  EXPECT_GE(table.flat_size(), end);
  EXPECT_EQ(table.flat_size() % ParameterTable::kFlatAlignment, 0);
  EXPECT_LT(table.flat_size() - end, ParameterTable::kFlatAlignment);
}

TEST(ParameterTable, DecaysMatricesAlone) {
  const ParameterTable table(odd(), 19);
  for (const ParameterTensor& tensor : table.tensors()) {
    EXPECT_EQ(tensor.decayed, tensor.shape.size() == 2) << tensor.name;
  }
}

TEST(Initialise, FollowsGpt2) {
  ModelConfig config = gpt2_small();
  config.d_model = 192;
  config.d_head = config.d_ff = 0;
  const ParameterTable table(resolved(config), 257);
  const std::vector<float> weights = initial(table, 1);
  for (const ParameterTensor& tensor : table.tensors()) {
    const auto n = static_cast<double>(tensor.count());
    const Moments found = moments(weights, tensor);
    if (tensor.initial != Initial::normal) {
      const float expected = tensor.name.ends_with("norm1.weight") || tensor.name.ends_with("norm2.weight") ||
                                     tensor.name == "final_norm.weight"
                                 ? 1.0f
                                 : 0.0f;
      EXPECT_THAT(std::vector<float>(weights.begin() + tensor.offset,
                                     weights.begin() + tensor.offset + tensor.count()),
                  testing::Each(expected))
          << tensor.name;
      continue;
    }
    const bool residual =
        tensor.name.ends_with("projection.weight") || tensor.name.ends_with("contract.weight");
    const double std = residual ? 0.02 / std::sqrt(24.0) : 0.02;
    // Five standard errors of each statistic of n normals.
    EXPECT_NEAR(found.mean, 0, 5 * std / std::sqrt(n)) << tensor.name;
    EXPECT_NEAR(found.std, std, 5 * std / std::sqrt(2 * n)) << tensor.name;
    EXPECT_NEAR(found.kurtosis, 3, 5 * std::sqrt(24 / n)) << tensor.name;
  }
}

TEST(Initialise, ScalesWithTheConfiguredDeviation) {
  ModelConfig wider = odd();
  wider.initial_std = 0.08;
  const ParameterTable table(odd(), 19), wider_table(wider, 19);
  const std::vector<float> base = initial(table, 1), scaled = initial(wider_table, 1);
  for (const ParameterTensor& tensor : table.tensors()) {
    const float factor = tensor.initial == Initial::normal ? 4.0f : 1.0f;
    const auto first = static_cast<std::size_t>(tensor.offset);
    EXPECT_FLOAT_EQ(scaled[first], factor * base[first]) << tensor.name;
  }
}

TEST(Initialise, PiecesAddUpToTheWhole) {
  const ParameterTable table(odd(), 19);
  const std::vector<float> whole = initial(table, 1);
  for (const ParameterTensor& tensor : table.tensors()) {
    for (std::int64_t begin = 0; begin < tensor.count(); begin += 7) {
      std::vector<float> piece(static_cast<std::size_t>(std::min<std::int64_t>(7, tensor.count() - begin)));
      initial_values(tensor, 1, begin, piece);
      const auto from = whole.begin() + tensor.offset + begin;
      EXPECT_EQ(piece, std::vector<float>(from, from + std::ssize(piece))) << tensor.name << " " << begin;
    }
  }
}

TEST(Initialise, SeedsAndNamesGiveTheirOwnStreams) {
  const ParameterTable table(odd(), 19);
  const std::vector<float> first = initial(table, 1), again = initial(table, 1), other = initial(table, 2);
  EXPECT_EQ(first, again);
  const auto value = [](const std::vector<float>& weights, const ParameterTensor& tensor, std::int64_t i) {
    return weights[static_cast<std::size_t>(tensor.offset + i)];
  };
  std::set<float> firsts;
  int matrices = 0;
  for (const ParameterTensor& tensor : table.tensors()) {
    if (tensor.initial != Initial::normal) continue;
    ++matrices;
    firsts.insert(value(first, tensor, 0));
    EXPECT_NE(value(first, tensor, 0), value(other, tensor, 0)) << tensor.name;
  }
  EXPECT_EQ(firsts.size(), static_cast<std::size_t>(matrices));
}

TEST(Initialise, ATensorDoesNotDependOnTheOthers) {
  ModelConfig deeper = odd();
  deeper.n_layers = 5;
  deeper.attention.pattern = {"banded"};
  const ParameterTable small(odd(), 19), large(deeper, 23);
  const std::vector<float> a = initial(small, 7), b = initial(large, 7);
  for (const char* name : {"token_embedding", "position_embedding", "layers.2.attention.qkv.weight"}) {
    for (std::int64_t i = 0; i < small.at(name).count(); ++i) {
      ASSERT_EQ(a[static_cast<std::size_t>(small.at(name).offset + i)],
                b[static_cast<std::size_t>(large.at(name).offset + i)])
          << name << " " << i;
    }
  }
}

// The stream is part of every result: a change of it would make old runs impossible to repeat.
TEST(Initialise, FirstValuesArePinned) {
  const ParameterTable table(odd(), 19);
  const std::vector<float> weights = initial(table, 1);
  const float* values = weights.data() + table.at("token_embedding").offset;
  EXPECT_FLOAT_EQ(values[0], -0.00328673716f);
  EXPECT_FLOAT_EQ(values[1], 0.00454305538f);
  EXPECT_FLOAT_EQ(values[2], -0.00202829578f);
}

}  // namespace
}  // namespace minichilla::parameters_test
