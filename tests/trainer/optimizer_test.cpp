#include "trainer/optimizer.h"

#include <gtest/gtest.h>

#include "tests/trainer/run_fixture.h"

namespace minichilla {
namespace {

constexpr std::int64_t kChunk = 8 * Operations::kNormBlock;

ModelConfig shape(int layers, int width) {
  ModelConfig config = tiny_config().model;
  config.n_layers = layers;
  config.d_model = width;
  return resolved(config);
}

TEST(Optimizer, TasksCoverTheFlatArraysOnceInOrder) {
  const ParameterTable table(shape(3, 64), 257);
  std::int64_t end = 0;
  for (const OptimizerTask& task : optimizer_tasks({}, table, kChunk)) {
    EXPECT_EQ(task.range.begin, end);
    EXPECT_GT(task.range.end, task.range.begin);
    EXPECT_LE(task.range.end - task.range.begin, kChunk);
    end = task.range.end;
  }
  EXPECT_EQ(end, table.flat_size());
}

TEST(Optimizer, DecayFollowsTheTable) {
  const ParameterTable table(shape(2, 16), 257);
  OptimizerConfig config;
  config.weight_decay = 0.25;
  config.beta2 = 0.5;
  const std::vector<OptimizerTask> tasks = optimizer_tasks(config, table, kChunk);
  for (const ParameterTensor& tensor : table.tensors()) {
    for (const OptimizerTask& task : tasks) {
      if (task.range.end <= tensor.offset || task.range.begin >= tensor.offset + tensor.count()) continue;
      EXPECT_EQ(task.settings.weight_decay, tensor.decayed ? 0.25f : 0.0f) << tensor.name;
      EXPECT_EQ(task.settings.beta2, 0.5f);
    }
  }
}

TEST(Optimizer, NeighboursOfOneGroupAreMerged) {
  const ParameterTable table(shape(1, 16), 24);
  const std::vector<OptimizerTask> tasks = optimizer_tasks({}, table, kChunk);
  EXPECT_LT(tasks.size(), table.tensors().size());
  for (std::size_t i = 1; i < tasks.size(); ++i) {
    EXPECT_NE(tasks[i].settings.weight_decay, tasks[i - 1].settings.weight_decay) << i;
  }
}

TEST(Optimizer, ChunksBeginAtNormBlocks) {
  const std::vector<ElementRange> ranges = chunks(3 * kChunk + Operations::kNormBlock, kChunk);
  ASSERT_EQ(ranges.size(), 4u);
  for (const ElementRange& range : ranges) EXPECT_EQ(range.begin % Operations::kNormBlock, 0);
  EXPECT_EQ(ranges.back().end, 3 * kChunk + Operations::kNormBlock);
}

}  // namespace
}  // namespace minichilla
