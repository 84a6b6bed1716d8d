// to_json and fit_from_json of fit.h and predict.h: fit.json and predictions, as docs/fitting.md describes
// them.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "model/quote.h"
#include "sweeps/analysis/fit.h"
#include "sweeps/analysis/fit_reader.h"
#include "sweeps/analysis/predict.h"
#include "trainer/json_fields.h"

namespace minichilla {
namespace {

using nlohmann::json;

constexpr int kFitFormat = 1;

void write_interval(const Interval80And95& interval, json& out) {
  out["ci80"] = {interval.low80, interval.high80};
  out["ci95"] = {interval.low95, interval.high95};
}

std::optional<Interval80And95> read_interval(const FitReader& in) {
  if (!in.has("ci80")) return std::nullopt;
  const std::vector<double> ci80 = in.at("ci80").numbers(2), ci95 = in.at("ci95").numbers(2);
  return Interval80And95{ci80[0], ci80[1], ci95[0], ci95[1]};
}

json write(const Estimate& estimate) {
  json out = {{"value", estimate.value}};
  if (estimate.interval) write_interval(*estimate.interval, out);
  return out;
}

Estimate read_estimate(const FitReader& in) {
  return {in.at("value").number(), read_interval(in)};
}

void write_laws(const PowerLaws& laws, json& out) {
  out["a"] = write(laws.a);
  out["b"] = write(laws.b);
  out["coefficient_params"] = write(laws.coefficient_params);
  out["coefficient_tokens"] = write(laws.coefficient_tokens);
  out["resamples"] = json::array();
  for (const PowerLaws::Resample& one : laws.resamples) {
    out["resamples"].push_back({one.a, one.b, one.coefficient_params, one.coefficient_tokens});
  }
}

PowerLaws read_laws(const FitReader& in) {
  PowerLaws laws;
  laws.a = read_estimate(in.at("a"));
  laws.b = read_estimate(in.at("b"));
  laws.coefficient_params = read_estimate(in.at("coefficient_params"));
  laws.coefficient_tokens = read_estimate(in.at("coefficient_tokens"));
  laws.resamples = in.at("resamples").list<PowerLaws::Resample>([](const FitReader& item) {
    const std::vector<double> v = item.numbers(4);
    return PowerLaws::Resample{v[0], v[1], v[2], v[3]};
  });
  return laws;
}

json write(const EnvelopeFit& fit) {
  json out = {{"refused", fit.refused}, {"notes", fit.notes}};
  out["frontier"] = json::array();
  for (const FrontierPoint& p : fit.frontier) {
    out["frontier"].push_back(
        json{{"flops", p.C}, {"params", p.N}, {"tokens", p.D}, {"loss", p.loss}, {"run", p.run}});
  }
  out["other_readings"] = json::array();
  for (const FrontierLaw& law : fit.other_readings) {
    out["other_readings"].push_back(json{{"method", law.method},
                                         {"with_edges", law.with_edges},
                                         {"a", {{"value", law.a}}},
                                         {"b", {{"value", law.b}}},
                                         {"points", law.points},
                                         {"sizes", law.sizes},
                                         {"dropped", law.dropped},
                                         {"unfinished", law.unfinished}});
  }
  if (fit.refused.empty()) write_laws(fit.laws, out);
  return out;
}

FrontierLaw read_frontier_law(const FitReader& in) {
  FrontierLaw law;
  law.method = in.at("method").text();
  law.with_edges = in.at("with_edges").flag();
  law.a = read_estimate(in.at("a")).value;
  law.b = read_estimate(in.at("b")).value;
  law.points = in.at("points").count();
  law.sizes = in.at("sizes").count();
  law.dropped = in.at("dropped").count();
  law.unfinished = in.at("unfinished").count();
  return law;
}

EnvelopeFit read_envelope(const FitReader& in) {
  EnvelopeFit fit;
  fit.refused = in.at("refused").text();
  fit.notes = in.at("notes").texts();
  fit.frontier = in.at("frontier").list<FrontierPoint>([](const FitReader& p) {
    return FrontierPoint{p.at("flops").number(), p.at("params").number(), p.at("tokens").number(),
                         p.at("loss").number(), p.at("run").text()};
  });
  if (in.has("other_readings"))
    fit.other_readings = in.at("other_readings").list<FrontierLaw>(read_frontier_law);
  if (fit.refused.empty()) fit.laws = read_laws(in);
  return fit;
}

json write(const Observation& run) {
  json out = {{"run", run.run},   {"params", run.N},      {"tokens", run.D}, {"flops", run.C},
              {"loss", run.loss}, {"budget", run.budget}, {"seed", run.seed}};
  if (run.weight != 1) out["weight"] = run.weight;
  return out;
}

Observation read_observation(const FitReader& in) {
  Observation run{};
  run.run = in.at("run").text();
  run.N = in.at("params").number();
  run.D = in.at("tokens").number();
  run.C = in.at("flops").number();
  run.loss = in.at("loss").number();
  run.budget = in.at("budget").number();
  run.seed = in.at("seed").whole();
  if (in.has("weight")) run.weight = in.at("weight").number();
  return run;
}

/// Of a profile likelihood: an end that is not bounded is null.
json write_open(const Interval80And95& interval) {
  const auto end = [](double value) { return std::isfinite(value) ? json(value) : json(nullptr); };
  return {{"ci80", {end(interval.low80), end(interval.high80)}},
          {"ci95", {end(interval.low95), end(interval.high95)}}};
}

Interval80And95 read_open(const FitReader& in) {
  const auto ends = [&](const char* key) {
    const std::vector<FitReader> items = in.at(key).items();
    if (items.size() != 2) in.at(key).fail("a list of 2 numbers or nulls");
    return std::pair{items[0].is_null() ? -INFINITY : items[0].number(),
                     items[1].is_null() ? INFINITY : items[1].number()};
  };
  const auto [low80, high80] = ends("ci80");
  const auto [low95, high95] = ends("ci95");
  return {low80, high80, low95, high95};
}

std::optional<Estimate> read_optional(const FitReader& in, const char* key) {
  if (!in.has(key)) return std::nullopt;
  return read_estimate(in.at(key));
}

json write(const IsoflopProfile& profile) {
  json out = {
      {"flops", profile.C}, {"status", profile.used ? "used" : "refused"}, {"reason", profile.reason}};
  if (profile.used) {
    out["params_opt"] = write(profile.params_opt);
    out["tokens_opt"] = write(profile.tokens_opt);
    out["loss_opt"] = write(profile.loss_opt);
  }
  out["parabola"] = {profile.quadratic, profile.linear, profile.constant};
  out["window"] = {profile.smallest_N, profile.largest_N};
  out["curve"] = json::array();
  for (const auto& [N, loss] : profile.curve) out["curve"].push_back({N, loss});
  out["runs"] = json::array();
  for (const Observation& run : profile.runs) out["runs"].push_back(write(run));
  return out;
}

/// What files of older versions have in place of a curve.
std::vector<std::pair<double, double>> curve_of_parabola(const IsoflopProfile& profile) {
  constexpr int kPoints = 61;
  std::vector<std::pair<double, double>> curve;
  if (profile.quadratic == 0 || !(profile.smallest_N > 0)) return curve;
  for (int i = 0; i < kPoints; ++i) {
    const double x =
        std::lerp(std::log(profile.smallest_N), std::log(profile.largest_N), i / (kPoints - 1.0));
    curve.emplace_back(std::exp(x), (profile.quadratic * x + profile.linear) * x + profile.constant);
    if (!std::isfinite(curve.back().first) || !std::isfinite(curve.back().second)) return {};
  }
  return curve;
}

std::pair<double, double> read_point(const FitReader& in) {
  const std::vector<double> v = in.numbers(2);
  return {v[0], v[1]};
}

IsoflopProfile read_profile(const FitReader& in) {
  IsoflopProfile profile;
  profile.C = in.at("flops").number();
  const std::string status = in.at("status").text();
  if (status != "used" && status != "refused") in.at("status").fail("used or refused");
  profile.used = status == "used";
  profile.reason = in.at("reason").text();
  if (profile.used) {
    profile.params_opt = read_estimate(in.at("params_opt"));
    profile.tokens_opt = read_estimate(in.at("tokens_opt"));
    profile.loss_opt = read_estimate(in.at("loss_opt"));
  }
  const std::vector<double> parabola = in.at("parabola").numbers(3), window = in.at("window").numbers(2);
  profile.quadratic = parabola[0];
  profile.linear = parabola[1];
  profile.constant = parabola[2];
  profile.smallest_N = window[0];
  profile.largest_N = window[1];
  profile.runs = in.at("runs").list<Observation>(read_observation);
  if (!in.has("curve")) {
    profile.curve = curve_of_parabola(profile);
  } else {
    profile.curve = in.at("curve").list<std::pair<double, double>>(read_point);
  }
  return profile;
}

json write(const IsoflopFit& fit) {
  json out = {{"refused", fit.refused}, {"notes", fit.notes}};
  out["profiles"] = json::array();
  for (const IsoflopProfile& profile : fit.profiles) out["profiles"].push_back(write(profile));
  out["interpolation"] = name_of(fit.interpolation);
  out["log_loss"] = fit.log_loss;
  if (fit.predicted_bias_a) out["predicted_bias_a"] = write(*fit.predicted_bias_a);
  if (fit.predicted_bias_a_used) out["predicted_bias_a_used"] = write(*fit.predicted_bias_a_used);
  if (fit.refused.empty()) write_laws(fit.laws, out);
  return out;
}

Interpolation read_interpolation(const FitReader& in) {
  const std::string name = in.text();
  for (const Interpolation one : {Interpolation::windowed, Interpolation::parabola, Interpolation::akima}) {
    if (name == name_of(one)) return one;
  }
  in.fail("windowed, parabola or akima");
}

IsoflopFit read_isoflop(const FitReader& in) {
  IsoflopFit fit;
  fit.refused = in.at("refused").text();
  fit.notes = in.at("notes").texts();
  fit.profiles = in.at("profiles").list<IsoflopProfile>(read_profile);
  if (in.has("interpolation")) fit.interpolation = read_interpolation(in.at("interpolation"));
  if (in.has("log_loss")) fit.log_loss = in.at("log_loss").flag();
  fit.predicted_bias_a = read_optional(in, "predicted_bias_a");
  fit.predicted_bias_a_used = read_optional(in, "predicted_bias_a_used");
  if (fit.refused.empty()) fit.laws = read_laws(in);
  return fit;
}

/// The scalars of approach 3 by their names in the file.
template <class ParametricFitType>
auto scalars_of(ParametricFitType& fit) {
  using Scalar = std::pair<const char*, decltype(&fit.E)>;
  return std::vector<Scalar>{{"E", &fit.E},       {"A", &fit.A}, {"B", &fit.B}, {"alpha", &fit.alpha},
                             {"beta", &fit.beta}, {"a", &fit.a}, {"b", &fit.b}, {"G", &fit.G}};
}

json write(const ParametricFit& fit) {
  json out = {{"refused", fit.refused}, {"notes", fit.notes}};
  if (!fit.refused.empty()) return out;
  for (const auto& [name, estimate] : scalars_of(fit)) out[name] = write(*estimate);
  out["objective"] = fit.objective;
  out["runs_used"] = fit.runs_used;
  out["resamples"] = json::array();
  for (const auto& one : fit.resamples)
    out["resamples"].push_back({one.E, one.A, one.B, one.alpha, one.beta});
  out["profile"] = json::object();
  for (const auto& [name, interval] : fit.profile) out["profile"][name] = write_open(interval);
  if (!fit.profile_of_a.points.empty()) {
    out["profile_of_a"] = {{"points", fit.profile_of_a.points},
                           {"at80", fit.profile_of_a.at80},
                           {"at95", fit.profile_of_a.at95}};
  }
  if (fit.condition_number > 0 && std::isfinite(fit.condition_number + fit.condition_number_projected)) {
    out["condition_number"] = fit.condition_number;
    out["condition_number_projected"] = fit.condition_number_projected;
  }
  return out;
}

ParametricFit read_parametric(const FitReader& in) {
  ParametricFit fit;
  fit.refused = in.at("refused").text();
  fit.notes = in.at("notes").texts();
  if (!fit.refused.empty()) return fit;
  for (const auto& [name, estimate] : scalars_of(fit)) *estimate = read_estimate(in.at(name));
  fit.objective = in.at("objective").number();
  fit.runs_used = in.at("runs_used").count();
  fit.resamples = in.at("resamples").list<ParametricFit::Surface>([](const FitReader& item) {
    const std::vector<double> v = item.numbers(5);
    return ParametricFit::Surface{v[0], v[1], v[2], v[3], v[4]};
  });
  if (in.has("profile")) {
    const FitReader profile = in.at("profile");
    for (const char* name : {"E", "alpha", "beta", "a"}) {
      if (profile.has(name)) fit.profile[name] = read_open(profile.at(name));
    }
  }
  if (in.has("profile_of_a")) {
    const FitReader profile = in.at("profile_of_a");
    fit.profile_of_a = {profile.at("points").list<std::pair<double, double>>(read_point),
                        profile.at("at80").number(), profile.at("at95").number()};
  }
  if (in.has("condition_number")) {
    fit.condition_number = in.at("condition_number").number();
    fit.condition_number_projected = in.at("condition_number_projected").number();
  }
  return fit;
}

json write(const LawFit& law) {
  json out = {{"equation", law.equation}, {"refused", law.refused}, {"notes", law.notes}};
  if (!law.refused.empty()) return out;
  out["constants"] = json::array();  // their order is the law's
  for (const auto& [name, estimate] : law.constants) {
    out["constants"].push_back(name);
    out[name] = write(estimate);
  }
  out["profile"] = json::object();
  for (const auto& [name, interval] : law.profile) out["profile"][name] = write_open(interval);
  out["objective"] = law.objective;
  out["runs_used"] = law.runs_used;
  return out;
}

LawFit read_law(const FitReader& in, const std::string& name) {
  LawFit law;
  law.name = name;
  law.equation = in.at("equation").text();
  law.refused = in.at("refused").text();
  law.notes = in.at("notes").texts();
  if (!law.refused.empty()) return law;
  for (const std::string& constant : in.at("constants").texts()) {
    for (const char* key :
         {"equation", "refused", "notes", "constants", "profile", "objective", "runs_used"}) {
      if (constant == key) in.at("constants").fail("names of constants");
    }
    law.constants.emplace_back(constant, read_estimate(in.at(constant)));
  }
  for (const std::string& constant : in.at("profile").keys()) {
    law.profile[constant] = read_open(in.at("profile").at(constant));
  }
  law.objective = in.at("objective").number();
  law.runs_used = in.at("runs_used").count();
  return law;
}

json write(const std::vector<LawFit>& laws) {
  json out = json::object();
  out["laws"] = json::array();
  for (const LawFit& law : laws) {
    out["laws"].push_back(law.name);
    out[law.name] = write(law);
  }
  return out;
}

std::vector<LawFit> read_laws_of(const FitReader& in) {
  std::vector<LawFit> laws;
  for (const std::string& name : in.at("laws").texts()) {
    if (name == "laws") in.at("laws").fail("names of laws");
    laws.push_back(read_law(in.at(name), name));
  }
  return laws;
}

void read_selection(const FitReader& in, Fit& fit) {
  const auto pair = [](const FitReader& item) {
    const std::vector<std::string> texts = item.texts();
    if (texts.size() != 2) item.fail("a list of two texts");
    return std::pair{texts[0], texts[1]};
  };
  fit.selection.where = in.at("where").list<std::pair<std::string, std::string>>(pair);
  fit.selection.columns = in.at("columns").list<std::pair<std::string, std::string>>(pair);
  fit.selection.every_row = in.at("every_row").flag();
  fit.dropped = in.at("drop_highest_loss").count();
  if (!in.has("flops")) return;
  fit.flop_count = in.at("flops").text();
  const std::vector<std::string>& known = flop_count_names();
  if (std::find(known.begin(), known.end(), fit.flop_count) == known.end()) {
    in.at("flops").fail("given, 6nd, exact or hoffmann");
  }
}

json write(const Verdict& verdict) {
  const auto& agree = verdict.approaches_agree;
  return {{"believed", verdict.believed},
          {"reasons", verdict.reasons},
          {"approaches_agree", agree ? json(*agree) : json(nullptr)}};
}

Verdict read_verdict(const FitReader& in) {
  Verdict verdict;
  if (in.has("believed")) verdict.believed = in.at("believed").text();
  if (in.has("reasons")) verdict.reasons = in.at("reasons").texts();
  if (const FitReader agree = in.at("approaches_agree"); !agree.is_null())
    verdict.approaches_agree = agree.flag();
  return verdict;
}

/// The figures of HeldOut that may be missing, by their names in the file.
template <class HeldOutType>
auto figures_of(HeldOutType& held) {
  using Figure = std::pair<const char*, decltype(&held.loss_error)>;
  return std::vector<Figure>{{"loss_error", &held.loss_error},
                             {"loss_error_rms", &held.loss_error_rms},
                             {"params_predicted", &held.params_predicted},
                             {"params_found", &held.params_found}};
}

json write(const HeldOut& held) {
  json out = {{"flops", held.C}, {"budget", held.budget}, {"runs", held.runs}};
  for (const auto& [name, figure] : figures_of(held)) {
    if (*figure) out[name] = **figure;
  }
  return out;
}

HeldOut read_held_out(const FitReader& in) {
  HeldOut held;
  held.C = in.at("flops").number();
  held.budget = in.at("budget").flag();
  held.runs = in.at("runs").count();
  for (const auto& [name, figure] : figures_of(held)) {
    if (in.has(name)) *figure = in.at(name).number();
  }
  return held;
}

json write(const Optimum& optimum) {
  json out = {{"approach", optimum.approach}, {"flops", {{"value", optimum.C}}}};
  if (optimum.C_interval) write_interval(*optimum.C_interval, out["flops"]);
  out["params"] = write(optimum.N);
  out["tokens"] = write(optimum.D);
  if (optimum.loss) out["loss"] = write(*optimum.loss);
  return out;
}

Optimum read_optimum(const FitReader& in) {
  const Estimate C = read_estimate(in.at("flops"));
  Optimum optimum{in.at("approach").text(),       C.value, read_estimate(in.at("params")),
                  read_estimate(in.at("tokens")), {},      C.interval};
  if (in.has("loss")) optimum.loss = read_estimate(in.at("loss"));
  return optimum;
}

}  // namespace

json to_json(const Estimate& estimate) {
  return write(estimate);
}

json to_json(const Fit& fit) {
  json out = {{"format", kFitFormat}, {"source", fit.source}, {"runs", fit.runs}};
  out["selection"] = {{"where", fit.selection.where},
                      {"columns", fit.selection.columns},
                      {"every_row", fit.selection.every_row},
                      {"drop_highest_loss", fit.dropped},
                      {"flops", fit.flop_count}};
  out["flops"] = {fit.smallest_C, fit.largest_C};
  out["flops_per_6nd"] = {{"mean", fit.flops_per_6nd},
                          {"intercept", fit.flops_trend.intercept},
                          {"slope", fit.flops_trend.slope},
                          {"range", {fit.flops_trend.smallest, fit.flops_trend.largest}}};
  out["approaches"] = json{{"envelope", write(fit.envelope)},
                           {"isoflop", write(fit.isoflop)},
                           {"parametric", write(fit.parametric)},
                           {"variable_projection", write(fit.variable_projection)},
                           {"variable_projection_robust", write(fit.variable_projection_robust)},
                           {"kaplan", write(fit.kaplan)},
                           {"learning_rate", write(fit.learning_rate)},
                           {"repeated_data", write(fit.repeated_data)},
                           {"overtraining", write(fit.overtraining)}};
  out["asked_for"] = fit.asked_for;
  out["predictions"] = to_json(fit.predictions);
  out["notes"] = fit.notes;
  out["verdict"] = write(fit.verdict);
  out["verdict"]["answer"] = fit.answer;
  if (fit.held_out) out["held_out"] = write(*fit.held_out);
  out["flop_accounting"] = json::array();
  for (const Accounting& one : fit.accountings) {
    out["flop_accounting"].push_back(
        json{{"count", one.name}, {"a", {{"value", one.a}}}, {"b", {{"value", one.b}}}});
  }
  return out;
}

json to_json(const std::vector<Optimum>& optima) {
  json out = json::array();
  for (const Optimum& optimum : optima) out.push_back(write(optimum));
  return out;
}

json to_json(const std::vector<Allocation>& allocations, const std::string& approach) {
  json out = json::array();
  for (const Allocation& one : allocations) {
    out.push_back({{"approach", approach},
                   {"flops", write(Estimate{one.C, {}})},
                   {"params", write(Estimate{one.N, {}})},
                   {"tokens", write(Estimate{one.D, {}})},
                   {"loss", write(one.loss)},
                   {"least_flops", write(one.least_C)},
                   {"cost", write(one.cost)}});
  }
  return out;
}

Fit fit_from_json(const json& value, const std::string& file) {
  const FitReader in(value, file, "");
  if (const int format = in.at("format").count(); format != kFitFormat) {
    in.at("format").fail("format " + std::to_string(kFitFormat));
  }
  Fit fit;
  fit.source = in.at("source").text();
  fit.runs = in.at("runs").count();
  if (in.has("selection")) read_selection(in.at("selection"), fit);
  const std::vector<double> flops = in.at("flops").numbers(2);
  fit.smallest_C = flops[0];
  fit.largest_C = flops[1];
  const FitReader ratio = in.at("flops_per_6nd");
  const std::vector<double> range = ratio.at("range").numbers(2);
  fit.flops_per_6nd = ratio.at("mean").number();
  fit.flops_trend = {ratio.at("intercept").number(), ratio.at("slope").number(), range[0], range[1]};
  if (!(range[0] > 0 && range[0] <= range[1])) ratio.at("range").fail("two positive numbers, ascending");
  const FitReader approaches = in.at("approaches");
  fit.envelope = read_envelope(approaches.at("envelope"));
  fit.isoflop = read_isoflop(approaches.at("isoflop"));
  fit.parametric = read_parametric(approaches.at("parametric"));
  // Files of older versions have the first three only.
  for (const auto& [name, one] : {std::pair{"variable_projection", &fit.variable_projection},
                                  {"variable_projection_robust", &fit.variable_projection_robust}}) {
    one->refused = kNotAskedFor;
    if (approaches.has(name)) *one = read_parametric(approaches.at(name));
  }
  if (approaches.has("kaplan")) fit.kaplan = read_laws_of(approaches.at("kaplan"));
  if (approaches.has("learning_rate")) fit.learning_rate = read_laws_of(approaches.at("learning_rate"));
  for (const auto& [name, one] :
       {std::pair{"repeated_data", &fit.repeated_data}, {"overtraining", &fit.overtraining}}) {
    one->name = name;
    one->refused = kNotAskedFor;
    if (approaches.has(name)) *one = read_law(approaches.at(name), name);
  }
  if (in.has("asked_for")) fit.asked_for = in.at("asked_for").texts();
  fit.predictions = in.at("predictions").list<Optimum>(read_optimum);
  fit.notes = in.at("notes").texts();
  fit.answer = in.at("verdict").at("answer").text();
  fit.verdict = read_verdict(in.at("verdict"));
  if (in.has("held_out")) fit.held_out = read_held_out(in.at("held_out"));
  if (in.has("flop_accounting")) {
    fit.accountings = in.at("flop_accounting").list<Accounting>([](const FitReader& row) {
      return Accounting{row.at("count").text(), read_estimate(row.at("a")).value,
                        read_estimate(row.at("b")).value};
    });
  }
  return fit;
}

Fit parse_fit(const std::string& content, const std::string& file) {
  json value;
  try {
    value = json::parse(content);
  } catch (const json::exception& error) {
    throw InputError(file + ": not JSON: " + printable(error.what()));
  }
  return fit_from_json(value, file);
}

}  // namespace minichilla
