#include "trainer/optimizer.h"

#include <gtest/gtest.h>

#include "tests/trainer/run_fixture.h"

namespace minichilla::optimizer_test {
namespace {

constexpr std::int64_t kChunk = 8 * Operations::kNormBlock;

TEST(Optimizer, SettingsAreThoseOfTheConfig) {
  OptimizerConfig config;
  config.beta1 = 0.75;
  config.beta2 = 0.5;
  config.epsilon = 0.125;
  config.weight_decay = 0.25;
  const AdamWSettings settings = adamw_settings(config);
  EXPECT_EQ(settings.beta1, 0.75f);
  EXPECT_EQ(settings.beta2, 0.5f);
  EXPECT_EQ(settings.epsilon, 0.125f);
  EXPECT_EQ(settings.weight_decay, 0.25f);
}

TEST(Optimizer, DecayFollowsTheTable) {
  ModelConfig model = tiny_config().model;
  model.n_layers = 3;
  model.d_model = 40;  // no multiple of a block: tensors have padding
  model.n_heads = 2;
  const ParameterTable table(resolved(model), 257);
  const std::vector<std::uint8_t> mask = decay_mask(table);
  ASSERT_EQ(static_cast<std::int64_t>(mask.size()) * Operations::kDecayBlock, table.flat_size());
  for (const ParameterTensor& tensor : table.tensors()) {
    for (std::int64_t i = tensor.offset; i < tensor.offset + tensor.count(); ++i) {
      ASSERT_EQ(mask[static_cast<std::size_t>(i / Operations::kDecayBlock)], tensor.decayed ? 1 : 0)
          << tensor.name;
    }
  }
}

TEST(Optimizer, ChunksCoverTheArrayAndBeginAtNormBlocks) {
  const std::vector<ElementRange> ranges = chunks(3 * kChunk + Operations::kNormBlock, kChunk);
  ASSERT_EQ(ranges.size(), 4u);
  std::int64_t end = 0;
  for (const ElementRange& range : ranges) {
    EXPECT_EQ(range.begin, end);
    EXPECT_EQ(range.begin % Operations::kNormBlock, 0);
    EXPECT_LE(range.end - range.begin, kChunk);
    end = range.end;
  }
  EXPECT_EQ(end, 3 * kChunk + Operations::kNormBlock);
}

}  // namespace
}  // namespace minichilla::optimizer_test
