#include <gmock/gmock.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "sweeps/commands/commands.h"
#include "tests/temporary_folder.h"
#include "trainer/files.h"

namespace minichilla {
namespace {

using testing::HasSubstr;
using testing::Not;

/// Runs `minichilla data …` and gives what it prints; the exit status goes to *status.
std::string data(const std::string& arguments, int* status = nullptr, StopToken stop = {}) {
  CLI::App app("minichilla");
  CommandContext context;
  context.stop = stop;
  add_data_command(app, context);
  testing::internal::CaptureStderr();
  testing::internal::CaptureStdout();
  std::exception_ptr failure;
  try {
    app.parse("data " + arguments);
  } catch (...) {
    failure = std::current_exception();
  }
  const std::string output = testing::internal::GetCapturedStdout();
  testing::internal::GetCapturedStderr();
  if (failure) std::rethrow_exception(failure);
  if (status) *status = context.status;
  return output;
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
  int status = -1;
  const std::string prepared = data("prepare " + input_ + " --val 0.1 --output " + corpus_, &status);
  EXPECT_EQ(status, 0);
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
  EXPECT_THROW(data("prepare " + input_), CLI::RequiredError);
  EXPECT_THROW(data("prepare " + input_ + " --output " + corpus_ + " --val many"), CLI::ConversionError);
  EXPECT_THROW(data("inspekt " + corpus_), CLI::ParseError);
}

TEST_F(DataCommandTest, AStopIsExit75) {
  const std::atomic<int> signal{2};
  int status = 0;
  data("prepare " + input_ + " --output " + corpus_, &status, StopToken(&signal));
  EXPECT_EQ(status, 75);
  EXPECT_FALSE(std::filesystem::exists(corpus_));
}

TEST_F(DataCommandTest, HelpHasExamples) {
  for (const char* command : {"", "prepare ", "inspect "}) {
    CLI::App app("minichilla");
    CommandContext context;
    add_data_command(app, context);
    std::string help;
    try {
      app.parse("data " + std::string(command) + "--help");
    } catch (const CLI::Success& success) {
      std::ostringstream out;
      app.exit(success, out);
      help = out.str();
    }
    EXPECT_THAT(help, HasSubstr("Example")) << command;
    EXPECT_THAT(help, HasSubstr("minichilla data ")) << command;
  }
}

}  // namespace
}  // namespace minichilla
