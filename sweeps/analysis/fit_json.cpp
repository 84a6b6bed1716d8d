// to_json and fit_from_json of fit.h and predict.h: fit.json and predictions, as docs/fitting.md describes
// them.
#include <limits>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "model/quote.h"
#include "sweeps/analysis/fit.h"
#include "sweeps/analysis/predict.h"
#include "trainer/json_fields.h"

namespace minichilla {
namespace {

using nlohmann::json;

constexpr int kFitFormat = 1;

/// A place in the file: the value, and its path for messages ("approaches.isoflop.a").
class Reader {
 public:
  Reader(const json& value, std::string file, std::string path)
      : value_(value), file_(std::move(file)), path_(std::move(path)) {}

  Reader at(const std::string& key) const {
    if (!has(key)) {
      throw InputError(file_ + ": no key " + joined(key) + ", expected a file that 'minichilla fit' wrote");
    }
    return {value_.at(key), file_, joined(key)};
  }
  bool has(const std::string& key) const { return value_.is_object() && value_.contains(key); }

  double number() const {
    if (!value_.is_number()) fail("a number");
    return value_.get<double>();
  }
  std::int64_t whole() const {
    constexpr auto kLargest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (!value_.is_number_integer() ||
        (value_.is_number_unsigned() && value_.get<std::uint64_t>() > kLargest)) {
      fail("a whole number");
    }
    return value_.get<std::int64_t>();
  }
  int count() const {
    constexpr int kLargest = std::numeric_limits<int>::max();
    const std::int64_t number = whole();
    if (number < 0 || number > kLargest) fail("a whole number from 0 to " + std::to_string(kLargest));
    return static_cast<int>(number);
  }
  std::string text() const {
    if (!value_.is_string()) fail("a text");
    return value_.get<std::string>();
  }
  bool flag() const {
    if (!value_.is_boolean()) fail("true or false");
    return value_.get<bool>();
  }
  std::vector<Reader> items() const {
    if (!value_.is_array()) fail("a list");
    std::vector<Reader> readers;
    for (std::size_t i = 0; i < value_.size(); ++i) {
      readers.emplace_back(value_[i], file_, path_ + "[" + std::to_string(i) + "]");
    }
    return readers;
  }
  template <class Item, class Read>
  std::vector<Item> list(Read read) const {
    std::vector<Item> result;
    for (const Reader& item : items()) result.push_back(read(item));
    return result;
  }
  std::vector<std::string> texts() const {
    return list<std::string>([](const Reader& item) { return item.text(); });
  }
  /// A list of exactly `count` numbers.
  std::vector<double> numbers(std::size_t count) const {
    std::vector<double> result = list<double>([](const Reader& item) { return item.number(); });
    if (result.size() != count) fail("a list of " + std::to_string(count) + " numbers");
    return result;
  }
  [[noreturn]] void fail(const std::string& expected) const {
    throw InputError(file_ + ": " + (path_.empty() ? "the whole" : path_) + ": found " + found_json(value_) +
                     ", expected " + expected);
  }

 private:
  std::string joined(const std::string& key) const { return path_.empty() ? key : path_ + "." + key; }
  const json& value_;
  std::string file_, path_;
};

void write_interval(const Interval80And95& interval, json& out) {
  out["ci80"] = {interval.low80, interval.high80};
  out["ci95"] = {interval.low95, interval.high95};
}

std::optional<Interval80And95> read_interval(const Reader& in) {
  if (!in.has("ci80")) return std::nullopt;
  const std::vector<double> ci80 = in.at("ci80").numbers(2), ci95 = in.at("ci95").numbers(2);
  return Interval80And95{ci80[0], ci80[1], ci95[0], ci95[1]};
}

json write(const Estimate& estimate) {
  json out = {{"value", estimate.value}};
  if (estimate.interval) write_interval(*estimate.interval, out);
  return out;
}

Estimate read_estimate(const Reader& in) {
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

PowerLaws read_laws(const Reader& in) {
  PowerLaws laws;
  laws.a = read_estimate(in.at("a"));
  laws.b = read_estimate(in.at("b"));
  laws.coefficient_params = read_estimate(in.at("coefficient_params"));
  laws.coefficient_tokens = read_estimate(in.at("coefficient_tokens"));
  laws.resamples = in.at("resamples").list<PowerLaws::Resample>([](const Reader& item) {
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
  if (fit.refused.empty()) write_laws(fit.laws, out);
  return out;
}

EnvelopeFit read_envelope(const Reader& in) {
  EnvelopeFit fit;
  fit.refused = in.at("refused").text();
  fit.notes = in.at("notes").texts();
  fit.frontier = in.at("frontier").list<FrontierPoint>([](const Reader& p) {
    return FrontierPoint{p.at("flops").number(), p.at("params").number(), p.at("tokens").number(),
                         p.at("loss").number(), p.at("run").text()};
  });
  if (fit.refused.empty()) fit.laws = read_laws(in);
  return fit;
}

json write(const Observation& run) {
  return {{"run", run.run},   {"params", run.N},      {"tokens", run.D}, {"flops", run.C},
          {"loss", run.loss}, {"budget", run.budget}, {"seed", run.seed}};
}

Observation read_observation(const Reader& in) {
  Observation run{};
  run.run = in.at("run").text();
  run.N = in.at("params").number();
  run.D = in.at("tokens").number();
  run.C = in.at("flops").number();
  run.loss = in.at("loss").number();
  run.budget = in.at("budget").number();
  run.seed = in.at("seed").whole();
  return run;
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
  out["runs"] = json::array();
  for (const Observation& run : profile.runs) out["runs"].push_back(write(run));
  return out;
}

IsoflopProfile read_profile(const Reader& in) {
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
  return profile;
}

json write(const IsoflopFit& fit) {
  json out = {{"refused", fit.refused}, {"notes", fit.notes}};
  out["profiles"] = json::array();
  for (const IsoflopProfile& profile : fit.profiles) out["profiles"].push_back(write(profile));
  if (fit.refused.empty()) write_laws(fit.laws, out);
  return out;
}

IsoflopFit read_isoflop(const Reader& in) {
  IsoflopFit fit;
  fit.refused = in.at("refused").text();
  fit.notes = in.at("notes").texts();
  fit.profiles = in.at("profiles").list<IsoflopProfile>(read_profile);
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
  return out;
}

ParametricFit read_parametric(const Reader& in) {
  ParametricFit fit;
  fit.refused = in.at("refused").text();
  fit.notes = in.at("notes").texts();
  if (!fit.refused.empty()) return fit;
  for (const auto& [name, estimate] : scalars_of(fit)) *estimate = read_estimate(in.at(name));
  fit.objective = in.at("objective").number();
  fit.runs_used = in.at("runs_used").count();
  fit.resamples = in.at("resamples").list<ParametricFit::Surface>([](const Reader& item) {
    const std::vector<double> v = item.numbers(5);
    return ParametricFit::Surface{v[0], v[1], v[2], v[3], v[4]};
  });
  return fit;
}

json write(const Optimum& optimum) {
  json out = {{"approach", optimum.approach}, {"flops", {{"value", optimum.C}}}};
  if (optimum.C_interval) write_interval(*optimum.C_interval, out["flops"]);
  out["params"] = write(optimum.N);
  out["tokens"] = write(optimum.D);
  if (optimum.loss) out["loss"] = write(*optimum.loss);
  return out;
}

Optimum read_optimum(const Reader& in) {
  const Estimate C = read_estimate(in.at("flops"));
  Optimum optimum{in.at("approach").text(),       C.value, read_estimate(in.at("params")),
                  read_estimate(in.at("tokens")), {},      C.interval};
  if (in.has("loss")) optimum.loss = read_estimate(in.at("loss"));
  return optimum;
}

}  // namespace

json to_json(const Fit& fit) {
  json out = {{"format", kFitFormat}, {"source", fit.source}, {"runs", fit.runs}};
  out["flops"] = {fit.smallest_C, fit.largest_C};
  out["flops_per_6nd"] = {{"mean", fit.flops_per_6nd},
                          {"intercept", fit.flops_trend.intercept},
                          {"slope", fit.flops_trend.slope},
                          {"range", {fit.flops_trend.smallest, fit.flops_trend.largest}}};
  out["approaches"] = json{{"envelope", write(fit.envelope)},
                           {"isoflop", write(fit.isoflop)},
                           {"parametric", write(fit.parametric)}};
  out["predictions"] = to_json(fit.predictions);
  out["notes"] = fit.notes;
  const std::optional<bool> agree = approaches_agree(fit);
  out["verdict"] = {{"answer", fit.answer}, {"approaches_agree", agree ? json(*agree) : json(nullptr)}};
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
  const Reader in(value, file, "");
  if (const int format = in.at("format").count(); format != kFitFormat) {
    in.at("format").fail("format " + std::to_string(kFitFormat));
  }
  Fit fit;
  fit.source = in.at("source").text();
  fit.runs = in.at("runs").count();
  const std::vector<double> flops = in.at("flops").numbers(2);
  fit.smallest_C = flops[0];
  fit.largest_C = flops[1];
  const Reader ratio = in.at("flops_per_6nd");
  const std::vector<double> range = ratio.at("range").numbers(2);
  fit.flops_per_6nd = ratio.at("mean").number();
  fit.flops_trend = {ratio.at("intercept").number(), ratio.at("slope").number(), range[0], range[1]};
  if (!(range[0] > 0 && range[0] <= range[1])) ratio.at("range").fail("two positive numbers, ascending");
  const Reader approaches = in.at("approaches");
  fit.envelope = read_envelope(approaches.at("envelope"));
  fit.isoflop = read_isoflop(approaches.at("isoflop"));
  fit.parametric = read_parametric(approaches.at("parametric"));
  fit.predictions = in.at("predictions").list<Optimum>(read_optimum);
  fit.notes = in.at("notes").texts();
  fit.answer = in.at("verdict").at("answer").text();
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
