// A small corpus and small sweeps over it, for tests that plan and run.
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "sweeps/grid.h"
#include "sweeps/planner.h"
#include "tests/temporary_folder.h"
#include "trainer/corpus.h"

namespace minichilla {

/// A folder with a bytes corpus of about 100 thousand tokens: sentences of a few random words.
class SweepFixture : public testing::Test {
 protected:
  SweepFixture() {
    static constexpr const char* kWords[] = {"the",  "small", "model", "reads", "a",
                                             "long", "book",  "about", "ships"};
    std::mt19937 random(7);
    std::string text;
    while (text.size() < 100'000) {
      for (int word = 0; word < 9; ++word) text += std::string(kWords[random() % std::size(kWords)]) + " ";
      text += ".\n\n";
    }
    PrepareOptions options;
    options.inputs = {folder_.write("text.txt", text)};
    options.output = corpus_folder();
    testing::internal::CaptureStderr();
    prepare_corpus(options);
    testing::internal::GetCapturedStderr();
    corpus_ = open_corpus(corpus_folder());
  }

  std::filesystem::path corpus_folder() const { return folder_ / "corpus"; }
  std::filesystem::path sweep_folder() const { return folder_ / "sweep"; }

  /// The YAML of a sweep over the corpus; `train` and `sweep` are what stands between the braces.
  std::string yaml(const std::string& sweep, const std::string& train = "") const {
    return "model: {context_length: 16}\ndata: {corpus: " + corpus_folder().string() +
           "}\ntrain: {batch_tokens: 64, micro_batch: 2, evaluate: {tokens: 1024}" +
           (train.empty() ? "" : ", " + train) + "}\nsweep: {" + sweep + "}\n";
  }

  SweepPlan plan(const std::string& sweep, const std::string& train = "") const {
    return make_plan(read_sweep_config(YAML::Load(yaml(sweep, train)), "sweep.yaml"), *corpus_);
  }

  TemporaryFolder folder_;
  std::shared_ptr<const Corpus> corpus_;
};

}  // namespace minichilla
