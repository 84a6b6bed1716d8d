#include "model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/error.h"
#include "tests/model/shape.h"
#include "tests/temporary_folder.h"

namespace minichilla::config_test {
namespace {

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

/// The lines that the run id's hash is made of: whoever adds a key changes every run id.
TEST(ModelConfig, WritesTheKeysThatRunIdsRestOn) {
  EXPECT_EQ(
      yaml_text(write_config(resolved(ModelConfig{}))),
      "family: custom\nn_layers: 2\nd_model: 32\nn_heads: 2\nd_head: 16\nd_ff: 128\ncontext_length: 64\n"
      "initial_std: 0.02\nattention:\n  pattern: [dense]\n  window: 16\n");
}

TEST(ModelConfig, SizeStandsForTheShape) {
  ModelConfig config;
  read_config(YAML::Load("{context_length: 32, size: gpt3-1.3B}"), "m.yaml", config);
  ModelConfig written;
  read_config(YAML::Load("{context_length: 32, family: gpt3, n_layers: 24, d_model: 2048, n_heads: 24, "
                         "d_head: 128, d_ff: 8192}"),
              "m.yaml", written);
  EXPECT_EQ(yaml_text(write_config(config)), yaml_text(write_config(written)));
  EXPECT_EQ(yaml_text(write_config(config)).find("size"), std::string::npos);
}

TEST(ModelConfig, SizeRefusesWhatItStandsFor) {
  ModelConfig config;
  const auto refusal = [&](const char* yaml) {
    return message_of<InputError>([&] { read_config(YAML::Load(yaml), "m.yaml", config); });
  };
  EXPECT_EQ(refusal("size: 2x32\nn_layers: 3"),
            "m.yaml:2: n_layers: found beside size, which stands for it, expected one of the two");
  EXPECT_THAT(
      refusal("size: gpt3-126M"),
      testing::AllOf(testing::StartsWith("m.yaml:1: size: found 'gpt3-126M', expected a shape by name"),
                     testing::EndsWith("did you mean gpt3-125M?")));
  EXPECT_EQ(refusal("size: 'ladder[0:3]'"),
            "m.yaml:1: size: found 'ladder[0:3]', expected one shape, and ladder[0:3] has 3");
}

}  // namespace
}  // namespace minichilla::config_test
