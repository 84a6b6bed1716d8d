#include "trainer/corpus.h"

#include <gmock/gmock.h>
#include <sys/resource.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <random>

#include "kernels/error.h"
#include "tests/trainer/corpus_fixture.h"
#include "trainer/corpus_manifest.h"
#include "trainer/files.h"
#include "trainer/token_shard.h"
#include "trainer/tokenizer.h"

namespace minichilla::corpus_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST_F(CorpusTest, DocumentsBecomeTokensWithAnEndEach) {
  options_.documents = "file";
  options_.val_fraction = 0;
  options_.inputs = {folder_.write("b.txt", "bee\r\n"), folder_.write("a.txt", "ay\n\n")};
  EXPECT_EQ(prepare_corpus(options_), PrepareOutcome::written);
  const auto corpus = open_corpus(options_.output);
  EXPECT_EQ(corpus->tokenizer(), "bytes");
  EXPECT_EQ(corpus->vocabulary(), 257);
  EXPECT_EQ(corpus->folder(), options_.output);
  EXPECT_EQ(text_of(corpus->split("train")), "bee\r\n|ay\n\n|");
  EXPECT_EQ(corpus->split("train").text_bytes(), 9);
}

TEST_F(CorpusTest, TheManifestTellsWhatIsThere) {
  options_.test_fraction = 0.2;
  options_.val_fraction = 0.2;
  const std::string text = paragraphs(400);
  prepare(text);
  const CorpusManifest manifest = read_manifest(options_.output);
  ASSERT_EQ(manifest.splits.size(), 3u);
  std::int64_t documents = 0, bytes = 0;
  for (const SplitEntry& split : manifest.splits) {
    EXPECT_EQ(split.tokens, split.bytes + split.documents);
    const std::vector<std::int32_t> ids = ids_of(open_corpus(options_.output)->split(split.name));
    EXPECT_EQ(std::count(ids.begin(), ids.end(), 256), split.documents);
    EXPECT_EQ(ids.back(), 256);
    documents += split.documents;
    bytes += split.bytes;
  }
  EXPECT_GT(documents, 20);
  EXPECT_EQ(bytes,
            static_cast<std::int64_t>(text.size()) - 2 * documents);  // the blank lines between documents
  ASSERT_EQ(manifest.sources.size(), 1u);
  EXPECT_EQ(manifest.sources[0].name, "input.txt");
  EXPECT_EQ(manifest.sources[0].sha256, sha256_hex(text));
  EXPECT_NO_THROW(verify_corpus(options_.output));
}

TEST_F(CorpusTest, SplitByHashPutsEqualDocumentsOnOneSide) {
  options_.documents = "jsonl";
  options_.val_fraction = 0.3;
  std::string records;
  for (int i = 0; i < 300; ++i) records += "{\"text\": \"document " + std::to_string(i % 100) + "\"}\n";
  options_.inputs = {folder_.write("x.jsonl", records)};
  prepare_corpus(options_);
  const auto corpus = open_corpus(options_.output);
  const std::string train = text_of(corpus->split("train")), val = text_of(corpus->split("val"));
  int in_val = 0;
  for (int i = 0; i < 100; ++i) {
    const std::string document = "document " + std::to_string(i) + "|";
    EXPECT_NE(train.find(document) == std::string::npos, val.find(document) == std::string::npos) << document;
    in_val += val.find(document) != std::string::npos;
  }
  EXPECT_GT(in_val, 15);
  EXPECT_LT(in_val, 45);
}

TEST_F(CorpusTest, ALargerValidationFractionKeepsTheSmallerOnesDocuments) {
  std::string text;
  for (int i = 0; i < 200; ++i) text += "{\"text\": \"<" + std::to_string(i) + ">\"}\n";
  options_.documents = "jsonl";
  options_.inputs = {folder_.write("x.jsonl", text)};
  options_.val_fraction = 0.1;
  prepare_corpus(options_);
  const std::string small = text_of(open_corpus(options_.output)->split("val"));
  options_.output = folder_ / "larger";
  options_.val_fraction = 0.4;
  prepare_corpus(options_);
  const std::string large = text_of(open_corpus(options_.output)->split("val"));
  for (std::size_t begin = 0; begin < small.size();) {
    const std::size_t end = small.find('|', begin) + 1;
    EXPECT_NE(large.find(small.substr(begin, end - begin)), std::string::npos);
    begin = end;
  }
  EXPECT_GT(large.size(), small.size());
}

TEST_F(CorpusTest, SplitByPositionCutsAtTheByte) {
  options_.documents = "file";
  options_.split = "position";
  options_.val_fraction = 0.1;
  prepare("0123456789abcdefghi");  // 19 bytes: floor(17.1) = 17 train
  const auto corpus = open_corpus(options_.output);
  EXPECT_EQ(text_of(corpus->split("train")), "0123456789abcdefg");  // the document goes on in val
  EXPECT_EQ(text_of(corpus->split("val")), "hi|");
}

TEST_F(CorpusTest, SplitByPositionGoesOverAllInputs) {
  options_.documents = "file";
  options_.split = "position";
  options_.val_fraction = 0.05;
  options_.test_fraction = 0.05;  // 1 − 0.05 − 0.05 is less than 0.9 in floating point
  options_.inputs = {folder_.write("a.txt", std::string(60, 'a')),
                     folder_.write("b.txt", std::string(30, 'b')),
                     folder_.write("c.txt", std::string(5, 'c') + "ddddd")};
  prepare_corpus(options_);
  const auto corpus = open_corpus(options_.output);
  EXPECT_EQ(text_of(corpus->split("train")), std::string(60, 'a') + "|" + std::string(30, 'b') + "|");
  EXPECT_EQ(text_of(corpus->split("val")), "ccccc");
  EXPECT_EQ(text_of(corpus->split("test")), "ddddd|");
}

TEST_F(CorpusTest, SplitByPositionKeepsCharactersWhole) {
  options_.documents = "file";
  options_.split = "position";
  options_.val_fraction = 0.5;
  prepare(
      "aaa\xe2\x82\xac"
      "bb");  // 8 bytes: the cut at 4 lies inside the euro sign
  const auto corpus = open_corpus(options_.output);
  EXPECT_EQ(text_of(corpus->split("train")), "aaa\xe2\x82\xac");
  EXPECT_EQ(text_of(corpus->split("val")), "bb|");
}

TEST_F(CorpusTest, ShardsReadAsOneSplit) {
  const std::string text = paragraphs(40);
  options_.val_fraction = 0;
  prepare(text);
  const auto whole = open_corpus(options_.output);
  options_.output = folder_ / "sharded";
  options_.shard_tokens = 777;
  prepare(text);
  const auto sharded = open_corpus(options_.output);
  EXPECT_GT(read_manifest(options_.output).splits[0].shards.size(), 10u);
  EXPECT_TRUE(has("train-010.bin"));
  const std::vector<std::int32_t> ids = ids_of(whole->split("train"));
  EXPECT_EQ(ids_of(sharded->split("train")), ids);
  EXPECT_EQ(sharded->hash(), whole->hash()) << "the identity must not depend on the shards";
  std::vector<std::int32_t> part(800);
  for (const std::int64_t begin : {0, 1, 776, 777, 778, 1553, 1554, 5000}) {
    for (const std::int64_t count : {0, 1, 2, 777, 778, 800}) {
      sharded->split("train").read(begin, count, part.data());
      EXPECT_TRUE(std::equal(part.begin(), part.begin() + count, ids.begin() + begin))
          << begin << " " << count;
    }
  }
  const TokenSplit& train = sharded->split("train");
  EXPECT_NO_THROW(train.read(train.tokens(), 0, part.data()));
  EXPECT_THROW(train.read(train.tokens() - 1, 2, part.data()), std::invalid_argument);
  EXPECT_THROW(train.read(-1, 1, part.data()), std::invalid_argument);
  EXPECT_NO_THROW(verify_corpus(options_.output));
}

TEST_F(CorpusTest, LongLinesAreEncodedInPieces) {
  options_.documents = "file";
  options_.val_fraction = 0;
  std::string text = "a";
  for (int i = 0; i < 700000; ++i)
    text += "\xc3\xa9";  // one line of 1.4 MB whose middle lies inside a character
  text += "\n" + std::string(1 << 20, 'b') + "\nend";
  prepare(text);
  EXPECT_EQ(text_of(open_corpus(options_.output)->split("train")), text + "|");
}

TEST_F(CorpusTest, TheSameInputsGiveTheSameBytes) {
  const std::string text = paragraphs(200);
  prepare(text);
  const std::filesystem::path first = options_.output;
  options_.output = folder_ / "elsewhere/second";
  options_.inputs = {folder_.write("moved/input.txt", text)};
  prepare_corpus(options_);
  for (const char* name : {"manifest.json", "train-000.bin", "val.bin"}) {
    EXPECT_EQ(read_file(first / name), read_file(options_.output / name)) << name;
  }
}

TEST_F(CorpusTest, AnotherTextHasAnotherHash) {
  std::string text = paragraphs(200);
  prepare(text);
  const std::string hash = open_corpus(options_.output)->hash();
  options_.output = folder_ / "other";
  text[100] = 'X';
  prepare(text);
  EXPECT_NE(open_corpus(options_.output)->hash(), hash);
}

TEST_F(CorpusTest, PreparingAgainDoesNothing) {
  EXPECT_EQ(prepare(paragraphs(200)), PrepareOutcome::written);
  const auto written = std::filesystem::last_write_time(options_.output / "manifest.json");
  EXPECT_EQ(prepare(paragraphs(200)), PrepareOutcome::unchanged);
  EXPECT_EQ(std::filesystem::last_write_time(options_.output / "manifest.json"), written);
}

TEST_F(CorpusTest, PreparingAgainMendsADamagedShard) {
  prepare(paragraphs(200));
  const std::string val = read_file(options_.output / "val.bin");
  std::filesystem::resize_file(options_.output / "val.bin", 200);
  EXPECT_EQ(prepare(paragraphs(200)), PrepareOutcome::written);
  EXPECT_EQ(read_file(options_.output / "val.bin"), val);
}

TEST_F(CorpusTest, AnotherCorpusIsReplacedOnlyByForce) {
  options_.shard_tokens = 20000;
  prepare(paragraphs(200));
  const auto old = open_corpus(options_.output);
  const std::vector<std::int32_t> old_ids = ids_of(old->split("train"));
  ASSERT_TRUE(has("train-001.bin"));
  EXPECT_THAT(prepare_error(paragraphs(100, 2)), HasSubstr("--force"));
  EXPECT_EQ(open_corpus(options_.output)->hash(), old->hash());
  options_.force = true;
  options_.shard_tokens = 1 << 26;
  EXPECT_EQ(prepare(paragraphs(100, 2)), PrepareOutcome::written);
  EXPECT_FALSE(has("train-001.bin"));
  EXPECT_NE(open_corpus(options_.output)->hash(), old->hash());
  EXPECT_EQ(ids_of(old->split("train")), old_ids) << "who has it open keeps the old corpus";
}

TEST_F(CorpusTest, OtherProgramsFilesAreNotReplaced) {
  folder_.write("corpus/val.bin", std::string(1000, 'v'));
  EXPECT_THAT(prepare_error(paragraphs(200)), HasSubstr("val.bin: found a file of another program"));
  EXPECT_EQ(read_file(options_.output / "val.bin"), std::string(1000, 'v'));
}

TEST_F(CorpusTest, LeftoversOfAnInterruptedPrepareAreCleared) {
  folder_.write("corpus/.preparing/train-000.bin", "half");
  folder_.write("corpus/train-003.bin", "");
  EXPECT_EQ(prepare(paragraphs(200)), PrepareOutcome::written);
  EXPECT_FALSE(has(".preparing"));
  EXPECT_FALSE(has("train-003.bin"));
}

TEST_F(CorpusTest, AnInterruptionLeavesNothing) {
  for (int until = 0; until < 40; until += 3) {
    int asked = 0;
    options_.stop_requested = [&] { return asked++ == until; };
    ASSERT_EQ(prepare(paragraphs(400)), PrepareOutcome::interrupted) << until;
    EXPECT_FALSE(std::filesystem::exists(options_.output));
  }
}

TEST_F(CorpusTest, AnInterruptionKeepsTheEarlierCorpus) {
  prepare(paragraphs(400));
  const std::string hash = open_corpus(options_.output)->hash();
  int asked = 0;
  options_.stop_requested = [&] { return asked++ == 20; };
  options_.force = true;
  EXPECT_EQ(prepare(paragraphs(500, 2)), PrepareOutcome::interrupted);
  EXPECT_EQ(open_corpus(options_.output)->hash(), hash);
  EXPECT_NO_THROW(verify_corpus(options_.output));
  EXPECT_FALSE(has(".preparing"));
}

TEST_F(CorpusTest, AFullDiskLeavesNothing) {
  rlimit old{};
  getrlimit(RLIMIT_FSIZE, &old);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const std::string text = paragraphs(3000);
  options_.inputs = {folder_.write("input.txt", text)};
  const rlimit limited = {100000, old.rlim_max};
  setrlimit(RLIMIT_FSIZE, &limited);
  const std::string message = message_of<IoError>([&] { prepare_corpus(options_); });
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(message, HasSubstr("train-000.bin: cannot write"));
  EXPECT_FALSE(std::filesystem::exists(options_.output));
}

TEST_F(CorpusTest, InvalidTextIsNamedByFileAndByte) {
  EXPECT_THAT(prepare_error("abc\xff"
                            "def"),
              HasSubstr("input.txt: byte offset 3: found 0xff"));
  EXPECT_FALSE(std::filesystem::exists(options_.output));
}

TEST_F(CorpusTest, TextThatGivesNoSplitIsRefused) {
  EXPECT_THAT(prepare_error(""), HasSubstr("found no text"));
  EXPECT_THAT(prepare_error(" \n\n\n"), HasSubstr("found no text"));
  EXPECT_THAT(prepare_error("a single document"),
              HasSubstr("split: with --documents paragraphs this text makes only 1 document;"));
  options_.split = "position";
  EXPECT_THAT(prepare_error("x"), HasSubstr("found no text for the train split"));
  EXPECT_FALSE(std::filesystem::exists(options_.output));
}

TEST_F(CorpusTest, OptionsAreChecked) {
  const auto error = [&](auto change) {
    const PrepareOptions before = options_;
    change(options_);
    const std::string message = prepare_error("text");
    options_ = before;
    return message;
  };
  EXPECT_THAT(error([](auto& o) { o.split = "positon"; }), HasSubstr("did you mean 'position'?"));
  EXPECT_THAT(error([](auto& o) { o.documents = "files"; }), HasSubstr("did you mean 'file'?"));
  EXPECT_THAT(error([](auto& o) { o.tokenizer = "bpe"; }),
              HasSubstr("--tokenizer: found 'bpe', expected bytes or sentencepiece"));
  EXPECT_THAT(error([](auto& o) { o.val_fraction = -0.1; }), HasSubstr("--val"));
  EXPECT_THAT(error([](auto& o) { o.val_fraction = std::nan(""); }), HasSubstr("--val"));
  EXPECT_THAT(error([](auto& o) { o.test_fraction = 1; }), HasSubstr("--test"));
  EXPECT_THAT(error([](auto& o) { o.val_fraction = o.test_fraction = 0.5; }),
              HasSubstr("leave nothing to train on"));
  EXPECT_THAT(error([](auto& o) { o.shard_tokens = 0; }), HasSubstr("--shard-tokens"));
  EXPECT_THAT(error([&](auto& o) { o.output = folder_.write("a file", ""); }),
              HasSubstr("expected a folder"));
}

TEST_F(CorpusTest, ASplitThatIsNotThereIsNamed) {
  options_.val_fraction = 0;
  prepare(paragraphs(20));
  const auto corpus = open_corpus(options_.output);
  EXPECT_THAT(message_of<InputError>([&] { corpus->split("val"); }),
              HasSubstr("no split 'val', it has train; prepare it with --val above 0"));
}

TEST_F(CorpusTest, WhatIsNoCorpusIsRefused) {
  EXPECT_THAT(open_error(), HasSubstr("found no manifest.json, expected a corpus folder"));
  folder_.write("corpus/manifest.json", "{");
  EXPECT_THAT(open_error(), HasSubstr("manifest.json: found no JSON"));
  folder_.write("corpus/manifest.json", "[]");
  EXPECT_THAT(open_error(), HasSubstr("found array, expected an object"));
  EXPECT_THAT(prepare_error(paragraphs(100)), HasSubstr("--force replaces it"));
}

TEST_F(CorpusTest, ShardsThatDoNotFitTheManifestAreRefused) {
  prepare(paragraphs(200));
  const std::filesystem::path val = options_.output / "val.bin", train = options_.output / "train-000.bin";
  const std::string good = read_file(val);
  replace_file(val, read_file(train));
  EXPECT_THAT(open_error(), HasSubstr("val.bin: found"));
  std::filesystem::resize_file(val, 300);
  EXPECT_THAT(open_error(), HasSubstr("val.bin: found"));
  std::string forged = good;
  forged[40] = static_cast<char>(forged[40] + 1);
  replace_file(val, forged);
  EXPECT_THAT(open_error(), HasSubstr("val.bin: found a shard of another corpus"));
  std::filesystem::remove(val);
  EXPECT_THAT(open_error(), HasSubstr("val.bin: found no such file"));
}

TEST_F(CorpusTest, VerifyFindsAFlippedBit) {
  prepare(paragraphs(200));
  std::string val = read_file(options_.output / "val.bin");
  val[1000] = static_cast<char>(val[1000] ^ 4);
  replace_file(options_.output / "val.bin", val);
  EXPECT_NO_THROW(open_corpus(options_.output));
  EXPECT_THAT(message_of<InputError>([&] { verify_corpus(options_.output); }),
              HasSubstr("val.bin: found SHA-256"));
}

TEST_F(CorpusTest, ManifestsAreCheckedKeyByKey) {
  prepare(paragraphs(200));
  const nlohmann::json good = nlohmann::json::parse(read_file(options_.output / "manifest.json"));
  const auto error = [&](const char* pointer, const nlohmann::json& value) {
    nlohmann::json bad = good;
    bad[nlohmann::json::json_pointer(pointer)] = value;
    folder_.write("corpus/manifest.json", bad.dump());
    const std::string message = open_error();
    EXPECT_EQ(message.find('\n'), std::string::npos);
    return message;
  };
  EXPECT_THAT(error("/format", "other"), HasSubstr("manifest.json: format: found"));
  EXPECT_THAT(error("/format_version", 2), HasSubstr("manifest.json: format_version: found '2', expected 1"));
  EXPECT_THAT(error("/tokenizer", "bpe"), HasSubstr("tokenizer: found '\"bpe\"', expected \"bytes\" or"));
  EXPECT_THAT(error("/vocabulary", 258),
              HasSubstr("vocabulary: found '258', expected a whole number from 257"));
  EXPECT_THAT(error("/vocabulary", "257"), HasSubstr("vocabulary: found '\"257\"', expected a whole number"));
  EXPECT_THAT(error("/hash", "abc"), HasSubstr("expected 64 hexadecimal digits"));
  EXPECT_THAT(error("/splits", nlohmann::json::array()), HasSubstr("splits: found array"));
  EXPECT_THAT(error("/splits/vall", nullptr), HasSubstr("splits: found 'vall', expected train, val or test"));
  EXPECT_THAT(error("/splits/val/tokens", -1), HasSubstr("splits.val.tokens: found '-1'"));
  EXPECT_THAT(error("/splits/val/tokens", 1.5), HasSubstr("splits.val.tokens: found '1.5'"));
  EXPECT_THAT(error("/splits/val/tokens", 18446744073709551615u), HasSubstr("expected a whole number"));
  EXPECT_THAT(error("/splits/val/bytes", 1), HasSubstr("splits.val.tokens: found"));
  EXPECT_THAT(error("/splits/val/shards", nlohmann::json::array()), HasSubstr("the sum over its shards, 0"));
  EXPECT_THAT(error("/splits/val/shards/0/file", "../val.bin"), HasSubstr("the plain name of a file"));
  EXPECT_THAT(error("/splits/val/shards/0/file", "/etc/passwd"), HasSubstr("the plain name of a file"));
  EXPECT_THAT(error("/splits/val/shards/0/file", "train-000.bin"), HasSubstr("train-000.bin: found"));
  EXPECT_THAT(error("/splits/val/shards/0/tokens", 1), HasSubstr("the sum over its shards, 1"));
  EXPECT_THAT(error("/splits/val/sha256", std::string(64, '0')), HasSubstr("hash"));
  EXPECT_THAT(error("/sources", 3), HasSubstr("sources: found '3', expected a list"));
  EXPECT_THAT(error("/sources/0/bytes", nullptr), HasSubstr("sources[0].bytes: found 'null'"));
  EXPECT_THAT(error("/options/val", 1), HasSubstr("options.val: found '1'"));
  EXPECT_THAT(error("/splits/a\nb", 1), HasSubstr("splits: found 'a\\nb', expected train"));
}

TEST(CorpusManifest, BrokenTextGivesOneShortLine) {
  const auto error = [](const std::string& text) {
    const std::string message = message_of<InputError>([&] { parse_manifest(text, "manifest.json"); });
    EXPECT_EQ(message.find('\n'), std::string::npos);
    EXPECT_LT(message.size(), 300u);
    return message;
  };
  EXPECT_THAT(error(R"({"format": 1e999})"), HasSubstr("beyond the range of a double"));
  EXPECT_THAT(error("{\"format\": " + std::string(100000, '[') + std::string(100000, ']') + "}"),
              HasSubstr("format: found an array of 1"));
  EXPECT_THAT(error(R"({"forma\n": 1})"), HasSubstr("missing key 'format' (found 'forma\\n')"));
}

TEST_F(CorpusTest, MissingManifestKeysAreNamed) {
  prepare(paragraphs(200));
  const nlohmann::json good = nlohmann::json::parse(read_file(options_.output / "manifest.json"));
  for (const auto& item : good.items()) {
    nlohmann::json bad = good;
    bad.erase(item.key());
    folder_.write("corpus/manifest.json", bad.dump());
    EXPECT_THAT(open_error(), HasSubstr("missing key '" + item.key() + "'"));
  }
  nlohmann::json bad = good;
  bad["splits"].erase("train");
  bad["vocabulry"] = bad["vocabulary"];
  folder_.write("corpus/manifest.json", bad.dump());
  EXPECT_THAT(open_error(), HasSubstr("splits: missing key 'train'"));
  bad = good;
  bad["vocabulry"] = 257;
  bad.erase("vocabulary");
  folder_.write("corpus/manifest.json", bad.dump());
  EXPECT_THAT(open_error(), HasSubstr("missing key 'vocabulary' (found 'vocabulry')"));
}

TEST_F(CorpusTest, ShakespeareByPositionIsTheUsualSplit) {
  const std::filesystem::path text = MINICHILLA_SOURCE_DIR "/../shared/corpora/tinyshakespeare.txt";
  if (!std::filesystem::exists(text)) GTEST_SKIP() << text << " is not here";
  options_.inputs = {text};
  options_.documents = "file";
  options_.split = "position";
  options_.val_fraction = 0.1;
  prepare_corpus(options_);
  const auto corpus = open_corpus(options_.output);
  EXPECT_EQ(corpus->split("train").tokens(), 1003854);  // int(0.9 · 1115394)
  EXPECT_EQ(corpus->split("val").tokens(), 111540 + 1);
  const std::string all = text_of(corpus->split("train")) + text_of(corpus->split("val"));
  EXPECT_EQ(all, read_file(text) + "|");
}

}  // namespace
}  // namespace minichilla::corpus_test
