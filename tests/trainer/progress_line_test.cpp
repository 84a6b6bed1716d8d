#include "trainer/progress_line.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace minichilla::progress_line_test {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

// Under the tests stderr is captured in a file, so these see plain lines.

TEST(ProgressLine, PlainLinesComeAtMostAtTheInterval) {
  testing::internal::CaptureStderr();
  {
    ProgressLine line{hours(1)};
    line.update("first");
    line.update("too soon");
    line.print("note");
    line.update("still too soon");
    line.finish("done");
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "first\nnote\ndone\n");
}

TEST(ProgressLine, WithoutAnIntervalEveryUpdateIsShown) {
  testing::internal::CaptureStderr();
  {
    ProgressLine line{milliseconds(0)};
    line.update("one");
    line.update("two");
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "one\ntwo\n");
}

TEST(FormatDuration, PicksTheUnits) {
  EXPECT_EQ(format_duration(0), "0.0s");
  EXPECT_EQ(format_duration(0.84), "0.8s");
  EXPECT_EQ(format_duration(9.94), "9.9s");
  EXPECT_EQ(format_duration(9.96), "10s");
  EXPECT_EQ(format_duration(59.4), "59s");
  EXPECT_EQ(format_duration(59.6), "1m00s");
  EXPECT_EQ(format_duration(192), "3m12s");
  EXPECT_EQ(format_duration(3599.4), "59m59s");
  EXPECT_EQ(format_duration(3599.6), "1h00m");
  EXPECT_EQ(format_duration(7500), "2h05m");
  EXPECT_EQ(format_duration(7199), "2h00m");
  EXPECT_EQ(format_duration(1e6), "277h47m");
}

TEST(FormatDuration, KnowsWhatItDoesNotKnow) {
  EXPECT_EQ(format_duration(-1), "unknown");
  EXPECT_EQ(format_duration(std::numeric_limits<double>::infinity()), "unknown");
  EXPECT_EQ(format_duration(std::nan("")), "unknown");
}

TEST(FormatCount, HasThreeDigitsAndASuffix) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(1), "1");
  EXPECT_EQ(format_count(42), "42");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1k");
  EXPECT_EQ(format_count(1234), "1.23k");
  EXPECT_EQ(format_count(12345), "12.3k");
  EXPECT_EQ(format_count(123456), "123k");
  EXPECT_EQ(format_count(1360000), "1.36M");
  EXPECT_EQ(format_count(3e11), "300G");
  EXPECT_EQ(format_count(1.5e12), "1.5T");
  EXPECT_EQ(format_count(-1360000), "-1.36M");
}

TEST(FormatCount, RoundsIntoTheNextUnit) {
  EXPECT_EQ(format_count(9.995), "10");
  EXPECT_EQ(format_count(999.4), "999");
  EXPECT_EQ(format_count(999.6), "1k");
  EXPECT_EQ(format_count(99960), "100k");
  EXPECT_EQ(format_count(999499), "999k");
  EXPECT_EQ(format_count(999600), "1M");
}

TEST(FormatCount, UsesPowersOfTenBeyondTheSuffixes) {
  EXPECT_EQ(format_count(3e15), "3e15");
  EXPECT_EQ(format_count(5.76e23), "5.76e23");
  EXPECT_EQ(format_count(-1e100), "-1e100");
  EXPECT_EQ(format_count(1e-5), "1e-5");
  EXPECT_EQ(format_count(0.0567), "0.0567");
  EXPECT_EQ(format_count(0.5), "0.5");
}

TEST(FormatBytes, UsesBinaryUnits) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(1024), "1.0 KiB");
  EXPECT_EQ(format_bytes(312 * 1024), "312 KiB");
  EXPECT_EQ(format_bytes(1536ull * 1024 * 1024), "1.5 GiB");
  EXPECT_EQ(format_bytes(1024 * 1024 - 1), "1.0 MiB");
}

}  // namespace
}  // namespace minichilla::progress_line_test
