#include "sweeps/text_table.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace minichilla::text_table_test {
namespace {

TEST(TextTable, AlignsColumnsWithoutTrailingSpaces) {
  TextTable table(
      {{"run", TextTable::Align::left}, {"N", TextTable::Align::right}, {"", TextTable::Align::left}});
  table.add({"a", "1000", ""});
  table.add_line("--");
  table.add({"long", "7", "note"});
  EXPECT_EQ(table.text(), "run      N\na     1000\n--\nlong     7  note\n");
  EXPECT_THROW(table.add({"one"}), std::logic_error);
}

TEST(FormatShort, WritesExponentsAsPeopleDo) {
  EXPECT_EQ(format_short(1e9), "1e9");
  EXPECT_EQ(format_short(2.5e11), "2.5e11");
  EXPECT_EQ(format_short(1e100), "1e100");
  EXPECT_EQ(format_short(0.005743), "0.00574");
  EXPECT_EQ(format_short(1e-5), "1e-5");
  EXPECT_EQ(format_short(0), "0");
}

TEST(Counted, KnowsOneFromMany) {
  EXPECT_EQ(counted(1, "run"), "1 run");
  EXPECT_EQ(counted(0, "run"), "0 runs");
  EXPECT_EQ(counted(12, "run"), "12 runs");
}

TEST(Bar, FillsAsFarAsTheFractionAndIsFullOnlyAtTheEnd) {
  EXPECT_EQ(bar(0, 4), "[....]");
  EXPECT_EQ(bar(0.5, 4), "[##..]");
  EXPECT_EQ(bar(0.999, 4), "[###.]");
  EXPECT_EQ(bar(1, 4), "[####]");
  EXPECT_EQ(bar(7, 4), "[####]");
  EXPECT_EQ(bar(-1, 4), "[....]");
}

}  // namespace
}  // namespace minichilla::text_table_test
