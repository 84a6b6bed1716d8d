#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "tests/trainer/corpus_fixture.h"
#include "trainer/corpus_manifest.h"
#include "trainer/corpus_tokenizer.h"
#include "trainer/files.h"
#include "trainer/tokenizer.h"

namespace minichilla::subword_corpus_test {
namespace {

using testing::HasSubstr;

class SubwordCorpusTest : public CorpusTest {
 protected:
  SubwordCorpusTest() {
    options_.tokenizer = "sentencepiece";
    options_.vocabulary = 300;
  }
  std::string decoded(const std::string& split) const {
    const auto tokenizer = open_tokenizer(options_.output, read_manifest(options_.output));
    std::string text;
    for (const std::int32_t id : ids_of(open_corpus(options_.output)->split(split)))
      text += id == tokenizer->end_of_document() ? "|" : tokenizer->decode({id});
    return text;
  }
};

TEST_F(SubwordCorpusTest, HoldsTheSameTextAsABytesCorpusInFewerTokens) {
  const std::string text = paragraphs(300);
  prepare(text);
  const auto corpus = open_corpus(options_.output);
  EXPECT_EQ(corpus->vocabulary(), 300);
  EXPECT_THAT(corpus->tokenizer(), testing::StartsWith("sentencepiece-bpe-300-"));
  const std::string train = decoded("train"), val = decoded("val");
  const std::int64_t tokens = corpus->split("train").tokens(), bytes = corpus->split("train").text_bytes();
  EXPECT_LT(tokens, bytes * 9 / 10);  // most of it is random digits
  const std::string subword_hash = corpus->hash();
  options_.tokenizer = "bytes";
  options_.output = folder_ / "bytes";
  prepare(text);
  const auto plain = open_corpus(options_.output);
  EXPECT_EQ(train, text_of(plain->split("train")));
  EXPECT_EQ(val, text_of(plain->split("val")));
  EXPECT_EQ(plain->split("train").text_bytes(), bytes);
  EXPECT_NE(plain->hash(), subword_hash);
}

TEST_F(SubwordCorpusTest, IsLearnedFromTheTrainingSplitAlone) {
  options_.split = "position";
  options_.documents = "file";
  options_.val_fraction = 0.5;
  const std::string half = paragraphs(200);
  prepare(half + std::string(half.size(), 'Q'));
  const std::string model = read_file(options_.output / "tokenizer.model");
  options_.output = folder_ / "other";
  prepare(half + std::string(half.size(), 'Z'));
  EXPECT_TRUE(read_file(options_.output / "tokenizer.model") == model);
}

TEST_F(SubwordCorpusTest, TheSameTextGivesTheSameBytes) {
  const std::string text = paragraphs(200);
  prepare(text);
  const std::filesystem::path first = options_.output;
  EXPECT_EQ(prepare(text), PrepareOutcome::unchanged);
  options_.output = folder_ / "again";
  EXPECT_EQ(prepare(text), PrepareOutcome::written);
  for (const char* name : {"manifest.json", "tokenizer.model", "train-000.bin", "val.bin"}) {
    EXPECT_TRUE(read_file(first / name) == read_file(options_.output / name)) << name;
  }
  options_.tokenizer_model = "unigram";
  EXPECT_THAT(prepare_error(text), HasSubstr("found another corpus there"));
  options_.force = true;
  EXPECT_EQ(prepare(text), PrepareOutcome::written);
  EXPECT_EQ(read_manifest(options_.output).tokenizer_model->kind, "unigram");
}

TEST_F(SubwordCorpusTest, ASampleOfTheTextIsEnough) {
  options_.tokenizer_bytes = 30'000;
  prepare(paragraphs(400));
  EXPECT_EQ(read_manifest(options_.output).tokenizer_model->training_bytes, 30'000);
  EXPECT_EQ(open_corpus(options_.output)->vocabulary(), 300);
}

TEST_F(SubwordCorpusTest, AMissingDamagedOrForeignTokenizerIsRefused) {
  prepare(paragraphs(200));
  const std::filesystem::path model = options_.output / "tokenizer.model";
  const std::string good = read_file(model);
  replace_file(model, good.substr(0, good.size() / 2));
  EXPECT_THAT(open_error(), HasSubstr("tokenizer.model: found SHA-256"));
  std::filesystem::remove(model);
  EXPECT_THAT(open_error(), HasSubstr("tokenizer.model: found no such file, expected the tokenizer"));
  replace_file(model, good);
  EXPECT_NO_THROW(open_corpus(options_.output));
  const auto error = [&](const char* key, const nlohmann::json& value) {
    nlohmann::json manifest = nlohmann::json::parse(read_file(options_.output / "manifest.json"));
    manifest["tokenizer_model"][key] = value;
    const std::string before = read_file(options_.output / "manifest.json");
    folder_.write("corpus/manifest.json", manifest.dump());
    const std::string message = open_error();
    replace_file(options_.output / "manifest.json", before);
    return message;
  };
  EXPECT_THAT(error("kind", "word"), HasSubstr("tokenizer_model.kind: found '\"word\"', expected"));
  EXPECT_THAT(error("training_bytes", 0), HasSubstr("tokenizer_model.training_bytes: found '0'"));
  EXPECT_THAT(error("sha256", std::string(64, 'a')), HasSubstr("hash: found"));
}

TEST_F(SubwordCorpusTest, InvalidUtf8IsRefusedOrKeptByteForByte) {
  options_.documents = "file";
  options_.split = "position";
  options_.val_fraction = 0.2;
  const std::string text = paragraphs(100) + "caf\xe9 \xff\xfe\n" + paragraphs(100);
  EXPECT_THAT(prepare_error(text), HasSubstr("--keep-invalid-utf8"));
  options_.keep_invalid_utf8 = true;
  prepare(text);
  EXPECT_TRUE(decoded("train") + decoded("val") == text + "|");
}

TEST_F(SubwordCorpusTest, OptionsAreChecked) {
  options_.vocabulary = 258;
  EXPECT_THAT(prepare_error("text"), HasSubstr("--vocab: found 258, expected 259"));
  options_.vocabulary = 300;
  options_.tokenizer_model = "bpee";
  EXPECT_THAT(prepare_error("text"),
              HasSubstr("--model: found 'bpee', expected bpe or unigram; did you mean 'bpe'?"));
  options_.tokenizer_model = "bpe";
  options_.tokenizer_bytes = 0;
  EXPECT_THAT(prepare_error("text"), HasSubstr("--tokenizer-bytes"));
  options_.tokenizer = "sentencepice";
  EXPECT_THAT(prepare_error("text"), HasSubstr("did you mean 'sentencepiece'?"));
}

}  // namespace
}  // namespace minichilla::subword_corpus_test
