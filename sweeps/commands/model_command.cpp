// minichilla model: the named shapes, and what a model of any shape or config holds and costs.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "model/families.h"
#include "model/flops.h"
#include "model/quote.h"
#include "model/sizes.h"
#include "model/training_bytes.h"
#include "sweeps/commands/commands.h"
#include "sweeps/commands/json_output.h"
#include "sweeps/text_table.h"
#include "trainer/corpus.h"
#include "trainer/progress_line.h"

namespace minichilla {
namespace {

using Json = nlohmann::ordered_json;
using Align = TextTable::Align;

struct ModelOptions {
  std::string family, name, json_file;
  int vocabulary = 0, context_length = 0;  ///< 0: the family's, or the config's
};

/// A model with all that is told about it.
struct Model {
  std::string name;
  ModelConfig config;  ///< resolved
  int vocabulary;
  const Family* family = nullptr;      ///< nullptr: of no family
  const FamilyShape* shape = nullptr;  ///< set with `family`
  ParameterTable table;
  FlopsPerToken flops;

  Model(std::string its_name, const ModelConfig& model, int tokens)
      : name(std::move(its_name)),
        config(model),
        vocabulary(tokens),
        table(model, tokens),
        flops(flops_per_token(model, tokens)) {}
  double params() const { return static_cast<double>(table.params()); }
  double params_non_embedding() const { return static_cast<double>(table.params_non_embedding()); }
};

void link_family(Model& model) {
  model.shape = find_shape(model.name);
  if (model.shape) model.family = &find_family(model.shape->model.family);
}

/// A shape at its family's setting (that of the ladder for shapes of no family), as far as the options leave
/// it.
Model model_of(const ModelConfig& shape, const ModelOptions& options) {
  const Family& home = find_family(shape.family == "custom" ? "ladder" : shape.family);
  ModelConfig config = shape;
  config.context_length = options.context_length > 0 ? options.context_length : home.context_length;
  config.attention.pattern = home.attention;
  Model model(shape_name(shape), resolved(config),
              options.vocabulary > 0 ? options.vocabulary : home.vocabulary);
  link_family(model);
  return model;
}

/// The model of a run's config; the vocabulary is the corpus' unless the options give one.
Model model_of_file(const ModelOptions& options) {
  const YAML::Node map = load_yaml(options.name);
  if (map.IsMap() && map["sweep"]) {
    throw InputError(options.name +
                     ": sweep: found a sweep, expected the config of one run; minichilla sweep plan shows "
                     "every model of a sweep");
  }
  RunConfig run;
  read_config(map, options.name, run);
  if (options.context_length > 0) run.model.context_length = options.context_length;
  int vocabulary = options.vocabulary;
  try {
    run.model = resolved(run.model);
    if (vocabulary == 0) vocabulary = open_corpus(run.data.corpus)->vocabulary();
  } catch (const InputError& error) {
    throw InputError(options.name + ": " + error.what() +
                     (vocabulary == 0 ? "; with --vocabulary V no corpus is needed" : ""));
  }
  Model model(shape_name(run.model), run.model, vocabulary);
  link_family(model);
  return model;
}

bool is_file_name(const std::string& name) {
  return name.ends_with(".yaml") || name.ends_with(".yml") || name.find('/') != std::string::npos ||
         std::filesystem::is_regular_file(name);
}

Model model_named(const ModelOptions& options) {
  if (is_file_name(options.name)) return model_of_file(options);
  try {
    return model_of(parse_size(options.name), options);
  } catch (const std::invalid_argument& error) {
    throw InputError("NAME: found " + quote(options.name) + ", expected a YAML config or " + error.what());
  }
}

std::string setting(int vocabulary, const ModelConfig& config) {
  std::string attention;
  bool banded = false;
  for (const std::string& kind : config.attention.pattern) {
    attention += (attention.empty() ? "" : ", ") + kind;
    banded = banded || kind == "banded";
  }
  return "vocabulary " + std::to_string(vocabulary) + ", context " + std::to_string(config.context_length) +
         ", attention " + attention +
         (banded ? " (window " + std::to_string(config.attention.window) + ")" : "");
}

std::string batch_text(const FamilyShape& shape) {
  if (shape.batch_tokens == 0) return "";
  return format_count(shape.batch_tokens) +
         (shape.final_batch_tokens > 0 ? " to " + format_count(shape.final_batch_tokens) : "");
}

std::string bytes_text(std::int64_t bytes) {
  return bytes > 0 ? format_bytes(static_cast<std::uint64_t>(bytes)) : "-";
}

std::string or_dash(const std::string& text) {
  return text.empty() ? "-" : text;
}

/// Bytes per parameter as a sum: "2 + 4 + 4 + 8 = 18".
std::string bytes_sum(const TrainingBytes& bytes) {
  std::string text;
  for (const std::int64_t part : {bytes.weights, bytes.master, bytes.gradients, bytes.moments}) {
    if (part > 0) text += (text.empty() ? "" : " + ") + std::to_string(part);
  }
  return text + " = " + std::to_string(bytes.total());
}

// --- JSON -------------------------------------------------------------------------------------------------

Json published_json(const Model& model) {
  if (!model.shape || model.shape->printed_params.empty()) return nullptr;
  const FamilyShape& shape = *model.shape;
  const auto given = [](double value) { return value > 0 ? Json(value) : Json(nullptr); };
  return {{"source", model.family->source},
          {"params", parse_quantity(shape.printed_params)},
          {"params_of_its_architecture", published_architecture_params(*model.family, shape)},
          {"batch_tokens", given(shape.batch_tokens)},
          {"final_batch_tokens", given(shape.final_batch_tokens)},
          {"learning_rate", given(shape.learning_rate)}};
}

Json bytes_json(const ParameterTable& table) {
  Json json;
  for (const TrainingBytes& bytes : training_bytes(table)) {
    json[bytes.precision] = {{"weights", bytes.weights},
                             {"master", bytes.master},
                             {"gradients", bytes.gradients},
                             {"moments", bytes.moments},
                             {"total", bytes.total()}};
  }
  return json;
}

Json model_json(const Model& model) {
  const ModelConfig& config = model.config;
  return {{"name", model.name},
          {"family", config.family},
          {"n_layers", config.n_layers},
          {"d_model", config.d_model},
          {"n_heads", config.n_heads},
          {"d_head", config.d_head},
          {"d_ff", config.d_ff},
          {"context_length", config.context_length},
          {"attention", {{"pattern", config.attention.pattern}, {"window", config.attention.window}}},
          {"vocabulary", model.vocabulary},
          {"params", model.table.params()},
          {"params_non_embedding", model.table.params_non_embedding()},
          {"flops_per_token", model.flops.flops},
          {"flops_per_token_hoffmann", model.flops.flops_hoffmann},
          {"flops_per_token_6n", model.flops.flops_6nd},
          {"training_bytes", bytes_json(model.table)},
          {"published", published_json(model)}};
}

// --- list -------------------------------------------------------------------------------------------------

/// A family's heading: whose shapes they are and what their numbers are counted at.
std::string heading(const Family& family, const Model& first) {
  return family.title + " (" + family.source + "): " + setting(first.vocabulary, first.config);
}

void add_row(TextTable& table, const Model& model) {
  const FamilyShape& shape = *model.shape;
  std::vector<std::string> cells = {model.name,
                                    std::to_string(model.config.n_layers),
                                    std::to_string(model.config.d_model),
                                    std::to_string(model.config.n_heads),
                                    std::to_string(model.config.d_head),
                                    format_count(model.params()),
                                    format_count(model.params_non_embedding()),
                                    or_dash(shape.printed_params),
                                    format_count(model.flops.flops),
                                    format_count(model.flops.flops_hoffmann)};
  for (const TrainingBytes& bytes : training_bytes(model.table)) cells.push_back(bytes_text(bytes.total()));
  cells.push_back(or_dash(batch_text(shape)));
  cells.push_back(shape.learning_rate > 0 ? format_short(shape.learning_rate) : "-");
  table.add(std::move(cells));
}

const char* const kListNote =
    "N: parameters in this program's architecture; N-emb: without embeddings. FLOPs: training, per token, as "
    "done here;\nHoffmann: as Hoffmann et al. 2022 count them. fp32, bf16: bytes of weights, gradients and "
    "both moments in training,\nwithout activations. Differences from the published N: docs/models.md. One "
    "model in detail: minichilla model show NAME\n";

void run_list(const ModelOptions& options) {
  TextTable table({{"name", Align::left},
                   {"layers"},
                   {"d_model"},
                   {"heads"},
                   {"d_head"},
                   {"N"},
                   {"N-emb"},
                   {"published"},
                   {"FLOPs"},
                   {"Hoffmann"},
                   {"fp32"},
                   {"bf16"},
                   {"batch"},
                   {"rate"}});
  const std::vector<std::string> names =
      options.family.empty() ? family_names() : std::vector<std::string>{options.family};
  Json json = Json::array();
  for (const std::string& name : names) {
    const Family& family = find_family(name);
    for (const FamilyShape& shape : family.shapes) {
      const Model model = model_of(shape.model, options);
      if (&shape == &family.shapes.front()) table.add_line(heading(family, model));
      add_row(table, model);
      json.push_back(model_json(model));
    }
  }
  if (options.json_file != "-") std::printf("%s%s", table.text().c_str(), kListNote);
  write_json(options.json_file, json);
}

// --- show -------------------------------------------------------------------------------------------------

/// Tensors of the same name and shape in all layers.
struct TensorGroup {
  std::string name;  ///< "layers.*.attention.qkv.weight"
  std::string shape;
  std::int64_t tensors = 0, params = 0;
  bool decayed;
};

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const std::int64_t length : shape) text += (text.empty() ? "" : " x ") + std::to_string(length);
  return text;
}

std::vector<TensorGroup> tensor_groups(const ParameterTable& table) {
  std::vector<TensorGroup> groups;
  for (const ParameterTensor& tensor : table.tensors()) {
    std::string name = tensor.name;
    if (name.starts_with("layers.")) name = "layers.*" + name.substr(name.find('.', 7));
    auto group = std::find_if(groups.begin(), groups.end(),
                              [&](const TensorGroup& other) { return other.name == name; });
    if (group == groups.end()) {
      groups.push_back({name, shape_text(tensor.shape), 0, 0, tensor.decayed});
      group = groups.end() - 1;
    }
    ++group->tensors;
    group->params += tensor.count();
  }
  return groups;
}

void print_tensors(const Model& model) {
  TextTable table(
      {{"tensor", Align::left}, {"shape", Align::left}, {"tensors"}, {"params"}, {"share"}, {"decay"}});
  for (const TensorGroup& group : tensor_groups(model.table)) {
    const auto params = static_cast<double>(group.params);
    table.add({group.name, group.shape, std::to_string(group.tensors), format_count(params),
               format_fixed(100 * params / model.params(), 1) + " %", group.decayed ? "yes" : "no"});
  }
  std::printf("\n%s", table.text().c_str());
}

void print_bytes(const Model& model) {
  TextTable table({{"precision", Align::left},
                   {"weights"},
                   {"master"},
                   {"gradients"},
                   {"moments"},
                   {"total"},
                   {"bytes per parameter", Align::left}});
  const std::vector<TrainingBytes> all = training_bytes(model.table);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const TrainingBytes& bytes = all[i];
    table.add({bytes.precision, bytes_text(bytes.weights), bytes_text(bytes.master),
               bytes_text(bytes.gradients), bytes_text(bytes.moments), bytes_text(bytes.total()),
               bytes_sum(bytes_per_parameter()[i])});
  }
  std::printf(
      "\n%sone gradient slot, without activations; master: the fp32 weights that AdamW updates beside bf16 "
      "ones\n",
      table.text().c_str());
}

void print_published(const Model& model) {
  if (!model.shape || model.shape->printed_params.empty()) return;
  const FamilyShape& shape = *model.shape;
  std::printf("published    %s parameters (%s)", shape.printed_params.c_str(), model.family->source.c_str());
  if (shape.batch_tokens > 0) {
    std::printf(", batch of %s tokens, learning rate %s", batch_text(shape).c_str(),
                format_short(shape.learning_rate).c_str());
  }
  const auto params = static_cast<double>(published_architecture_params(*model.family, shape));
  std::printf("\n             %s in the published architecture", format_count(params).c_str());
  if (model.family->relative_positions) std::printf(", which has relative positions");
  std::printf(" (vocabulary %d, context %d)\n", model.family->vocabulary, model.family->context_length);
}

void print_model(const Model& model) {
  const ModelConfig& config = model.config;
  std::printf("model        %s: %d layers, d_model %d, %d heads of %d, d_ff %d\n", model.name.c_str(),
              config.n_layers, config.d_model, config.n_heads, config.d_head, config.d_ff);
  std::printf("at           %s\n", setting(model.vocabulary, config).c_str());
  print_published(model);
  std::printf("parameters   %s, %s without embeddings\n", format_count(model.params()).c_str(),
              format_count(model.params_non_embedding()).c_str());
  std::printf("FLOPs/token  %s asked for, %s as Hoffmann et al. count, %s as 6N (training)\n",
              format_count(model.flops.flops).c_str(), format_count(model.flops.flops_hoffmann).c_str(),
              format_count(model.flops.flops_6nd).c_str());
  print_tensors(model);
  print_bytes(model);
}

void run_show(const ModelOptions& options) {
  const Model model = model_named(options);
  if (options.json_file != "-") print_model(model);
  Json json = model_json(model);
  for (const TensorGroup& group : tensor_groups(model.table)) {
    json["tensors"].push_back({{"name", group.name},
                               {"shape", group.shape},
                               {"tensors", group.tensors},
                               {"params", group.params},
                               {"decayed", group.decayed}});
  }
  write_json(options.json_file, json);
}

void add_setting_options(CLI::App& command, ModelOptions& options, const std::string& defaults) {
  command.add_option("--vocabulary", options.vocabulary, "Count at this vocabulary; default: " + defaults)
      ->check(CLI::Range(1, 1 << 24))
      ->type_name("V");
  command
      .add_option("--context", options.context_length, "Count at this context length; default: " + defaults)
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("T");
  command.add_option("--json", options.json_file, "Write the same there as JSON ('-': stdout, and no text)")
      ->type_name("FILE");
}

}  // namespace

void add_model_command(CLI::App& app, CommandContext&) {
  CLI::App* command =
      app.add_subcommand("model", "The named shapes, and what a model holds and costs; trains nothing");
  command->require_subcommand(1);
  command->footer("Examples:\n  minichilla model list --family gpt3\n  minichilla model show chinchilla-70B");
  auto options = std::make_shared<ModelOptions>();

  CLI::App* listing = command->add_subcommand(
      "list", "Table of the families: shapes, parameters, FLOPs per token, bytes, published settings");
  listing->add_option("--family", options->family, "One family alone: ladder, gpt3, chinchilla or gopher")
      ->type_name("FAMILY");
  add_setting_options(*listing, *options, "the family's");
  listing->footer("Example:\n  minichilla model list --family gpt3 --vocabulary 257");
  listing->callback([options] { run_list(*options); });

  CLI::App* showing = command->add_subcommand("show", "One model: counts, tensors, bytes by precision");
  showing
      ->add_option("NAME", options->name,
                   "gpt3-125M, 2x32, ladder[3], 3x48x6 (layers x width x heads), or the YAML config of a run")
      ->required();
  add_setting_options(*showing, *options, "the family's, or the config's");
  showing->footer(
      "Examples:\n"
      "  minichilla model show gpt3-125M\n"
      "  minichilla model show configs/shakespeare_char.yaml --vocabulary 257");
  showing->callback([options] { run_show(*options); });
}

}  // namespace minichilla
