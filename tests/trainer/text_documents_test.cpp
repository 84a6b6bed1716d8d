#include "trainer/text_documents.h"

#include <gmock/gmock.h>

#include "kernels/error.h"
#include "tests/temporary_folder.h"

namespace minichilla::text_documents_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::size_t kValid = std::string_view::npos;

std::vector<std::string> documents(std::string_view text, DocumentKind kind,
                                   const std::string& field = "text") {
  std::vector<std::string> found;
  for_each_document({"input.x", "input.x"}, text, kind, field,
                    [&](std::string_view document) { found.emplace_back(document); });
  return found;
}

std::string jsonl_error(std::string_view text, const std::string& field = "text") {
  return message_of<InputError>([&] { documents(text, DocumentKind::jsonl, field); });
}

TEST(FirstInvalidUtf8, TakesEverythingThatUnicodeHas) {
  EXPECT_EQ(first_invalid_utf8(""), kValid);
  EXPECT_EQ(first_invalid_utf8("plain text, longer than eight bytes"), kValid);
  EXPECT_EQ(first_invalid_utf8(std::string_view("nul \0 inside", 12)), kValid);
  // The first and last character of every length, and the neighbours of the surrogates.
  EXPECT_EQ(
      first_invalid_utf8("\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"),
      kValid);
  EXPECT_EQ(first_invalid_utf8("\xed\x9f\xbf\xee\x80\x80"), kValid);
}

TEST(FirstInvalidUtf8, FindsEveryKindOfFaultAtItsOffset) {
  const std::string bad[] = {"\x80",
                             "\xbf",
                             "\xc0\x80",
                             "\xc1\xbf",
                             "\xc3",
                             "\xc3(",
                             "\xe0\x9f\xbf",
                             "\xe2\x82",
                             "\xe2(\x82",
                             "\xed\xa0\x80",
                             "\xed\xbf\xbf",
                             "\xf0\x8f\xbf\xbf",
                             "\xf4\x90\x80\x80",
                             "\xf5\x80\x80\x80",
                             "\xff",
                             "\xf0\x90\x80"};
  for (const std::string& fault : bad) {
    for (const std::size_t before : {0u, 1u, 7u, 8u, 9u, 63u}) {
      EXPECT_EQ(first_invalid_utf8(std::string(before, 'a') + fault + "more text after it"), before);
      EXPECT_EQ(first_invalid_utf8(std::string(before, 'a') + fault), before);
    }
  }
}

TEST(CharacterStart, NeverPointsIntoACharacter) {
  const std::string text = "a\xc3\xa9\xe2\x82\xac";  // a, e acute, euro
  const std::size_t expected[] = {0, 1, 3, 3, 6, 6, 6};
  for (std::size_t i = 0; i <= text.size(); ++i) EXPECT_EQ(character_start(text, i), expected[i]) << i;
}

TEST(ForEachDocument, AFileIsOneDocument) {
  EXPECT_THAT(documents("a\n\nb\r\n", DocumentKind::file), ElementsAre("a\n\nb\r\n"));
  EXPECT_THAT(documents("", DocumentKind::file), ElementsAre());
}

TEST(ForEachDocument, ShortParagraphsStayTogether) {
  EXPECT_THAT(documents("one\n\ntwo\n \t \nthree\n", DocumentKind::paragraphs),
              ElementsAre("one\n\ntwo\n \t \nthree"));
}

TEST(ForEachDocument, ParagraphsAreCutOnceLongEnough) {
  const std::string exact(kParagraphGroupBytes, 'x'), shorter(kParagraphGroupBytes - 1, 'y');
  EXPECT_THAT(documents(exact + "\n\ntail", DocumentKind::paragraphs), ElementsAre(exact, "tail"));
  EXPECT_THAT(documents(shorter + "\n\ntail", DocumentKind::paragraphs), ElementsAre(shorter + "\n\ntail"));
  EXPECT_THAT(documents(exact + "\ntail", DocumentKind::paragraphs), ElementsAre(exact + "\ntail"));
}

TEST(ForEachDocument, BlankLinesMayEndInCarriageReturns) {
  const std::string line(kParagraphGroupBytes, 'x');
  EXPECT_THAT(documents("\r\n" + line + "\r\n\r\ntwo\r\nthree\r\n", DocumentKind::paragraphs),
              ElementsAre(line, "two\r\nthree"));
}

TEST(ForEachDocument, ParagraphsLoseNothingButBlankLines) {
  std::string text, kept;
  for (int i = 0; i < 500; ++i) {
    const std::string paragraph = "  paragraph " + std::to_string(i) + "  \nsecond line\tof it\n";
    text += paragraph + std::string(static_cast<std::size_t>(1 + i % 3), '\n');
    kept += paragraph;
  }
  std::string joined;
  for (const std::string& document : documents(text, DocumentKind::paragraphs)) {
    EXPECT_FALSE(document.starts_with('\n') || document.ends_with('\n'));
    joined += document + "\n";
  }
  const auto without_blank_lines = [](std::string s) {
    for (std::size_t at; (at = s.find("\n\n")) != std::string::npos;) s.erase(at, 1);
    return s;
  };
  EXPECT_EQ(without_blank_lines(joined), kept);
}

TEST(ForEachDocument, NothingButBlankLinesIsNoDocument) {
  for (const char* text : {"", "\n", " \n\t\r\n", "   "}) {
    EXPECT_THAT(documents(text, DocumentKind::paragraphs), ElementsAre());
    EXPECT_EQ(documents(text, DocumentKind::jsonl), std::vector<std::string>());
  }
}

TEST(ForEachDocument, JsonlGivesTheFieldOfEveryRecord) {
  EXPECT_THAT(documents("{\"text\": \"a\\nb\"}\r\n\n{\"n\": 1, \"text\": \"\\u00e9\"}", DocumentKind::jsonl),
              ElementsAre("a\nb", "\xc3\xa9"));
  EXPECT_THAT(documents("{\"body\": \"x\", \"text\": 3}\n", DocumentKind::jsonl, "body"), ElementsAre("x"));
}

TEST(ForEachDocument, CountsEmptyRecords) {
  int used = 0;
  EXPECT_EQ(for_each_document({"f", "f"}, "{\"text\": \"\"}\n{\"text\": \"a\"}\n{\"text\": \"\"}\n",
                              DocumentKind::jsonl, "text", [&](std::string_view) { ++used; }),
            2);
  EXPECT_EQ(used, 1);
}

TEST(ForEachDocument, BadRecordsAreNamedByFileAndLine) {
  EXPECT_THAT(jsonl_error("{\"text\": \"a\"}\n\n{\"text\": \n"), HasSubstr("input.x:3: found no valid JSON"));
  EXPECT_THAT(jsonl_error("{\"text\": 1e999}\n"), HasSubstr("input.x:1: found a number beyond the range"));
  EXPECT_THAT(jsonl_error("[1]\n"), HasSubstr("input.x:1: found a JSON array, expected an object"));
  EXPECT_THAT(jsonl_error("{\"text\": 5}\n"), HasSubstr("field 'text': found a number, expected a string"));
  EXPECT_THAT(jsonl_error("{\"text\": \"\\ud800\"}\n"),
              HasSubstr("input.x:1: found no valid JSON"));  // lone surrogate
  EXPECT_THAT(jsonl_error("{}\n"), HasSubstr("found no field 'text'"));
  const std::string misspelt = jsonl_error("{\"texts\": \"a\", \"id\": 1}\n");
  EXPECT_THAT(misspelt, HasSubstr("did you mean 'texts'?"));
  EXPECT_THAT(misspelt, HasSubstr("id"));
}

TEST(ForEachDocument, MessagesStayOnOneLine) {
  EXPECT_EQ(jsonl_error("{\"a\\nb\": 1}\n").find('\n'), std::string::npos);
}

TEST(ForEachDocument, DeeplyNestedRecordsDoNotExhaustTheStack) {
  const std::string nested =
      "{\"text\": \"a\", \"x\": " + std::string(200000, '[') + std::string(200000, ']') + "}";
  EXPECT_THAT(documents(nested, DocumentKind::jsonl), ElementsAre("a"));
}

TEST(ListSources, FoldersAreSearchedAndSorted) {
  const TemporaryFolder folder;
  for (const char* name :
       {"b.txt", "a/z.md", "a.txt", "a/B.TXT", "c.jsonl", "d.csv", ".hidden.txt", ".git/x.txt"}) {
    folder.write(name, "text");
  }
  const SourceList list = list_sources({folder.path()}, DocumentKind::paragraphs);
  std::vector<std::string> names;
  for (const TextSource& source : list.files) names.push_back(source.name);
  EXPECT_THAT(names, ElementsAre("a.txt", "a/B.TXT", "a/z.md", "b.txt"));
  EXPECT_EQ(list.passed_over, 1);
  const SourceList records = list_sources({folder.path()}, DocumentKind::jsonl);
  ASSERT_EQ(records.files.size(), 1u);
  EXPECT_EQ(records.files[0].name, "c.jsonl");
  EXPECT_EQ(records.passed_over, 4);
}

TEST(ListSources, NamesDoNotDependOnHowTheFolderIsWritten) {
  const TemporaryFolder folder;
  folder.write("sub/a.txt", "text");
  for (const std::filesystem::path& spelled : {folder.path(), folder / "", folder / "sub/.."}) {
    const SourceList list = list_sources({spelled}, DocumentKind::file);
    ASSERT_EQ(list.files.size(), 1u) << spelled;
    EXPECT_EQ(list.files[0].name, "sub/a.txt") << spelled;
  }
}

TEST(ListSources, FilesKeepTheOrderGivenAndAnyEnding) {
  const TemporaryFolder folder;
  const auto b = folder.write("b.dat", "b"), a = folder.write("a", "a");
  const SourceList list = list_sources({b, a}, DocumentKind::paragraphs);
  ASSERT_EQ(list.files.size(), 2u);
  EXPECT_EQ(list.files[0].name, "b.dat");
  EXPECT_EQ(list.files[1].name, "a");
}

TEST(ListSources, SaysWhatIsWrongWithAnInput) {
  const TemporaryFolder folder;
  const auto records = folder.write("r/x.jsonl", "{}"), text = folder.write("t/x.txt", "text");
  std::filesystem::create_directories(folder / "empty");
  const auto error = [](std::vector<std::filesystem::path> inputs, DocumentKind kind) {
    return message_of<InputError>([&] { list_sources(inputs, kind); });
  };
  EXPECT_THAT(error({folder / "absent"}, DocumentKind::file), HasSubstr("absent: no such file or folder"));
  EXPECT_THAT(error({folder / "empty"}, DocumentKind::file), HasSubstr("found no .txt or .md"));
  EXPECT_THAT(error({folder / "r"}, DocumentKind::file), HasSubstr("use --documents jsonl"));
  EXPECT_THAT(error({folder / "t"}, DocumentKind::jsonl), HasSubstr("use --documents paragraphs"));
  EXPECT_THAT(error({records}, DocumentKind::paragraphs), HasSubstr("use --documents jsonl"));
  EXPECT_THAT(error({text, folder / "t"}, DocumentKind::file), HasSubstr("twice"));
  EXPECT_THAT(error({"/dev/null"}, DocumentKind::file), HasSubstr("neither a file nor a folder"));
  EXPECT_THAT(error({}, DocumentKind::file), HasSubstr("no input"));
}

TEST(ParseDocumentKind, SuggestsTheNearestName) {
  EXPECT_EQ(parse_document_kind("jsonl"), DocumentKind::jsonl);
  EXPECT_THAT(
      message_of<InputError>([] { parse_document_kind("paragraph"); }),
      HasSubstr(
          "--documents: found 'paragraph', expected paragraphs, file or jsonl; did you mean 'paragraphs'?"));
}

}  // namespace
}  // namespace minichilla::text_documents_test
