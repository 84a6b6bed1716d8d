#include "trainer/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <limits>

#include "kernels/error.h"
#include "tests/model/safetensors_bytes.h"
#include "tests/trainer/flat_arrays.h"
#include "tests/trainer/run_fixture.h"

namespace minichilla::checkpoint_test {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class CheckpointTest : public FolderTest {
 protected:
  CheckpointTest() : table_(resolved(tiny_config().model), 24), checkpoints_(folder_, table_) {}

  /// Arrays that differ from step to step; padding is zero, as in a run.
  FlatArrays arrays_of(std::int64_t step) const { return arrays_of(step, table_); }
  static FlatArrays arrays_of(std::int64_t step, const ParameterTable& table) {
    FlatArrays arrays(table);
    for (const ParameterTensor& tensor : table.tensors()) {
      for (std::int64_t i = 0; i < tensor.count(); ++i) {
        const auto at = static_cast<std::size_t>(tensor.offset + i);
        arrays.weights[at] = static_cast<float>(step) + 0.001f * static_cast<float>(at);
        arrays.first_moment[at] = -arrays.weights[at];
        arrays.second_moment[at] = 2 * arrays.weights[at];
      }
    }
    return arrays;
  }
  static CheckpointState state_of(std::int64_t step) {
    CheckpointState state;
    state.step = step;
    state.sequences = 8 * step;
    state.tail_loss_sum = 0.1 * static_cast<double>(step);
    state.wall_s = 1.5;
    state.train_s = 1.25;
    state.config_hash = "config";
    state.corpus_hash = "corpus";
    state.tokenizer = "bytes";
    state.numerics_id = "0123456789ab";
    return state;
  }
  void save(std::int64_t step) { checkpoints_.save(state_of(step), arrays_of(step)); }
  /// The step that a fresh reader goes on from; −1: none.
  std::int64_t loaded_step() {
    Checkpoints reader(folder_, table_);
    FlatArrays arrays(table_);
    const auto state =
        reader.load(state_of(0), arrays, [this](const std::string& w) { warnings_.push_back(w); });
    if (!state) return -1;
    const FlatArrays expected = arrays_of(state->step);
    EXPECT_EQ(arrays.weights, expected.weights);
    EXPECT_EQ(arrays.first_moment, expected.first_moment);
    EXPECT_EQ(arrays.second_moment, expected.second_moment);
    return state->step;
  }
  fs::path file(std::int64_t step, const std::string& name) const {
    return folder_ / "checkpoints" / std::to_string(step) / name;
  }
  static void flip_bit(const fs::path& file, std::int64_t at) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(at);
    const char byte = static_cast<char>(stream.get() ^ 0x10);
    stream.seekp(at);
    stream.put(byte);
  }

  const ParameterTable table_;
  Checkpoints checkpoints_;
  std::vector<std::string> warnings_;
};

TEST_F(CheckpointTest, ReadsBackEveryBit) {
  EXPECT_EQ(loaded_step(), -1);
  CheckpointState state = state_of(7);
  state.val_loss = 0.1 + 0.2;
  state.val_bits_per_byte = 1.0 / 3;
  state.val_step = 6;
  state.tail_loss_sum = 0.7 + 0.1;
  checkpoints_.save(state, arrays_of(7));
  FlatArrays arrays(table_);
  const CheckpointState back = checkpoints_.load(state_of(0), arrays, {}).value();
  EXPECT_EQ(back.step, 7);
  EXPECT_EQ(back.sequences, 56);
  EXPECT_EQ(back.tail_loss_sum, 0.7 + 0.1);
  EXPECT_EQ(back.val_loss, 0.1 + 0.2);
  EXPECT_EQ(back.val_bits_per_byte, 1.0 / 3);
  EXPECT_EQ(back.val_step, 6);
  EXPECT_EQ(back.wall_s, 1.5);
  EXPECT_EQ(back.train_s, 1.25);
  EXPECT_EQ(back.numerics_id, "0123456789ab");
  EXPECT_EQ(loaded_step(), 7);
}

TEST_F(CheckpointTest, NoEvaluationYetReadsBackAsNone) {
  save(1);
  FlatArrays arrays(table_);
  const CheckpointState back = checkpoints_.load(state_of(0), arrays, {}).value();
  EXPECT_TRUE(std::isnan(back.val_loss));
  EXPECT_EQ(back.val_step, 0);
}

TEST_F(CheckpointTest, KeepsTheTwoNewest) {
  for (const std::int64_t step : {5, 10, 15, 100}) save(step);
  EXPECT_THAT(numbered_folders(folder_ / "checkpoints"), ElementsAre(15, 100));
  EXPECT_EQ(loaded_step(), 100);
}

TEST_F(CheckpointTest, ATruncatedFileFallsBack) {
  for (const std::string name : {"model.safetensors", "optimizer.safetensors", "state.json", "complete"}) {
    save(5);
    save(10);
    fs::resize_file(file(10, name), fs::file_size(file(10, name)) - 1);
    EXPECT_EQ(loaded_step(), 5) << name;
    EXPECT_EQ(warnings_.size(), 1u) << name;
    fs::resize_file(file(10, name), 0);
    EXPECT_EQ(loaded_step(), 5) << name;
    warnings_.clear();
  }
}

TEST_F(CheckpointTest, AFlippedBitFallsBack) {
  for (const std::string name : {"model.safetensors", "optimizer.safetensors", "state.json", "complete"}) {
    const auto size = static_cast<std::int64_t>((save(10), fs::file_size(file(10, name))));
    for (const std::int64_t at : {std::int64_t{0}, size / 2, size - 1}) {
      save(5);
      save(10);
      flip_bit(file(10, name), at);
      EXPECT_EQ(loaded_step(), 5) << name << " byte " << at;
    }
  }
}

TEST_F(CheckpointTest, WithoutItsMarkerItDoesNotCount) {
  save(5);
  save(10);
  fs::remove(file(10, "complete"));
  EXPECT_EQ(loaded_step(), 5);
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("10: was never completed")));
}

TEST_F(CheckpointTest, AMissingFileFallsBack) {
  save(5);
  save(10);
  fs::remove(file(10, "optimizer.safetensors"));
  EXPECT_EQ(loaded_step(), 5);
}

TEST_F(CheckpointTest, AllBrokenIsNone) {
  save(5);
  save(10);
  for (const std::int64_t step : {5, 10}) fs::remove(file(step, "complete"));
  EXPECT_EQ(loaded_step(), -1);
  EXPECT_EQ(warnings_.size(), 2u);
}

TEST_F(CheckpointTest, ABrokenOneNeverDisplacesAGoodOne) {
  save(5);
  save(10);
  flip_bit(file(10, "model.safetensors"), 500);
  FlatArrays arrays(table_);
  Checkpoints resumed(folder_, table_);
  ASSERT_EQ(resumed.load(state_of(0), arrays, [](const std::string&) {})->step, 5);
  resumed.save(state_of(12), arrays_of(12));
  EXPECT_THAT(numbered_folders(folder_ / "checkpoints"), ElementsAre(5, 10, 12)) << "10 is no matter";
  EXPECT_EQ(loaded_step(), 12);
}

TEST_F(CheckpointTest, TheSameStepIsWrittenAnew) {
  save(5);
  save(10);
  flip_bit(file(10, "model.safetensors"), 500);
  save(10);
  EXPECT_EQ(loaded_step(), 10);
}

TEST_F(CheckpointTest, WhoPassedABrokenOneOverKeepsTheOneThatHeWritesInItsPlace) {
  save(5);
  save(10);
  fs::remove(file(10, "complete"));
  FlatArrays arrays(table_);
  Checkpoints resumed(folder_, table_);
  ASSERT_EQ(resumed.load(state_of(0), arrays, [](const std::string&) {})->step, 5);
  resumed.save(state_of(10), arrays_of(10));
  EXPECT_EQ(loaded_step(), 10);
  resumed.save(state_of(15), arrays_of(15));
  EXPECT_THAT(numbered_folders(folder_ / "checkpoints"), ElementsAre(10, 15));
}

TEST_F(CheckpointTest, WhatCannotBeReadIsPassedOverButNeverMeansANewBeginning) {
  save(5);
  save(10);
  const auto make_unreadable = [&](std::int64_t step) {
    fs::remove(file(step, "state.json"));
    fs::create_directory(file(step, "state.json"));
  };
  make_unreadable(10);
  EXPECT_EQ(loaded_step(), 5);
  make_unreadable(5);
  EXPECT_THAT(message_of<IoError>([&] { loaded_step(); }), HasSubstr("state.json: cannot map"));
}

TEST_F(CheckpointTest, ARunThatVanishedIsNotMadeAgain) {
  fs::remove_all(folder_);
  EXPECT_THAT(message_of<IoError>([&] { save(5); }), HasSubstr("checkpoints: cannot create"));
  EXPECT_FALSE(fs::exists(folder_));
}

TEST_F(CheckpointTest, NewerOnesThanOnesOwnStay) {
  save(5);
  save(10);
  save(7);  // by a process that does not know that it was declared lost
  EXPECT_THAT(numbered_folders(folder_ / "checkpoints"), ElementsAre(7, 10));
}

TEST_F(CheckpointTest, AWholeOneIsNotReplaced) {
  save(5);
  checkpoints_.save(state_of(5), arrays_of(6));
  FlatArrays arrays(table_);
  EXPECT_EQ(checkpoints_.load(state_of(0), arrays, {})->step, 5);
  EXPECT_EQ(arrays.weights, arrays_of(5).weights);
  CheckpointState other = state_of(5);
  other.config_hash = "other";
  checkpoints_.save(other, arrays_of(6));  // one of another config is no use to this run
  EXPECT_EQ(checkpoints_.load(other, arrays, {})->step, 5);
  EXPECT_EQ(arrays.weights, arrays_of(6).weights);
}

TEST_F(CheckpointTest, WhatAKilledWriterLeftIsRemoved) {
  temporary_.write("checkpoints/.tmp-4-2/model.safetensors", "half");
  temporary_.write("checkpoints/.tmp-4-4/model.safetensors", "being written by a later attempt");
  CheckpointState state = state_of(5);
  state.attempt = 3;
  checkpoints_.save(state, arrays_of(5));
  EXPECT_FALSE(fs::exists(folder_ / "checkpoints" / ".tmp-4-2"));
  EXPECT_TRUE(fs::exists(folder_ / "checkpoints" / ".tmp-4-4"));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / "checkpoints"), fs::directory_iterator()), 2);
  EXPECT_EQ(loaded_step(), 5);
}

TEST_F(CheckpointTest, AnotherConfigCorpusOrTokenizerIsRefused) {
  save(5);
  FlatArrays arrays(table_);
  const auto error = [&](auto change) {
    CheckpointState expected = state_of(0);
    change(expected);
    const std::string message = message_of<InputError>([&] { checkpoints_.load(expected, arrays, {}); });
    EXPECT_EQ(message, message_of<InputError>(
                           [&] { checkpoints_.load_from(folder_ / "checkpoints" / "5", expected, arrays); }));
    return message;
  };
  EXPECT_THAT(error([](auto& e) { e.config_hash = "other"; }),
              HasSubstr("found a checkpoint of config config, expected other"));
  EXPECT_THAT(error([](auto& e) { e.corpus_hash = "other"; }),
              HasSubstr("trained on corpus corpus, expected other"));
  EXPECT_THAT(
      error([](auto& e) { e.corpus_hash = e.tokenizer = "sentencepiece-bpe-1024-12345678"; }),
      HasSubstr("found a checkpoint with tokenizer bytes, expected sentencepiece-bpe-1024-12345678: give a "
                "corpus with that tokenizer"));
}

TEST_F(CheckpointTest, OneFolderCanBeAskedFor) {
  save(5);
  save(9);
  FlatArrays arrays(table_);
  EXPECT_EQ(checkpoints_.load_from(file(5, ""), state_of(0), arrays).step, 5);
  EXPECT_EQ(arrays.weights, arrays_of(5).weights);
  const auto error = [&](const std::filesystem::path& folder) {
    return message_of<InputError>([&] { checkpoints_.load_from(folder, state_of(0), arrays); });
  };
  EXPECT_THAT(error(folder_ / "checkpoints" / "6"),
              HasSubstr("checkpoints/6: found no such folder, expected"));
  std::filesystem::remove(file(5, "complete"));
  EXPECT_THAT(error(file(5, "")), HasSubstr("was never completed"));
}

TEST_F(CheckpointTest, BelowAFileGivesIoError) {
  temporary_.write("checkpoints", "a file");
  EXPECT_THROW(save(5), IoError);
}

/// The file that has these tensors, made at once.
std::string file_of(const ParameterTable& table,
                    std::vector<std::pair<std::string, std::vector<float>>> arrays) {
  std::vector<NamedTensor> tensors;
  for (const auto& [prefix, flat] : arrays) {
    for (const ParameterTensor& tensor : table.tensors()) {
      tensors.push_back({prefix + tensor.name, tensor.shape,
                         std::span(flat).subspan(static_cast<std::size_t>(tensor.offset),
                                                 static_cast<std::size_t>(tensor.count()))});
    }
  }
  return safetensors_bytes(tensors, {{"step", "5"}, {"config_hash", "config"}});
}

TEST_F(CheckpointTest, PiecesMakeTheWholeFile) {
  const ParameterTable large(resolved(tiny_config().model), 40001);
  ASSERT_GT(large.tensors().front().count(), 2 * kFlatPiece);
  const FlatArrays arrays = arrays_of(5, large);
  Checkpoints checkpoints(folder_, large);
  checkpoints.save(state_of(5), arrays);
  EXPECT_EQ(read_file(file(5, "model.safetensors")), file_of(large, {{"", arrays.weights}}));
  EXPECT_EQ(
      read_file(file(5, "optimizer.safetensors")),
      file_of(large, {{"first_moment.", arrays.first_moment}, {"second_moment.", arrays.second_moment}}));
  FlatArrays back(large);
  ASSERT_TRUE(checkpoints.load(state_of(0), back, {}));
  EXPECT_EQ(back.weights, arrays.weights);
  EXPECT_EQ(back.first_moment, arrays.first_moment);
  EXPECT_EQ(back.second_moment, arrays.second_moment);
}

TEST_F(CheckpointTest, NothingIsWrittenBeforeEveryTensorIsKnownToBeThere) {
  save(10);
  // Whole by its checksums, but its moments are another model's.
  const ParameterTable other(resolved(tiny_config().model), 25);
  const FlatArrays theirs = arrays_of(10, other);
  replace_file(file(10, "optimizer.safetensors"), file_of(other, {{"first_moment.", theirs.first_moment},
                                                                  {"second_moment.", theirs.second_moment}}));
  std::string marker;
  for (const char* name : {"model.safetensors", "optimizer.safetensors", "state.json"})
    marker += file_sha256(file(10, name)) + "  " + name + "\n";
  replace_file(file(10, "complete"), marker);
  FlatArrays arrays = arrays_of(3);
  EXPECT_FALSE(
      checkpoints_.load(state_of(0), arrays, [this](const std::string& w) { warnings_.push_back(w); }));
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("has another shape")));
  EXPECT_EQ(arrays.weights, arrays_of(3).weights);
  EXPECT_EQ(arrays.first_moment, arrays_of(3).first_moment);
}

TEST_F(CheckpointTest, MarkerIsWhatSha256sumChecks) {
  save(5);
  EXPECT_EQ(std::system(("cd '" + file(5, "").string() + "' && sha256sum --quiet --check complete").c_str()),
            0);
}

}  // namespace
}  // namespace minichilla::checkpoint_test
