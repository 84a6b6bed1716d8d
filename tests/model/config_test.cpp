#include "model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/error.h"
#include "model/parameters.h"
#include "tests/temporary_folder.h"

namespace minichilla {
namespace {

ModelConfig shape(int n_layers, int d_model, int n_heads, int d_head = 0, int d_ff = 0) {
  ModelConfig config;
  config.n_layers = n_layers;
  config.d_model = d_model;
  config.n_heads = n_heads;
  config.d_head = d_head;
  config.d_ff = d_ff;
  return config;
}

std::vector<std::string> names(const std::vector<std::string>& sizes) {
  std::vector<std::string> result;
  for (const ModelConfig& config : parse_sizes(sizes)) result.push_back(shape_name(config));
  return result;
}

std::string refusal(const std::string& size) {
  return message_of<InputError>([&] { parse_sizes({size}); });
}

TEST(Resolved, FillsWhatWasLeftOut) {
  ModelConfig config = shape(2, 48, 3);
  config.context_length = 66;
  config = resolved(config);
  EXPECT_EQ(config.d_head, 16);
  EXPECT_EQ(config.d_ff, 192);
  EXPECT_EQ(config.attention.window, 16);
  config.context_length = 3;
  config.attention.window = 0;
  EXPECT_EQ(resolved(config).attention.window, 1);
}

TEST(Resolved, KeepsWhatWasGivenAndIsIdempotent) {
  ModelConfig config = shape(2, 48, 5, 7, 11);
  config.attention = {{"banded", "dense"}, 1000};
  config = resolved(config);
  EXPECT_EQ(config.d_head, 7);
  EXPECT_EQ(config.d_ff, 11);
  EXPECT_EQ(config.attention.window, 1000);
  EXPECT_EQ(yaml_text(write_config(resolved(config))), yaml_text(write_config(config)));
}

TEST(Resolved, RefusesShapesThatAreNone) {
  EXPECT_EQ(message_of<InputError>([] { resolved(shape(2, 48, 5)); }),
            "model.n_heads: found 5, expected a divisor of d_model = 48, or d_head given");
  EXPECT_EQ(message_of<InputError>([] { resolved(shape(0, 48, 3)); }),
            "model.n_layers: found 0, expected at least 1");
  EXPECT_EQ(message_of<InputError>([] { resolved(shape(1, 48, 0)); }),
            "model.n_heads: found 0, expected at least 1");
  EXPECT_EQ(message_of<InputError>([] { resolved(shape(1, 0, 1)); }),
            "model.d_model: found 0, expected at least 1");
  EXPECT_EQ(message_of<InputError>([] { resolved(shape(1, 8, 1, -1)); }),
            "model.d_head: found -1, expected at least 0");
  ModelConfig config = shape(1, 8, 1);
  config.initial_std = -0.5;
  EXPECT_EQ(message_of<InputError>([&] { resolved(config); }),
            "model.initial_std: found -0.5, expected a number of at least 0");
  config = shape(1, 8, 1);
  config.attention.pattern = {"dense", "strided"};
  EXPECT_EQ(message_of<InputError>([&] { resolved(config); }),
            "model.attention.pattern: found 'strided', expected dense or banded");
  config.attention.pattern.clear();
  EXPECT_EQ(message_of<InputError>([&] { resolved(config); }),
            "model.attention.pattern: found an empty list, expected dense, banded or both");
}

TEST(ModelConfig, PatternRepeatsOverTheLayers) {
  ModelConfig config = shape(5, 16, 2);
  config.attention = {{"dense", "banded", "banded"}, 5};
  const bool dense[] = {true, false, false, true, false};
  for (int layer = 0; layer < 5; ++layer) {
    EXPECT_EQ(config.layer_pattern(layer).is_dense(64), dense[layer]) << layer;
    if (!dense[layer]) {
      EXPECT_EQ(config.layer_pattern(layer).window(), 5);
    }
  }
}

TEST(ModelConfig, ReadsFromYamlWithItsOwnMessages) {
  ModelConfig config;
  read_config(YAML::Load("{family: ladder, d_model: 40, n_heads: 5, attention: {pattern: [dense, banded]}}"),
              "m.yaml", config);
  EXPECT_EQ(config.head_width(), 8);
  EXPECT_THAT(config.attention.pattern, testing::ElementsAre("dense", "banded"));
  EXPECT_THAT(message_of<InputError>([&] { read_config(YAML::Load("n_layer: 1"), "m.yaml", config); }),
              testing::AllOf(testing::StartsWith("m.yaml:1: n_layer: found an unknown key, expected one of"),
                             testing::EndsWith("did you mean n_layers?")));
  EXPECT_EQ(
      message_of<InputError>([&] { read_config(YAML::Load("attention: {window: -1}"), "m.yaml", config); }),
      "m.yaml:1: attention.window: found '-1', expected a whole number from 0 to 16777216");
}

TEST(Ladder, HoldsTheMeasuredShapes) {
  for (const char* name : {"1x16", "2x16", "2x24", "2x32", "3x40", "3x48", "3x64", "4x96"}) {
    EXPECT_THAT(names({"ladder[:]"}), testing::Contains(name));
  }
}

TEST(Ladder, AscendsInEvenStepsFromFiveThousandParameters) {
  std::int64_t before = 0;
  for (ModelConfig rung : ladder_shapes()) {
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
      for (ModelConfig rung : ladder_shapes()) {
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
  ASSERT_EQ(all.size(), ladder_shapes().size());
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

TEST(ParseSizes, RefusesEverythingElse) {
  EXPECT_EQ(refusal("2x33"),
            "sizes: found '2x33', expected a shape of the ladder such as 2x32, or the heads too, as in "
            "2x33x1");
  const std::string last = std::to_string(ladder_shapes().size() - 1);
  EXPECT_THAT(refusal("ladder[99]"),
              testing::StartsWith("sizes: found 'ladder[99]', expected rungs 0 to " + last));
  EXPECT_THAT(refusal("ladder[-99]"), testing::HasSubstr("expected rungs 0 to " + last));
  EXPECT_THAT(refusal("ladder[5:5]"), testing::HasSubstr("expected a slice that is not empty"));
  EXPECT_THAT(refusal("ladder[5:2]"), testing::HasSubstr("expected a slice that is not empty"));
  EXPECT_THAT(refusal("ladder[99:]"), testing::HasSubstr("expected a slice that is not empty"));
  EXPECT_THAT(refusal("ladder[0:5:0]"), testing::HasSubstr("expected a step other than 0"));
  EXPECT_THAT(refusal("ladder[0:5:1:1]"), testing::HasSubstr("expected a slice such as"));
  EXPECT_THAT(refusal("ladder[a:5]"), testing::HasSubstr("expected whole numbers in a slice"));
  EXPECT_THAT(refusal("ladder[]"), testing::HasSubstr("expected rungs 0 to"));
  EXPECT_THAT(refusal("ladder[99999999999]"), testing::HasSubstr("expected rungs 0 to"));
  EXPECT_THAT(refusal("3x48x5"), testing::HasSubstr("expected a width that is a multiple of the heads"));
  for (const char* size :
       {"", "x", "2x", "x32", "2x32x", "2x32x2x2", "ladder", "ladder[0:5", "lader[0:5]", "0x32", "-1x32",
        "2x32x0", "2X32", "2 x 32", "2x32.0", "2x32h8", "99999999999x2x1"}) {
    EXPECT_THAT(refusal(size), testing::HasSubstr("expected a slice of the ladder such as ladder[0:5]"))
        << size;
  }
  EXPECT_EQ(refusal("2x32\n").find('\n'), std::string::npos);
}

}  // namespace
}  // namespace minichilla
