#include "trainer/tokenizer.h"

#include <gmock/gmock.h>

#include "kernels/error.h"
#include "tests/temporary_folder.h"

namespace minichilla::tokenizer_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Tokenizer, BytesHaveTheirOwnIdsAndOneMoreEndsADocument) {
  const auto tokenizer = make_bytes_tokenizer();
  EXPECT_EQ(tokenizer->vocabulary(), 257);
  EXPECT_EQ(tokenizer->end_of_document(), 256);
  std::vector<std::int32_t> ids;
  tokenizer->encode(std::string_view("A\0\xc3\xa9", 4), ids);
  EXPECT_THAT(ids, ElementsAre(65, 0, 0xc3, 0xa9));
}

TEST(Tokenizer, EncodeAppends) {
  const auto tokenizer = make_bytes_tokenizer();
  std::vector<std::int32_t> ids = {7};
  tokenizer->encode("", ids);
  tokenizer->encode("a", ids);
  tokenizer->encode("b", ids);
  EXPECT_THAT(ids, ElementsAre(7, 97, 98));
}

TEST(Tokenizer, EveryByteSurvivesARoundTrip) {
  const auto tokenizer = make_bytes_tokenizer();
  std::string text;
  for (int byte = 0; byte < 256; ++byte) text += static_cast<char>(byte);
  std::vector<std::int32_t> ids;
  tokenizer->encode(text, ids);
  EXPECT_EQ(tokenizer->decode(ids), text);
}

TEST(Tokenizer, EndOfDocumentDecodesToNothing) {
  EXPECT_EQ(make_bytes_tokenizer()->decode({97, 256, 98, 256}), "ab");
}

TEST(Tokenizer, IdsOutsideTheVocabularyAreRefused) {
  const auto tokenizer = make_bytes_tokenizer();
  EXPECT_THAT(message_of<InputError>([&] { tokenizer->decode({97, 257}); }), HasSubstr("257"));
  EXPECT_THAT(message_of<InputError>([&] { tokenizer->decode({-1}); }), HasSubstr("-1"));
}

}  // namespace
}  // namespace minichilla::tokenizer_test
