// What tests of prepared corpora share.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "kernels/error.h"
#include "tests/temporary_folder.h"
#include "trainer/corpus.h"

namespace minichilla {

inline std::vector<std::int32_t> ids_of(const TokenSplit& split) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(split.tokens()));
  split.read(0, split.tokens(), ids.data());
  return ids;
}

/// Text with the end of a document shown as '|'.
inline std::string text_of(const TokenSplit& split) {
  std::string text;
  for (const std::int32_t id : ids_of(split)) text += id == 256 ? '|' : static_cast<char>(id);
  return text;
}

inline std::string paragraphs(int count, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::string text;
  for (int i = 0; i < count; ++i) {
    text += "Paragraph " + std::to_string(i) + ":";
    for (int word = 0; word < 60; ++word) text += " " + std::to_string(random() % 100000);
    text += "\n\n";
  }
  return text;
}

class CorpusTest : public testing::Test {
 protected:
  CorpusTest() {
    options_.output = folder_ / "corpus";
    testing::internal::CaptureStderr();
  }
  ~CorpusTest() override { testing::internal::GetCapturedStderr(); }

  PrepareOutcome prepare(const std::string& text) {
    options_.inputs = {folder_.write("input.txt", text)};
    return prepare_corpus(options_);
  }
  std::string prepare_error(const std::string& text) {
    return message_of<InputError>([&] { prepare(text); });
  }
  std::string open_error() {
    return message_of<InputError>([&] { open_corpus(options_.output); });
  }
  bool has(const std::string& name) const { return std::filesystem::exists(options_.output / name); }

  TemporaryFolder folder_;
  PrepareOptions options_;
};

}  // namespace minichilla
