// What tests of whole runs share: a temporary folder, a small corpus in memory, a tiny config.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "tests/temporary_folder.h"
#include "trainer/checkpoint.h"
#include "trainer/corpus.h"
#include "trainer/files.h"
#include "trainer/run_config.h"
#include "trainer/run_directory.h"
#include "trainer/train.h"

namespace minichilla {

class MemorySplit final : public TokenSplit {
 public:
  explicit MemorySplit(std::vector<std::int32_t> ids) : ids_(std::move(ids)) {}
  std::int64_t tokens() const override { return static_cast<std::int64_t>(ids_.size()); }
  std::int64_t text_bytes() const override { return tokens() / 2; }
  void read(std::int64_t begin, std::int64_t count, std::int32_t* ids) const override {
    std::copy_n(ids_.begin() + begin, count, ids);
  }

 private:
  std::vector<std::int32_t> ids_;
};

/// Tokens that can be learned: each is the one before plus 1, 2 or 3 (mod V), so its entropy is ln 3.
inline std::vector<std::int32_t> learnable_tokens(std::size_t count, int vocabulary, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> ids(count);
  std::int32_t id = 0;
  for (std::int32_t& next : ids) next = id = (id + 1 + static_cast<std::int32_t>(random() % 3)) % vocabulary;
  return ids;
}

class MemoryCorpus final : public Corpus {
 public:
  static constexpr int kVocabulary = 24;
  MemoryCorpus(std::size_t train_tokens, std::size_t val_tokens)
      : train_(learnable_tokens(train_tokens, kVocabulary, 1)),
        val_(learnable_tokens(val_tokens, kVocabulary, 2)) {}
  const std::filesystem::path& folder() const override { return folder_; }
  std::string tokenizer() const override { return "memory"; }
  int vocabulary() const override { return kVocabulary; }
  const std::string& hash() const override { return hash_; }
  const TokenSplit& split(const std::string& name) const override { return name == "train" ? train_ : val_; }
  void rename(const std::string& hash) { hash_ = hash; }

 private:
  std::filesystem::path folder_ = "memory-corpus";
  std::string hash_ = std::string(64, 'c');
  MemorySplit train_, val_;
};

/// 24 steps of 8 sequences of 16 tokens on a model of two thousand parameters.
inline RunConfig tiny_config() {
  RunConfig config;
  config.model.n_layers = 1;
  config.model.d_model = 16;
  config.model.n_heads = 2;
  config.model.context_length = 16;
  config.model.attention.pattern = {"banded"};
  config.data.corpus = "memory-corpus";
  config.train.batch_tokens = 128;
  config.train.tokens = 24 * 128;
  config.train.micro_batch = 2;
  config.train.gradient_slots = 3;
  config.train.optimizer.learning_rate = 0.01;
  config.train.evaluate = {{Interval::Unit::fraction, 0.25},
                           208};  // 13 windows: no multiple of the micro-batch
  config.train.checkpoint.every = {Interval::Unit::steps, 10};
  return config;
}

class FolderTest : public ::testing::Test {
 protected:
  const TemporaryFolder temporary_;
  const std::filesystem::path folder_ = temporary_.path();
};

class RunTest : public FolderTest {
 protected:
  /// Trains in folder_/name with a stop asked for after `stop_after` steps (0: never).
  Outcome train_run(const std::string& name, const RunConfig& config, int stop_after = 0, int lanes = 1) {
    const std::unique_ptr<Device> device = make_cpu_device(lanes);
    std::atomic<int> signal{0};
    TrainContext context{*device, corpus_};
    context.on_progress = [&](const Progress& progress) {
      losses_.push_back(progress.loss);
      if (progress.step == stop_after) signal = 15;
    };
    context.on_warning = [&](const std::string& warning) { warnings_.push_back(warning); };
    context.resume_from = resume_from_;
    return train(resolved(config, corpus_), context, folder_ / name, StopToken(&signal));
  }

  /// Everything that makes the bits of a run's end, as one string.
  std::string final_bits(const std::string& name, const RunConfig& config) const {
    const std::filesystem::path checkpoint =
        folder_ / name / "checkpoints" / std::to_string(config.train.steps());
    return read_file(checkpoint / "model.safetensors") + read_file(checkpoint / "optimizer.safetensors");
  }

  MemoryCorpus corpus_{4000, 300};
  std::vector<double> losses_;         ///< of all steps that were trained
  std::vector<std::string> warnings_;  ///< of all runs
  std::filesystem::path resume_from_;  ///< handed to train()
};

/// What a checkpoint of such a run has to say of its origin.
inline CheckpointState origin_of(const RunConfig& config, const Corpus& corpus) {
  CheckpointState origin;
  origin.config_hash = config_hash(config, corpus.hash());
  origin.corpus_hash = corpus.hash();
  origin.tokenizer = corpus.tokenizer();
  return origin;
}

/// Two results that agree in all but times.
inline void expect_same_result(const RunResult& a, const RunResult& b) {
  EXPECT_EQ(a.run_id, b.run_id);
  EXPECT_EQ(a.status, b.status);
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.steps, b.steps);
  EXPECT_EQ(a.flops, b.flops);
  EXPECT_EQ(a.train_loss, b.train_loss);
  EXPECT_EQ(a.val_loss, b.val_loss);
  EXPECT_EQ(a.val_bits_per_byte, b.val_bits_per_byte);
  EXPECT_EQ(a.numerics_id, b.numerics_id);
  EXPECT_EQ(a.epochs, b.epochs);
}

}  // namespace minichilla
