// to_json and fit_from_json.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "tests/analysis/simulated_sweep.h"
#include "tests/temporary_folder.h"

namespace minichilla::fit_json_test {
namespace {

using testing::HasSubstr;

Fit small_fit() {
  SweepDesign design;
  design.noise = 0.005;
  FitOptions options;
  options.bootstrap = 20;
  RunTable table = simulated_sweep(design, 2);
  table.notes = {"one note"};
  return fit_all(table, options);
}

TEST(FitJson, RoundTrips) {
  const Fit fit = small_fit();
  const nlohmann::json json = to_json(fit);
  const Fit back = fit_from_json(nlohmann::json::parse(json.dump()), "fit.json");
  EXPECT_EQ(to_json(back).dump(), json.dump());
  EXPECT_EQ(back.parametric.resamples.size(), fit.parametric.resamples.size());
  EXPECT_EQ(back.flops_trend.slope, fit.flops_trend.slope);
  EXPECT_EQ(to_json(predict(back, 1e14)).dump(), to_json(predict(fit, 1e14)).dump());
}

TEST(FitJson, KeepsWeightsAndTheProfileOfA) {
  SweepDesign design;
  design.noise = 0.005;
  FitOptions options;
  options.bootstrap = 20;
  RunTable table = simulated_sweep(design, 2);
  table.runs[3].weight = 2;
  const Fit fit = fit_all(table, options);
  const nlohmann::json json = to_json(fit);
  const Fit back = fit_from_json(json, "fit.json");
  EXPECT_EQ(to_json(back).dump(), json.dump());
  EXPECT_EQ(back.isoflop.profiles[0].runs[3].weight, 2);
  const ProfileCurve& curve = back.parametric.profile_of_a;
  ASSERT_GT(curve.points.size(), 20u);
  EXPECT_EQ(curve.points, fit.parametric.profile_of_a.points);
  EXPECT_EQ(curve.at95, fit.parametric.profile_of_a.at95);
}

TEST(FitJson, RoundTripsRefusals) {
  RunTable table = simulated_sweep(SweepDesign{}, 1);
  table.runs.resize(3);
  table.curves.clear();
  const Fit fit = fit_all(table, {});
  const nlohmann::json json = to_json(fit);
  const Fit back = fit_from_json(json, "fit.json");
  EXPECT_EQ(to_json(back).dump(), json.dump());
  EXPECT_EQ(back.envelope.refused, fit.envelope.refused);
  EXPECT_NE(back.parametric.refused, "");
  EXPECT_FALSE(back.isoflop.profiles.at(0).used);
}

TEST(FitJson, HasTheDocumentedKeys) {
  const nlohmann::json json = to_json(small_fit());
  EXPECT_EQ(json.at("runs"), 24);
  const nlohmann::json& a = json.at("approaches").at("envelope").at("a");
  EXPECT_TRUE(a.at("value").is_number());
  EXPECT_EQ(a.at("ci80").size(), 2u);
  EXPECT_EQ(a.at("ci95").size(), 2u);
  const nlohmann::json& profile = json.at("approaches").at("isoflop").at("profiles").at(0);
  for (const char* key : {"flops", "params_opt", "tokens_opt", "loss_opt", "status", "reason"}) {
    EXPECT_TRUE(profile.contains(key)) << key;
  }
  const nlohmann::json& parametric = json.at("approaches").at("parametric");
  for (const char* key : {"E", "A", "B", "alpha", "beta", "a", "b", "G", "objective", "runs_used"}) {
    EXPECT_TRUE(parametric.contains(key)) << key;
  }
  EXPECT_TRUE(json.at("verdict").at("answer").is_string());
}

TEST(FitJson, RoundTripsTheOtherLaws) {
  SweepDesign design;
  design.noise = 0.005;
  FitOptions options;
  options.bootstrap = 20;
  RunTable table = simulated_sweep(design, 2);
  table.selection.where = {{"config", "a"}};
  table.dropped = 2;
  for (Observation& run : table.runs) run.batch_tokens = 512;
  const Fit fit = fit_all(table, options);
  const nlohmann::json json = to_json(fit);
  const Fit back = fit_from_json(json, "fit.json");
  EXPECT_EQ(to_json(back).dump(), json.dump());
  ASSERT_EQ(back.kaplan.size(), fit.kaplan.size());
  EXPECT_EQ(back.kaplan[3].at("alpha_N").value, fit.kaplan[3].at("alpha_N").value);
  EXPECT_EQ(back.parametric.profile.at("a").low80, fit.parametric.profile.at("a").low80);
  EXPECT_EQ(back.verdict.reasons, fit.verdict.reasons);
  EXPECT_EQ(back.selection.where, table.selection.where);
  EXPECT_EQ(back.dropped, 2);
  EXPECT_TRUE(json.at("approaches").at("isoflop").at("predicted_bias_a").at("value").is_number());
  EXPECT_TRUE(json.at("approaches").at("variable_projection").at("condition_number").is_number());
}

TEST(FitJson, ReadsFilesFromBeforeTheOtherLaws) {
  const Fit fit = small_fit();
  nlohmann::json json = to_json(fit);
  for (const char* key : {"selection", "held_out", "flop_accounting", "asked_for"}) json.erase(key);
  for (const char* key : {"variable_projection", "variable_projection_robust", "kaplan", "learning_rate",
                          "repeated_data", "overtraining"}) {
    json["approaches"].erase(key);
  }
  for (nlohmann::json& profile : json["approaches"]["isoflop"]["profiles"]) profile.erase("curve");
  const Fit back = fit_from_json(json, "fit.json");
  EXPECT_EQ(back.variable_projection.refused, kNotAskedFor);
  EXPECT_EQ(back.parametric.alpha.value, fit.parametric.alpha.value);
  const auto &before = fit.isoflop.profiles.at(0).curve, &after = back.isoflop.profiles.at(0).curve;
  ASSERT_EQ(after.size(), before.size());
  EXPECT_NEAR(after[30].second, before[30].second, 1e-9);
}

TEST(FitJson, NamesTheKeyThatIsMissingOrWrong) {
  const nlohmann::json good = to_json(small_fit());
  const auto error_of = [&](const std::string& pointer, const nlohmann::json& value) {
    nlohmann::json bad = good;
    bad[nlohmann::json::json_pointer(pointer)] = value;
    return message_of<InputError>([&] { fit_from_json(bad, "my.json"); });
  };
  EXPECT_THAT(error_of("/approaches/isoflop", nlohmann::json::object()),
              HasSubstr("my.json: no key approaches.isoflop.refused"));
  EXPECT_THAT(error_of("/approaches/parametric/alpha/value", "x"),
              HasSubstr("my.json: approaches.parametric.alpha.value: found \"x\", expected a number"));
  EXPECT_THAT(error_of("/approaches/parametric/resamples/0", {1, 2}),
              HasSubstr("resamples[0]: found an array of 2, expected a list of 5"));
  EXPECT_THAT(error_of("/approaches/isoflop/profiles/0/status", "maybe"), HasSubstr("profiles[0].status"));
  EXPECT_THAT(error_of("/format", 99), HasSubstr("format: found 99, expected format 1"));
  for (const nlohmann::json& runs : {nlohmann::json(1.5), nlohmann::json(-1), nlohmann::json(4294967297)}) {
    EXPECT_THAT(error_of("/runs", runs), HasSubstr("expected a whole number"));
  }
  EXPECT_THAT(error_of("/flops_per_6nd/range", {0, 1}), HasSubstr("positive"));
  for (const nlohmann::json& other : {nlohmann::json(3), nlohmann::json::array(), nlohmann::json::object()}) {
    EXPECT_THAT(message_of<InputError>([&] { fit_from_json(other, "my.json"); }), HasSubstr("no key format"));
  }
}

TEST(FitJson, BrokenTextGivesOneShortLine) {
  const auto error = [](const std::string& text) {
    return message_of<InputError>([&] { parse_fit(text, "my.json"); });
  };
  EXPECT_EQ(error("{\"format\": " + std::string(100000, '[') + std::string(100000, ']') + "}"),
            "my.json: format: found an array of 1, expected a whole number");
  const std::string torn = error("{\"format\": \"\x7f" + std::string(10000, 'x'));
  EXPECT_THAT(torn, HasSubstr("my.json: not JSON"));
  EXPECT_LT(torn.size(), 200u);
  EXPECT_EQ(torn.find('\x7f'), std::string::npos);
}

TEST(FitJson, AgreementIsToldByTheIntervals) {
  Fit fit;
  fit.envelope.refused = "no";
  EXPECT_FALSE(approaches_agree(fit));
  fit.isoflop.laws.a = {0.5, Interval80And95{0.48, 0.52, 0.46, 0.54}};
  EXPECT_FALSE(approaches_agree(fit));
  fit.parametric.a = {0.55, Interval80And95{0.54, 0.56, 0.53, 0.57}};
  EXPECT_EQ(approaches_agree(fit), true);
  fit.parametric.a.interval->low95 = 0.545;
  EXPECT_EQ(approaches_agree(fit), false);
}

}  // namespace
}  // namespace minichilla::fit_json_test
