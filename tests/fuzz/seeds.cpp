// Writes the inputs that the fuzz targets start from, FOLDER/<target>/<name>: what the project's own writers
// write. Inputs that are hostile by their size or depth, which mutations are slow to find and slow to mutate,
// go to FOLDER/hostile/<target>/<name>: they are to be read once.
#include <cctype>
#include <cmath>
#include <cstring>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "model/safetensors.h"
#include "sweeps/analysis/fit.h"
#include "sweeps/analysis/sweep_folder.h"
#include "sweeps/grid.h"
#include "sweeps/slurm_folder.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/sample_checkpoint.h"
#include "tests/model/safetensors_bytes.h"
#include "trainer/attempt.h"
#include "trainer/corpus_manifest.h"
#include "trainer/files.h"
#include "trainer/metrics_log.h"
#include "trainer/run_directory.h"
#include "trainer/token_shard.h"

namespace minichilla {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLargeSeed = 60'000;  ///< bytes; inputs end at 64 KiB
constexpr std::size_t kLongestWord = 32, kMostWords = 300;

std::string repeated(const std::string& text, std::size_t bytes = kLargeSeed) {
  std::string all;
  while (all.size() + text.size() <= bytes) all += text;
  return all;
}

class Seeds {
 public:
  explicit Seeds(fs::path folder) : folder_(std::move(folder)) {}

  void add(const std::string& target, const std::string& name, const std::string& content);
  void add_hostile(const std::string& target, const std::string& name, const std::string& content);
  /// TARGET.dict beside each target's folder: the words of its inputs, for libFuzzer to insert.
  void write_dictionaries() const;

  void add_configs();
  void add_hostile_configs();
  void add_json();
  void add_hostile_json(const std::string& target, const std::string& prefix);
  void add_corpus(const fs::path& scratch);
  void add_run(const fs::path& scratch);
  void add_tables();

 private:
  fs::path folder_;
  std::map<std::string, std::set<std::string>> words_;
};

void Seeds::add(const std::string& target, const std::string& name, const std::string& content) {
  fs::create_directories(folder_ / target);
  replace_file(folder_ / target / name, content);
  std::string word;
  for (const char letter : content + '\n') {
    if (std::isalnum(static_cast<unsigned char>(letter)) || letter == '_') {
      word += letter;
    } else {
      if (word.size() > 1 && word.size() < kLongestWord) words_[target].insert(word);
      word.clear();
    }
  }
}

void Seeds::add_hostile(const std::string& target, const std::string& name, const std::string& content) {
  fs::create_directories(folder_ / "hostile" / target);
  replace_file(folder_ / "hostile" / target / name, content);
}

void Seeds::write_dictionaries() const {
  for (const auto& [target, words] : words_) {
    std::string text;
    std::size_t count = 0;
    for (const std::string& word : words) {
      if (std::isalpha(static_cast<unsigned char>(word[0])) && ++count <= kMostWords)
        text += '"' + word + "\"\n";
    }
    replace_file(folder_ / (target + ".dict"), text);
  }
}

void Seeds::add_configs() {
  RunConfig run;
  run.data.corpus = "corpora/text";
  run.model.attention.pattern = {"dense", "banded"};
  add("config", "all_keys", yaml_text(write_config(run)));
  add("config", "carriage_return", "data: {corpus: text\r}\n");
  add("config", "one_key", "train: {tokens: 1.36M, checkpoint: {every: 10m}}\n");
  for (const fs::directory_entry& entry :
       fs::directory_iterator(fs::path(MINICHILLA_SOURCE_DIR) / "configs")) {
    const std::string text = read_file(entry.path());
    add(text.find("sweep:") == std::string::npos ? "config" : "sweep_config", entry.path().stem(), text);
  }
  add("sweep_config", "list",
      "sweep:\n  kind: list\n  runs: [{size: 3x48x6, tokens: 1M}, {budget: 1e12}]\n"
      "  axes: [{path: train.optimizer.learning_rate, values: [0.1, 0.2]}]\n");
  add("sweep_config", "rules",
      "sweep:\n  kind: grid\n  tokens: [1e6]\n  sizes: ['ladder[0:4:2]', 'ladder[-1]']\n  seeds: [1, 2]\n"
      "  rules: {learning_rate: '0.01*(16/d_model)^0.8', batch_tokens: 'min(8k, N/4)', warmup: 1/steps}\n");
  add("sweep_config", "isoflop",
      "sweep:\n  budgets: [1e10]\n  flops: flops_6nd\n  around: {params: 10e3*(C/1e11)^0.5, count: 3}\n");
  add("assignment", "some",
      "train.optimizer.learning_rate=0.01\nmodel.attention.pattern=[dense, banded]\nmodel={d_model: 64}\n"
      "train.schedule=&a {warmup: 0.1}\ndata.corpus='a b'\n");

  SweepConfig sweep;
  for (const std::string kind : {"isoflop", "grid", "list"}) {
    sweep.sweep.kind = kind;
    sweep.sweep.budgets = {1e10};
    sweep.sweep.tokens = {1e6};
    sweep.sweep.runs = {ListedRun{.size = "2x32", .tokens = 1000}};
    add("sweep_config", "all_keys_" + kind, yaml_text(write_config(sweep)));
  }
}

void Seeds::add_hostile_configs() {
  const std::string doubled = "&a [x, x], &b [*a, *a], &c [*b, *b], &d [*c, *c], &e [*d, *d], &f [*e, *e], ";
  for (const std::string target : {"config", "sweep_config"}) {
    for (const std::string part : {"[", "{", "{a: ", "? ", "- ", "a: \n ", "&a ", "*a ", "!a ", "'",
                                   "\"\\x41", "#", "a,", "[a]: ", "--- ", "%", "| ", "\t", ": "}) {
      add_hostile(target, "repeated_" + std::to_string(std::hash<std::string>{}(part)), repeated(part));
    }
    add_hostile(target, "long_key", repeated("a") + ": 1\n");
    add_hostile(target, "long_value", "data: {corpus: " + repeated("é") + "}\n");
    add_hostile(target, "doubled_aliases", "data: [" + doubled + "*f]\n");
    add_hostile(target, "alias_to_itself", "data: &a {corpus: *a}\n");
  }
  std::string keys;
  for (int i = 0; keys.size() < kLargeSeed; ++i) keys += "key" + std::to_string(i) + ": 1\n";
  add_hostile("config", "many_keys", keys);
  std::string sizes;
  for (int i = 1; sizes.size() < kLargeSeed; ++i) sizes += std::to_string(i) + "x64x4, ";
  add_hostile("sweep_config", "many_sizes", "sweep: {budgets: 1e10, sizes: [" + sizes + "]}\n");
  add_hostile("sweep_config", "large_sizes", "sweep: {budgets: 1e10, sizes: [2147483647x2147483647x1]}\n");
  add_hostile("sweep_config", "prime_width", "sweep: {budgets: 1e10, sizes: [2x2147483647]}\n");
  for (const std::string part : {"(", "-", "1+", "min(", "2^", "1k", "C", ","}) {
    add_hostile("sweep_config", "rule_" + std::to_string(std::hash<std::string>{}(part)),
                "sweep: {budgets: 1e10, around: {params: '" + repeated(part) + "'}}\n");
  }
  add_hostile("assignment", "deep", repeated("a.") + "a=1\n");
  add_hostile("assignment", "deep_value", "model=" + repeated("[") + "\n");
  add_hostile(
      "assignment", "doubled_aliases",
      "model=[" + doubled + "&g [*f, *f], &h [*g, *g], &i [*h, *h], &j [*i, *i], &k [*j, *j], &l [*k, *k], " +
          "&m [*l, *l], &n [*m, *m], &o [*n, *n], &p [*o, *o], &q [*p, *p], &r [*q, *q], &s [*r, *r], " +
          "&t [*s, *s], &u [*t, *t], &v [*u, *u], &w [*v, *v], *w]\n");
}

/// Documents that are deep, long or beyond a number's range.
void Seeds::add_hostile_json(const std::string& target, const std::string& prefix) {
  add_hostile(target, "deep_lists", prefix + repeated("[", kLargeSeed / 2) + repeated("]", kLargeSeed / 2));
  add_hostile(target, "deep_objects",
              prefix + repeated("{\"a\":", kLargeSeed / 6 * 5) + "1" + repeated("}", kLargeSeed / 6));
  add_hostile(target, "deep_format",
              prefix + "{\"format\":" + repeated("[", kLargeSeed / 2) + repeated("]", kLargeSeed / 2) + "}");
  add_hostile(target, "long_key", prefix + "{\"" + repeated("a") + "\": 1}");
  add_hostile(target, "long_format", prefix + "{\"format\": \"" + repeated("é") + "\"}");
  add_hostile(target, "large_number", prefix + "{\"format\": 1e999}");
  add_hostile(target, "many_numbers", prefix + "[" + repeated("1,") + "1]");
  add_hostile(target, "long_number", prefix + "{\"format\": " + repeated("9") + "}");
}

void Seeds::add_json() {
  for (const std::string target : {"manifest", "metrics", "result", "fit", "plan"})
    add_hostile_json(target, "");
  add_hostile_json("documents", "\2");
  add_hostile_json("attempt", {"\0", 1});
  add_hostile_json("attempt", "\1");
  add_hostile_json("checkpoint", "\2");

  MetricsRow step{.step = 1, .tokens = 512, .flops = 1e9, .loss = 5.5, .lr = 0.001, .grad_norm = 1.25};
  MetricsRow evaluation{.step = 1, .tokens = 512, .flops = 1e9, .loss = 5.25};
  evaluation.split = "val";
  evaluation.bits_per_byte = 2.5;
  add("metrics", "rows", metrics_line(step) + "\n" + metrics_line(evaluation) + "\n");
  evaluation.midway_loss = 5.125;
  add("metrics", "last_row", metrics_line(evaluation) + "\n");

  RunResult result;
  result.run_id = "2x32-1.36M-s1-9f86d081";
  result.status = "done";
  result.device = "cpu";
  result.version = MINICHILLA_VERSION;
  add("result", "done", result_json(result));
  add("documents", "paragraphs", std::string(1, '\0') + "one\n\ntwo\r\n");
  add("documents", "file", "\1one\n\ntwo");
  add("documents", "records",
      "\2{\"text\": \"one\"}\n\n{\"text\": \"\\ud83d\\ude00\", \"other\": [1, {}]}\n");
}

void Seeds::add_corpus(const fs::path& scratch) {
  const std::vector<std::int32_t> ids = {0, 1, 255, 256, 65};
  int number = 0;
  for (const int vocabulary : {257, 65536, 70000}) {
    ShardWriter writer(scratch / "shard", vocabulary);
    std::vector<char> stored;
    store_ids(ids, vocabulary, stored);
    writer.add(stored);
    writer.close();
    add("shard", std::to_string(vocabulary),
        std::string(1, static_cast<char>(number++)) + read_file(scratch / "shard"));
  }
  const std::string hash(64, 'a');
  CorpusManifest manifest;
  manifest.tokenizer = "bytes";
  manifest.vocabulary = 257;
  manifest.splits = {{"train", 12, 10, 2, hash, {{"train-0.bin", 8, hash}, {"train-1.bin", 4, hash}}},
                     {"val", 5, 4, 1, hash, {{"val-0.bin", 5, hash}}}};
  manifest.sources = {{"text.txt", 14, hash}};
  manifest.options = {"paragraphs", "text", "blocks", 0.1, 0, 1 << 20};
  manifest.hash = identity_of(manifest);
  add("manifest", "two_splits", manifest_text(manifest));
  manifest.tokenizer = "sentencepiece";
  manifest.vocabulary = 1024;
  manifest.tokenizer_model = {"bpe", 1 << 24, hash};
  manifest.hash = identity_of(manifest);
  add("manifest", "subwords", manifest_text(manifest));
}

void Seeds::add_run(const fs::path& scratch) {
  const ParameterTable table = fuzz::sample_table();
  fuzz::save_sample_checkpoint(scratch, table);
  const fs::path checkpoint = scratch / "checkpoints" / "7";
  char chosen = 0;
  for (const char* file : {"model.safetensors", "optimizer.safetensors", "state.json", "complete"}) {
    add("checkpoint", file, std::string(1, chosen++) + read_file(checkpoint / file));
  }
  add("safetensors", "model", read_file(checkpoint / "model.safetensors"));
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  add("safetensors", "two_tensors",
      safetensors_bytes(std::vector<NamedTensor>{{"a", {2, 3}, values}, {"b", {0}, {}}}, {{"key", "value"}}));
  std::string forged = safetensors_bytes({}, {});
  std::memset(forged.data(), 0xff, 6);
  add("safetensors", "forged_length", forged);

  Attempt attempt(scratch);
  attempt.finish("interrupted", "asked to stop");
  add("attempt", "outcome", std::string(1, '\0') + read_file(attempt.folder() / "outcome.json"));
  add("attempt", "owner", "\1" + read_file(attempt.folder() / "owner.json"));
}

void Seeds::add_tables() {
  RunTable table;
  for (const double N : {1e4, 2e4, 4e4}) {
    const std::string run = "run, " + std::to_string(table.runs.size());
    table.runs.push_back({N, 1e6, 6e6 * N, 4.5, 1e11, run, 3});
    table.curves.push_back({run, N, {{5e5, 3e6 * N, 5}, {1e6, 6e6 * N, 4.5}}});
  }
  add("csv", "runs", runs_csv(table));
  add("csv", "curves", curves_csv(table));
  add("csv", "batches", "loss_target,batch_tokens,steps\n3,512,1e4\n3,1024,6e3\n");
  add("csv", "short", "# source\nN,D,loss\n1e6, 2e7 ,3.5\n\n\"1e6\",3e7,3.25\n");
  std::string columns;
  for (int i = 0; columns.size() < kLargeSeed; ++i) columns += std::to_string(i) + ",";
  add_hostile("csv", "many_columns", columns);
  add_hostile("csv", "long_column", "N,D,loss," + repeated("é") + "\n");
  add_hostile("csv", "many_rows", "N,D,loss\n" + repeated("1,2,3\n"));
  add_hostile("csv", "quotes", "N,D,loss\n" + repeated("\""));

  Fit fit;
  fit.source = "results/sweep";
  fit.runs = 3;
  fit.envelope.laws.a = {0.5, Interval80And95{0.4, 0.6, 0.3, 0.7}};
  fit.envelope.laws.coefficient_params.value = fit.envelope.laws.coefficient_tokens.value = 0.1;
  fit.envelope.laws.b = fit.envelope.laws.a;
  fit.envelope.laws.resamples = {{0.5, 0.5, 0.1, 0.1}};
  fit.envelope.frontier = {{1e11, 1e4, 1e6, 4.5, "run"}};
  IsoflopProfile profile;
  profile.C = 1e11;
  profile.used = true;
  profile.runs = table.runs;
  fit.isoflop.profiles = {profile};
  fit.isoflop.laws = fit.envelope.laws;
  fit.parametric.E.value = 1.5;
  fit.parametric.A.value = fit.parametric.B.value = 400;
  fit.parametric.alpha.value = fit.parametric.beta.value = 0.3;
  fit.parametric.resamples = {{1.5, 400, 400, 0.3, 0.3}};
  fit.parametric.profile["E"] = {1.2, 1.7, -INFINITY, 1.8};
  LawFit law;
  law.name = "L_N";
  law.equation = "L = (N_c/N)^alpha_N";
  law.constants = {{"alpha_N", fit.envelope.laws.a}};
  fit.kaplan = {law};
  fit.held_out = HeldOut{1e12, true, 3, 0.01, 0.02, {}, {}};
  fit.accountings = {{"6ND", 0.5, 0.5}};
  fit.predictions = {{"isoflop", 1e12, {1e4, {}}, {1e6, {}}, Estimate{3.5, {}}, {}}};
  fit.notes = {"a note"};
  fit.answer = "an answer";
  add("fit", "estimates", to_json(fit).dump());
  fit.envelope.refused = fit.isoflop.refused = fit.parametric.refused = "too few runs";
  fit.isoflop.profiles[0].used = false;
  add("fit", "refusals", to_json(fit).dump());
}

void write_all(const fs::path& folder) {
  const fuzz::Scratch scratch;
  Seeds seeds(folder);
  seeds.add_configs();
  seeds.add_hostile_configs();
  seeds.add_json();
  seeds.add_corpus(scratch.path());
  seeds.add_run(scratch.path());
  seeds.add_tables();
  PlannedRun planned;
  planned.run_id = "2x32-1.36M-s1-9f86d081";
  planned.kind = "isoflop";
  planned.size = "2x32";
  write_plan(scratch.path(), {planned});
  seeds.add("plan", "one_run", read_file(scratch.path() / "plan.json"));
  seeds.add("slurm", "squeue",
            "1_0|2|1|PENDING|Resources|0:00|1-01:00:00||mine-1f\n7|7|7|RUNNING|None|0:03|UNLIMITED|n1|m\n");
  seeds.add("slurm", "scontrol",
            "JobId=2 JobState=TIMEOUT Restarts=1 RunTime=00:01:03 TimeLimit=00:01:00 PreemptTime=None\n");
  fs::create_directories(slurm_folder(scratch.path()));
  append_slurm_record(scratch.path(), {"workers", "12", 64, 8, 0.25});
  seeds.add("slurm", "jobs", read_file(slurm_folder(scratch.path()) / "jobs.jsonl"));
  seeds.add_hostile_json("slurm", "");
  seeds.write_dictionaries();
}

}  // namespace
}  // namespace minichilla

int main(int count, char** arguments) {
  if (count != 2) {
    std::cerr << "usage: fuzz_seeds FOLDER\n";
    return 2;
  }
  minichilla::write_all(arguments[1]);
}
