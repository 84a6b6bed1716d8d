#include "trainer/sentencepiece_tokenizer.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <iostream>
#include <random>

#include "kernels/error.h"
#include "tests/temporary_folder.h"
#include "trainer/files.h"
#include "trainer/text_documents.h"

namespace minichilla::sentencepiece_tokenizer_test {
namespace {

using testing::HasSubstr;
using testing::Not;

/// Sentences of made-up words, with line ends, tabs and runs of spaces.
std::vector<std::string> training_lines() {
  std::mt19937 random(1);
  std::vector<std::string> words;
  for (int i = 0; i < 400; ++i) {
    std::string word;
    for (unsigned letters = 2 + random() % 7; letters > 0; --letters)
      word += static_cast<char>('a' + random() % 26);
    words.push_back(word);
  }
  std::vector<std::string> lines;
  for (int i = 0; i < 1500; ++i) {
    std::string line = i % 7 == 0 ? "\t" : "";
    for (int j = 0; j < 12; ++j) line += words[random() % words.size()] + (random() % 9 == 0 ? "  " : " ");
    lines.push_back(line + "é,\n");
  }
  return lines;
}

std::string trained(const std::string& kind) {
  return train_sentencepiece({kind, 600}, training_lines());
}

class SentencePieceTest : public testing::TestWithParam<const char*> {
 protected:
  /// Tokenizers are made once: learning takes a second.
  static const Tokenizer& tokenizer() {
    static const std::unique_ptr<Tokenizer> bpe = load_sentencepiece(trained("bpe"), "bpe");
    static const std::unique_ptr<Tokenizer> unigram = load_sentencepiece(trained("unigram"), "unigram");
    return GetParam() == std::string("bpe") ? *bpe : *unigram;
  }
  static std::string round_trip(const std::string& text) {
    std::vector<std::int32_t> ids;
    tokenizer().encode(text, ids);
    for (const std::int32_t id : ids) {
      if (id < 2 || id >= 600) ADD_FAILURE() << "id " << id;  // neither <unk> nor the end of a document
    }
    return tokenizer().decode(ids);
  }
};

INSTANTIATE_TEST_SUITE_P(Kinds, SentencePieceTest, testing::Values("bpe", "unigram"),
                         [](const auto& kind) { return std::string(kind.param); });

TEST_P(SentencePieceTest, HasTheVocabularyThatWasAskedFor) {
  EXPECT_EQ(tokenizer().vocabulary(), 600);
  EXPECT_EQ(tokenizer().end_of_document(), 1);
  EXPECT_EQ(tokenizer().decode({1, 1}), "");
}

TEST_P(SentencePieceTest, FindsWordsInText) {
  const std::vector<std::string> lines = training_lines();
  std::size_t bytes = 0;
  std::vector<std::int32_t> ids;
  for (const std::string& line : lines) {
    bytes += line.size();
    tokenizer().encode(line, ids);
  }
  EXPECT_LT(static_cast<double>(ids.size()), 0.6 * static_cast<double>(bytes));
}

TEST_P(SentencePieceTest, GivesBackWhatTheLibraryWouldChange) {
  const std::vector<std::string> texts = {
      "",
      " ",
      "     a  \t\t b    \n\n  ",
      "\xe2\x96\x81",  // the library's own marker of a space
      " \xe2\x96\x81 a\xe2\x96\x81\xe2\x96\x81z \xe2\x96\x82\xe2\x96\x80",
      std::string("a\0b\0\0", 5),
      "\x01\x02\x1b[0m\x7f\r\n\r",
      "\xef\xbb\xbf byte order mark",
      "<s></s><unk><0x0A>\xe2\x81\x87",  // names of pieces, and what <unk> would be shown as
      "\xef\xbf\xbd replacement \xe2\x96\x85",
      "\xef\xac\x81 \xc2\xbd e\xcc\x81 \xc3\xa9",  // what normalisation would compose or decompose
      "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa9 \xf4\x8f\xbf\xbf \xe3\x80\x80",
      "\xff\xfe \xc3( \xe2\x96 \xed\xa0\x80 \xf0\x9f\x91",  // no UTF-8: overlong, cut, surrogates
      "\xe2\x96",
  };
  for (const std::string& text : texts) EXPECT_EQ(round_trip(text), text) << testing::PrintToString(text);
}

void append_utf8(char32_t character, std::string& text) {
  const auto put = [&](char32_t byte) { text += static_cast<char>(byte); };
  const auto tail = [&](int shift) { put(0x80 | ((character >> shift) & 0x3f)); };
  if (character < 0x80) {
    put(character);
  } else if (character < 0x800) {
    put(0xc0 | character >> 6), tail(0);
  } else if (character < 0x10000) {
    put(0xe0 | character >> 12), tail(6), tail(0);
  } else {
    put(0xf0 | character >> 18), tail(12), tail(6), tail(0);
  }
}

TEST_P(SentencePieceTest, AHundredThousandRandomUnicodeStringsSurvive) {
  std::mt19937 random(2);
  int failures = 0;
  for (int i = 0; i < 100'000 && failures < 5; ++i) {
    // Mostly text that pieces match, spaces and markers among it; else any character at all.
    std::string text;
    for (unsigned length = random() % 16; length > 0; --length) {
      switch (random() % 6) {
        case 0:
          text += ' ';
          break;
        case 1:
          append_utf8(0x2580 + random() % 4, text);
          break;
        case 2: {
          char32_t character = random() % 0x110000;
          if (character >= 0xd800 && character < 0xe000) character -= 0x800;
          append_utf8(character, text);
          break;
        }
        default:
          append_utf8(random() % 0x80, text);
      }
    }
    ASSERT_EQ(first_invalid_utf8(text), std::string_view::npos);
    if (round_trip(text) != text) {
      ADD_FAILURE() << testing::PrintToString(text);
      ++failures;
    }
  }
}

TEST_P(SentencePieceTest, AnyBytesSurvive) {
  std::mt19937 random(3);
  for (int i = 0; i < 2000; ++i) {
    std::string text;
    for (unsigned length = random() % 40; length > 0; --length) {
      const std::string_view marker = "\xe2\x96\x81";
      text += random() % 3 == 0 ? marker[random() % 3] : static_cast<char>(random() % 256);
    }
    ASSERT_EQ(round_trip(text), text) << testing::PrintToString(text);
  }
}

TEST_P(SentencePieceTest, AllCorporaSurvive) {
  const std::filesystem::path folder = MINICHILLA_SOURCE_DIR "/../shared/corpora";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is not here";
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    const std::string text = read_file(entry.path());
    std::vector<std::int32_t> ids;
    for (std::size_t begin = 0; begin < text.size(); begin += 1 << 16) {
      tokenizer().encode(std::string_view(text).substr(begin, 1 << 16), ids);
    }
    ASSERT_TRUE(tokenizer().decode(ids) == text) << entry.path();
    ++files;
  }
  EXPECT_GE(files, 30);
}

TEST_P(SentencePieceTest, TheSameTextGivesTheSameModel) {
  EXPECT_TRUE(trained(GetParam()) == trained(GetParam()));
}

TEST(SentencePiece, TextWithMarkersAndInvalidBytesTeachesNoneOfThem) {
  std::vector<std::string> lines = training_lines();
  for (std::string& line : lines) line.insert(line.size() / 2, "\xe2\x96\x81\xe2\x96\x81\xff");
  const auto tokenizer = load_sentencepiece(train_sentencepiece({"bpe", 500}, lines), "model");
  std::vector<std::int32_t> ids;
  for (const std::string& line : lines) tokenizer->encode(line, ids);
  std::string all;
  for (const std::string& line : lines) all += line;
  EXPECT_TRUE(tokenizer->decode(ids) == all);
}

TEST(SentencePiece, AVocabularyThatDoesNotFitTheTextIsExplained) {
  const auto error = [](int vocabulary) {
    return message_of<InputError>([&] { train_sentencepiece({"unigram", vocabulary}, {"abc abd\n"}); });
  };
  EXPECT_THAT(error(50'000), HasSubstr("--vocab: found 50000, which does not fit the training text: "));
  EXPECT_THAT(error(50'000), HasSubstr("too high"));
  EXPECT_THAT(error(259), HasSubstr("--vocab: found 259, which does not fit the training text: "));
  EXPECT_THAT(error(259), Not(HasSubstr("[")));
}

TEST(SentencePiece, WhatIsNoModelOfOursIsRefused) {
  const auto error = [](std::string_view model) {
    return message_of<InputError>([&] { load_sentencepiece(model, "tokenizer.model"); });
  };
  EXPECT_THAT(error("not a model"), HasSubstr("tokenizer.model: found no SentencePiece model"));
  EXPECT_THAT(error(""), HasSubstr("tokenizer.model: found"));
  const std::string good = trained("bpe");
  EXPECT_THAT(error(std::string_view(good).substr(0, good.size() / 2)), HasSubstr("tokenizer.model: found"));
}

TEST(SentencePiece, IdsOutsideTheVocabularyAreRefused) {
  const auto tokenizer = load_sentencepiece(trained("bpe"), "model");
  EXPECT_THAT(message_of<InputError>([&] { tokenizer->decode({5, 600}); }), HasSubstr("600"));
  EXPECT_THAT(message_of<InputError>([&] { tokenizer->decode({-1}); }), HasSubstr("-1"));
}

}  // namespace
}  // namespace minichilla::sentencepiece_tokenizer_test
