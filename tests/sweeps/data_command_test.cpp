#include <gmock/gmock.h>

#include <atomic>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "kernels/error.h"
#include "tests/sweeps/run_command.h"
#include "tests/temporary_folder.h"
#include "trainer/files.h"

namespace minichilla::data_command_test {
namespace {

using testing::HasSubstr;
using testing::Not;

std::vector<std::string> words_of(const std::string& arguments) {
  std::vector<std::string> words = {"data"};
  std::istringstream text(arguments);
  for (std::string word; text >> word;) words.push_back(word);
  return words;
}

/// What `minichilla data …` prints.
std::string data(const std::string& arguments) {
  return run_command(add_data_command, words_of(arguments)).output;
}

std::string sentences(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    text +=
        "Sentence number " + std::to_string(i * i) + " is here, and it is followed by some more words.\n\n";
  }
  return text;
}

class DataCommandTest : public testing::Test {
 protected:
  TemporaryFolder folder_;
  std::string input_ = folder_.write("text/input.txt", sentences(2000)).string();
  std::string corpus_ = (folder_ / "corpus").string();
};

TEST_F(DataCommandTest, PrepareThenInspect) {
  const std::string prepared = data("prepare " + input_ + " --val 0.1 --output " + corpus_);
  EXPECT_THAT(prepared, HasSubstr("written in"));
  EXPECT_THAT(prepared, HasSubstr("bytes, vocabulary 257"));
  EXPECT_THAT(data("prepare " + input_ + " --val 0.1 --output " + corpus_), HasSubstr("already there"));
  const std::string shown = data("inspect " + corpus_);
  for (const char* part : {"unigram", "bigram", "nats per token", "input.txt", "train", "val", "--verify"}) {
    EXPECT_THAT(shown, HasSubstr(part));
  }
  EXPECT_THAT(data("inspect --verify " + corpus_), HasSubstr("verified"));
}

TEST_F(DataCommandTest, SamplesAreOneLineEach) {
  const std::string text = "\xc3\xa9" + std::string(200, 'e') + "\n\n\t\x1b[31mred";
  data("prepare " + folder_.write("a.txt", text).string() + " --documents file --val 0 --output " + corpus_);
  const std::string shown = data("inspect " + corpus_);
  EXPECT_THAT(shown, HasSubstr("  | \xc3\xa9"
                               "eee"));
  EXPECT_THAT(shown, Not(HasSubstr("\x1b")));
  EXPECT_THAT(shown, Not(HasSubstr("entropy")));  // there is no val
}

TEST_F(DataCommandTest, JsonToAFileOrToStdout) {
  data("prepare " + input_ + " --val 0.1 --output " + corpus_ + " --json " + (folder_ / "p.json").string());
  const auto prepared = nlohmann::json::parse(read_file(folder_ / "p.json"));
  EXPECT_EQ(prepared["outcome"], "written");
  const auto json = nlohmann::json::parse(data("inspect --verify --json - " + corpus_));
  EXPECT_EQ(json["verified"], true);
  EXPECT_EQ(json["hash"], prepared["manifest"]["hash"]);
  EXPECT_EQ(json["sources"][0]["name"], "input.txt");
  const double unigram = json["val_entropy"]["unigram_nats_per_token"];
  const double bigram = json["val_entropy"]["bigram_nats_per_token"];
  EXPECT_GT(unigram, bigram);
  EXPECT_GT(bigram, 0);
  EXPECT_LT(unigram, std::log(257));
  const auto& val = json["splits"]["val"];
  const double tokens_per_byte = val["tokens"].get<double>() / val["bytes"].get<double>();
  EXPECT_NEAR(json["val_entropy"]["unigram_bits_per_byte"], unigram / std::log(2) * tokens_per_byte, 1e-12);
  EXPECT_EQ(json["samples"]["train"].size(), 3u);
}

TEST_F(DataCommandTest, BadInputIsAnInputError) {
  EXPECT_THAT(message_of<InputError>([&] { data("inspect " + corpus_); }),
              HasSubstr("found no manifest.json"));
  EXPECT_THAT(message_of<InputError>([&] { data("prepare absent.txt --output " + corpus_); }),
              HasSubstr("absent.txt: no such file or folder"));
  EXPECT_THAT(message_of<UsageError>([&] { data("prepare " + input_); }), HasSubstr("--output is required"));
  EXPECT_THAT(
      message_of<UsageError>([&] { data("prepare " + input_ + " --output " + corpus_ + " --val many"); }),
      HasSubstr("--val = many"));
  EXPECT_THROW(data("inspekt " + corpus_), UsageError);
}

TEST_F(DataCommandTest, AStopIsExit75) {
  const std::atomic<int> signal{2};
  const CommandResult result = run_command(
      add_data_command, words_of("prepare " + input_ + " --output " + corpus_), StopToken(&signal));
  EXPECT_EQ(result.status, 75);
  EXPECT_FALSE(std::filesystem::exists(corpus_));
}

TEST_F(DataCommandTest, HelpHasExamples) {
  for (const char* command : {"", "prepare", "inspect"}) {
    const std::string help = command_help(add_data_command, words_of(command));
    EXPECT_THAT(help, HasSubstr("Example")) << command;
    EXPECT_THAT(help, HasSubstr("minichilla data ")) << command;
  }
}

}  // namespace
}  // namespace minichilla::data_command_test
