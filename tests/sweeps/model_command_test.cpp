// minichilla model, and the shapes of families in sweeps and configs.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "model/sizes.h"
#include "tests/sweeps/run_command.h"
#include "tests/sweeps/sweep_fixture.h"
#include "trainer/files.h"

namespace minichilla::model_command_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using Json = nlohmann::json;

/// What `minichilla model …` prints.
std::string model(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "model");
  return run_command(add_model_command, arguments).output;
}

std::string refusal(const std::vector<std::string>& arguments) {
  return message_of<InputError>([&] { model(arguments); });
}

TEST(ModelCommand, ListsEveryFamily) {
  const std::string text = model({"list"});
  for (const char* part : {"1x12 ", "gpt3-175B ", "chinchilla-70B ", "1.5M to 3M", "gopher-44M ", "N-emb",
                           "vocabulary 50257, context 2048, attention dense, banded (window 512)"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  EXPECT_THAT(model({"list", "--family", "gpt3"}), AllOf(HasSubstr("gpt3-1.3B"), Not(HasSubstr("gopher"))));
}

TEST(ModelCommand, ListsAsJson) {
  const Json json = Json::parse(model({"list", "--family", "gpt3", "--json", "-"}));
  ASSERT_EQ(json.size(), 8u);
  EXPECT_EQ(json[0]["name"], "gpt3-125M");
  EXPECT_EQ(json[0]["params"], 125226240);
  EXPECT_EQ(json[0]["published"]["params"], 125e6);
  EXPECT_EQ(json[0]["published"]["learning_rate"], 6e-4);
  EXPECT_EQ(json[0]["flops_per_token_6n"], 6 * 125226240.0);
  EXPECT_GT(json[0]["training_bytes"]["bf16"]["total"], json[0]["training_bytes"]["fp32"]["total"]);
  const Json other = Json::parse(
      model({"list", "--family", "gpt3", "--vocabulary", "257", "--context", "64", "--json", "-"}));
  EXPECT_EQ(other[0]["params"], 125226240 - 768 * (50257 - 257) - 768 * (2048 - 64));
  EXPECT_EQ(other[0]["params_non_embedding"], json[0]["params_non_embedding"]);
  EXPECT_EQ(Json::parse(model({"list", "--family", "ladder", "--json", "-"}))[0]["published"], nullptr);
}

TEST(ModelCommand, ShowsOneModel) {
  EXPECT_THAT(
      model({"show", "gopher-44M"}),
      AllOf(HasSubstr("8 layers, d_model 512, 16 heads of 32, d_ff 2048"),
            HasSubstr("44M parameters (Rae et al. 2021, table 1), batch of 250k tokens, learning rate "
                      "0.0006"),
            HasSubstr("43.7M in the published architecture, which has relative positions"),
            HasSubstr("layers.*.attention.qkv.weight"), HasSubstr("2 + 4 + 4 + 8 = 18")));
  EXPECT_THAT(model({"show", "3x48x6"}), AllOf(HasSubstr("6 heads of 8"), Not(HasSubstr("published"))));
  const Json json = Json::parse(model({"show", "ladder[5]", "--json", "-"}));
  EXPECT_EQ(json["name"], "2x32");
  std::int64_t params = 0;
  for (const Json& group : json["tensors"]) params += group["params"].get<std::int64_t>();
  EXPECT_EQ(params, json["params"]);
}

TEST(ModelCommand, BadInputIsNamed) {
  EXPECT_THAT(refusal({"list", "--family", "gpt"}), HasSubstr("did you mean gpt3?"));
  EXPECT_THAT(refusal({"show", "gpt3-126M"}),
              AllOf(HasSubstr("found 'gpt3-126M', expected a YAML config or"), HasSubstr("gpt3-125M?")));
  EXPECT_THAT(refusal({"show", "gpt3[0:2]"}), HasSubstr("one shape, and gpt3[0:2] has 2"));
  EXPECT_THAT(refusal({"show", "nowhere.yaml"}), HasSubstr("nowhere.yaml: found no such file"));
  EXPECT_THAT(message_of<UsageError>([&] {
                model({"list", "--vocabulary", "0"});
              }),
              HasSubstr("--vocabulary"));
}

TEST(ModelCommand, HelpHasExamples) {
  for (const char* command : {"list", "show"}) {
    const std::string help = command_help(add_model_command, {"model", command});
    EXPECT_THAT(help, AllOf(HasSubstr("Example"), HasSubstr("minichilla model "))) << command;
  }
}

class ModelConfigFileTest : public SweepFixture {
 protected:
  std::string config(const std::string& text) const { return folder_.write("run.yaml", text).string(); }
  const std::string data_ = "\ndata: {corpus: " + corpus_folder().string() + "}\n";
};

TEST_F(ModelConfigFileTest, ShowsAConfigWithTheVocabularyOfItsCorpus) {
  const std::string file = config("model: {size: 3x48, context_length: 32}" + data_);
  Json json = Json::parse(model({"show", file, "--json", "-"}));
  EXPECT_EQ(json["name"], "3x48");
  EXPECT_EQ(json["vocabulary"], 257);
  EXPECT_EQ(json["context_length"], 32);
  json = Json::parse(model({"show", file, "--vocabulary", "1000", "--context", "16", "--json", "-"}));
  EXPECT_EQ(json["vocabulary"], 1000);
  EXPECT_EQ(json["context_length"], 16);
  EXPECT_THAT(refusal({"show", config("model: {size: 3x48}\ndata: {corpus: none}")}),
              HasSubstr("with --vocabulary V no corpus is needed"));
  EXPECT_THAT(refusal({"show", config("sweep: {kind: isoflop}")}), HasSubstr("minichilla sweep plan"));
}

/// The published hyperparameters as a config that the trainer takes, on a corpus of more than one batch.
TEST_F(ModelConfigFileTest, TheGpt3ConfigIsValid) {
  const YAML::Node map = load_yaml(MINICHILLA_SOURCE_DIR "/configs/gpt3_125m.yaml");
  RunConfig run;
  read_config(map, "gpt3_125m.yaml", run);
  PrepareOptions options;
  options.inputs = {folder_.write("long.txt", std::string(700'000, 'a') + "\n")};
  options.output = folder_ / "long";
  options.documents = "file";
  options.split = "position";
  options.val_fraction = 0.1;
  testing::internal::CaptureStderr();
  prepare_corpus(options);
  testing::internal::GetCapturedStderr();
  run = resolved(run, *open_corpus(folder_ / "long"));
  EXPECT_EQ(shape_name(run.model), "gpt3-125M");
  EXPECT_EQ(run.train.batch_tokens, 524288);
  EXPECT_EQ(run.train.optimizer.learning_rate, 6e-4);
  EXPECT_EQ(run.model.context_length, 2048);
}

TEST_F(ModelConfigFileTest, SweepsTakeTheShapesOfFamilies) {
  const SweepConfig config = read_sweep_config(
      YAML::Load(yaml("kind: grid, sizes: [2x32, 'gpt3[2:4]'], tokens: [1M]", "gradient_slots: 1")),
      "s.yaml");
  const Grid grid = expand(config, 257);
  ASSERT_EQ(grid.points.size(), 3u);
  EXPECT_EQ(grid.points[0].size.name, "2x32");
  EXPECT_EQ(grid.points[0].config.model.d_head, 16);
  EXPECT_EQ(grid.points[2].size.name, "gpt3-1.3B");
  EXPECT_EQ(grid.points[2].config.model.family, "gpt3");
  EXPECT_EQ(grid.points[2].config.model.d_head, 128) << "24 heads of 128 are wider than the model";
  EXPECT_EQ(grid.points[2].config.model.context_length, 16);
}

TEST_F(ModelConfigFileTest, ASweepsShapesAreNotGivenByModelSize) {
  const YAML::Node map =
      YAML::Load("model: {size: gpt3-125M}\nsweep: {kind: grid, sizes: [2x32], tokens: [1M]}");
  EXPECT_EQ(
      message_of<InputError>([&] { read_sweep_config(map, "s.yaml"); }),
      "s.yaml:1: model.size: found in a sweep, expected the shapes in sweep.sizes (kind list: size of a "
      "run)");
}

}  // namespace
}  // namespace minichilla::model_command_test
