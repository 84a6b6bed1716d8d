#include "model/sizes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/error.h"
#include "model/families.h"
#include "model/parameters.h"
#include "tests/model/shape.h"
#include "tests/temporary_folder.h"

namespace minichilla::sizes_test {
namespace {

std::vector<std::string> names(const std::vector<std::string>& sizes) {
  std::vector<std::string> result;
  for (const ModelConfig& config : parse_sizes(sizes)) result.push_back(shape_name(config));
  return result;
}

std::string refusal(const std::string& size) {
  return message_of<InputError>([&] { parse_sizes({size}); });
}

std::vector<ModelConfig> ladder() {
  return parse_sizes({"ladder[:]"});
}

TEST(Ladder, HoldsTheMeasuredShapes) {
  for (const char* name : {"1x16", "2x16", "2x24", "2x32", "3x40", "3x48", "3x64", "4x96"}) {
    EXPECT_THAT(names({"ladder[:]"}), testing::Contains(name));
  }
}

TEST(Ladder, AscendsInEvenStepsFromFiveThousandParameters) {
  std::int64_t before = 0;
  for (ModelConfig rung : ladder()) {
    EXPECT_EQ(rung.family, "ladder");
    rung = resolved(rung);
    EXPECT_EQ(rung.d_head * rung.n_heads, rung.d_model);
    EXPECT_GE(rung.d_head, 8);
    EXPECT_LE(rung.d_head, 32);
    const std::int64_t params = ParameterTable(rung, 257).params();
    if (before == 0) {
      EXPECT_GT(params, 5000);
      EXPECT_LT(params, 6000);
    } else {
      const double ratio = static_cast<double>(params) / static_cast<double>(before);
      EXPECT_GT(ratio, 1.25) << shape_name(rung);
      EXPECT_LT(ratio, 1.76) << shape_name(rung);
    }
    before = params;
  }
  EXPECT_GT(before, 10'000'000);
}

TEST(Ladder, AscendsForEveryVocabularyAndContext) {
  for (const int vocabulary : {2, 257, 50257}) {
    for (const int context_length : {1, 1024}) {
      std::int64_t before = 0;
      for (ModelConfig rung : ladder()) {
        rung.context_length = context_length;
        const std::int64_t params = ParameterTable(resolved(rung), vocabulary).params();
        EXPECT_GT(params, before) << shape_name(rung);
        before = params;
      }
    }
  }
}

TEST(ShapeName, TellsShapesApart) {
  EXPECT_EQ(shape_name(shape(2, 32, 2)), "2x32");
  EXPECT_EQ(shape_name(resolved(shape(2, 32, 2))), "2x32");
  EXPECT_EQ(shape_name(shape(2, 32, 4)), "2x32x4");
  EXPECT_EQ(shape_name(shape(3, 48, 6)), "3x48x6");
  EXPECT_EQ(shape_name(shape(5, 100, 4)), "5x100x4") << "not on the ladder: the heads are never implied";
  EXPECT_EQ(shape_name(shape(2, 32, 2, 8)), "2x32h8");
  EXPECT_EQ(shape_name(shape(2, 32, 2, 16)), "2x32");
  EXPECT_EQ(shape_name(shape(2, 32, 2, 0, 100)), "2x32f100");
  EXPECT_EQ(shape_name(shape(24, 2048, 24, 128, 100)), "24x2048x24h128f100");
}

TEST(ParseSizes, SlicesTheLadderAsPythonDoes) {
  const std::vector<std::string> all = names({"ladder[:]"});
  const int length = static_cast<int>(all.size());
  ASSERT_EQ(all.size(), ladder().size());
  EXPECT_THAT(names({"ladder[0:3]"}), testing::ElementsAre("1x12", "1x16", "2x16"));
  EXPECT_THAT(names({"ladder[:2]"}), testing::ElementsAre("1x12", "1x16"));
  EXPECT_THAT(names({"ladder[-2:]"}), testing::ElementsAre(all[all.size() - 2], all.back()));
  EXPECT_THAT(names({"ladder[1:6:2]"}), testing::ElementsAre("1x16", "1x24", "2x32"));
  EXPECT_THAT(names({"ladder[2::-1]"}), testing::ElementsAre("2x16", "1x16", "1x12"));
  EXPECT_EQ(names({"ladder[::-1]"}), std::vector<std::string>(all.rbegin(), all.rend()));
  EXPECT_EQ(names({"ladder[-1000:1000]"}), all);
  EXPECT_THAT(names({"ladder[" + std::to_string(length - 1) + ":1000:2147483647]"}),
              testing::ElementsAre(all.back()));
  EXPECT_THAT(names({"ladder[1]"}), testing::ElementsAre("1x16"));
  EXPECT_THAT(names({"ladder[-1]"}), testing::ElementsAre(all.back()));
}

TEST(ParseSizes, ReadsNamesAndKeepsTheOrder) {
  EXPECT_THAT(names({"4x96", "2x32", "3x48x6", "5x100x4", "2x32x4"}),
              testing::ElementsAre("4x96", "2x32", "3x48x6", "5x100x4", "2x32x4"));
  EXPECT_EQ(parse_sizes({"3x48x6"})[0].family, "custom");
  EXPECT_EQ(parse_sizes({"3x48x3"})[0].family, "ladder");
  EXPECT_EQ(parse_sizes({"2x32"})[0].n_heads, 2);
}

TEST(ParseSizes, TakesEveryShapeOnce) {
  EXPECT_THAT(names({"ladder[0:3]", "1x16", "ladder[1:4]", "1x16x2"}),
              testing::ElementsAre("1x12", "1x16", "2x16", "1x24"));
}

TEST(ParseSizes, RefusesNumbersThatNoConfigMayHave) {
  EXPECT_THAT(refusal("2147483647x64x1"), testing::HasSubstr("no number above 1000 in its place"));
  EXPECT_THAT(refusal("2x2147483647x1"), testing::HasSubstr("no number above 65536 in its place"));
  EXPECT_THAT(refusal("2x2147483647"), testing::HasSubstr("no number above 65536 in its place"));
  EXPECT_THAT(refusal("2x64x2147483647"), testing::HasSubstr("no number above 4096 in its place"));
}

TEST(ParseSizes, RefusesEverythingElse) {
  EXPECT_EQ(refusal("2x33"),
            "sizes: found '2x33', expected a shape of the ladder such as 2x32, or the heads too, as in "
            "2x33x1");
  const std::string last = std::to_string(ladder().size() - 1);
  EXPECT_THAT(refusal("ladder[99]"),
              testing::StartsWith("sizes: found 'ladder[99]', expected indices 0 to " + last));
  EXPECT_THAT(refusal("ladder[-99]"), testing::HasSubstr("expected indices 0 to " + last));
  EXPECT_THAT(refusal("ladder[5:5]"), testing::HasSubstr("expected a slice that is not empty"));
  EXPECT_THAT(refusal("ladder[5:2]"), testing::HasSubstr("expected a slice that is not empty"));
  EXPECT_THAT(refusal("ladder[99:]"), testing::HasSubstr("expected a slice that is not empty"));
  EXPECT_THAT(refusal("ladder[0:5:0]"), testing::HasSubstr("expected a step other than 0"));
  EXPECT_THAT(refusal("ladder[0:5:1:1]"), testing::HasSubstr("expected a slice such as"));
  EXPECT_THAT(refusal("ladder[a:5]"), testing::HasSubstr("expected whole numbers in a slice"));
  EXPECT_THAT(refusal("ladder[]"), testing::HasSubstr("expected indices 0 to"));
  EXPECT_THAT(refusal("ladder[99999999999]"), testing::HasSubstr("expected indices 0 to"));
  EXPECT_THAT(refusal("3x48x5"), testing::HasSubstr("expected a width that is a multiple of the heads"));
  for (const char* size :
       {"", "x", "2x", "x32", "2x32x", "2x32x2x2", "ladder", "ladder[0:5", "lader[0:5]", "0x32", "-1x32",
        "2x32x0", "2X32", "2 x 32", "2x32.0", "2x32h8", "99999999999x2x1"}) {
    EXPECT_THAT(refusal(size), testing::HasSubstr("expected a shape by name such as gpt3-125M or 2x32"))
        << size;
  }
  EXPECT_EQ(refusal("2x32\n").find('\n'), std::string::npos);
}

TEST(ParseSizes, ReadsTheShapesOfEveryFamily) {
  EXPECT_THAT(names({"gpt3[0:2]", "gopher[-1]", "chinchilla-70B"}),
              testing::ElementsAre("gpt3-125M", "gpt3-350M", "gopher-280B", "chinchilla-70B"));
  EXPECT_EQ(names({"chinchilla[:]"}).size(), 51u);
  const ModelConfig shape = parse_size("gpt3-1.3B");
  EXPECT_EQ(shape.family, "gpt3");
  EXPECT_EQ(shape.d_head, 128);
  EXPECT_EQ(shape.d_ff, 8192);
  EXPECT_THAT(names({"gopher-117M", "chinchilla-117M", "12x768x12"}), testing::ElementsAre("gopher-117M"))
      << "one shape under three names";
}

TEST(ParseSizes, SuggestsNames) {
  EXPECT_THAT(refusal("gpt-125M"), testing::EndsWith("3x48x6; did you mean gpt3-125M?"));
  EXPECT_THAT(refusal("chinchila[0:3]"), testing::EndsWith("3x48x6; did you mean chinchilla?"));
  EXPECT_THAT(refusal("gpt3"), testing::EndsWith("did you mean gpt3[:]?"));
  EXPECT_EQ(refusal("gopher[6]"),
            "sizes: found 'gopher[6]', expected indices 0 to 5 (gopher has 6 shapes, from gopher-44M to "
            "gopher-280B)");
  EXPECT_EQ(message_of<std::invalid_argument>([] { parse_size("gpt3[0:3]"); }),
            "one shape, and gpt3[0:3] has 3");
}

TEST(ShapeName, IsTheFamilysNameForItsShapesAlone) {
  ModelConfig config = parse_size("gpt3-125M");
  EXPECT_EQ(shape_name(config), "gpt3-125M");
  config.n_layers = 11;
  EXPECT_EQ(shape_name(config), "11x768x12");
  EXPECT_EQ(shape_name(shape(12, 768, 12)), "12x768x12") << "of no family by its label";
}

}  // namespace
}  // namespace minichilla::sizes_test
