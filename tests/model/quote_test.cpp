#include "model/quote.h"

#include <gtest/gtest.h>

namespace minichilla::quote_test {
namespace {

TEST(Quote, LeavesPlainTextAlone) {
  EXPECT_EQ(quote("d_model"), "'d_model'");
  EXPECT_EQ(quote(""), "''");
  EXPECT_EQ(printable("größer → 2"), "größer → 2");
}

TEST(Quote, EscapesControlCharacters) {
  EXPECT_EQ(printable("a\nb\tc"), "a\\nb\\tc");
  EXPECT_EQ(printable(std::string("\x1b[31m\0\x7f", 7)), "\\x1b[31m\\x00\\x7f");
}

TEST(Quote, CutsLongTextBetweenCharacters) {
  EXPECT_EQ(printable(std::string(80, 'x')), std::string(80, 'x'));
  EXPECT_EQ(printable(std::string(81, 'x')), std::string(80, 'x') + "…");
  EXPECT_EQ(printable(std::string(79, 'x') + "é!"), std::string(79, 'x') + "…");
  EXPECT_EQ(printable(std::string(100, '\x80')), "…");
}

}  // namespace
}  // namespace minichilla::quote_test
