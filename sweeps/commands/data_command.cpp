// minichilla data prepare|inspect
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <numbers>

#include "kernels/error.h"
#include "sweeps/commands/commands.h"
#include "sweeps/commands/json_output.h"
#include "trainer/corpus.h"
#include "trainer/corpus_manifest.h"
#include "trainer/corpus_tokenizer.h"
#include "trainer/progress_line.h"
#include "trainer/token_entropy.h"
#include "trainer/tokenizer.h"

namespace minichilla {
namespace {

using Json = nlohmann::ordered_json;

struct InspectOptions {
  std::filesystem::path corpus;
  std::string json_file;
  bool verify = false;
};

double bits_per_byte(double nats_per_token, const SplitEntry& split) {
  return nats_per_token / std::numbers::ln2 * static_cast<double>(split.tokens) /
         static_cast<double>(split.bytes);
}

/// Up to `count` tokens from `begin` on one line: line ends and other control characters escaped, the end of
/// a document as "<end>", and no torn UTF-8 character at either end.
std::string sample_text(const TokenSplit& split, const Tokenizer& tokenizer, std::int64_t begin,
                        std::int64_t count) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(std::min(count, split.tokens() - begin)));
  split.read(begin, static_cast<std::int64_t>(ids.size()), ids.data());
  std::string text;
  for (const std::int32_t id : ids)
    text += id == tokenizer.end_of_document() ? "<end>" : tokenizer.decode({id});
  const auto continuation = [](char byte) { return (byte & 0xC0) == 0x80; };
  while (!text.empty() && continuation(text.front())) text.erase(0, 1);
  std::size_t tail = text.size();
  while (tail > 0 && continuation(text[tail - 1])) --tail;
  if (tail > 0 && (text[tail - 1] & 0x80) != 0) text.resize(tail - 1);
  std::string line;
  for (const char byte : text) {
    if (byte == '\n') {
      line += "\\n";
    } else if (static_cast<unsigned char>(byte) < 0x20 || byte == 0x7f) {
      line += ' ';
    } else {
      line += byte;
    }
  }
  return line;
}

std::vector<std::string> sample_lines(const TokenSplit& split, const Tokenizer& tokenizer) {
  constexpr std::int64_t kTokens = 90;
  std::vector<std::string> lines;
  for (const std::int64_t part : {0, 1, 2}) {
    const std::int64_t begin = split.tokens() / 3 * part;
    lines.push_back(sample_text(split, tokenizer, begin, kTokens));
    if (split.tokens() <= 3 * kTokens) break;
  }
  return lines;
}

void print_splits(const CorpusManifest& manifest) {
  std::printf("%-7s%16s%16s%14s%9s\n", "split", "tokens", "bytes", "documents", "shards");
  for (const SplitEntry& split : manifest.splits) {
    std::printf("%-7s%16lld%16lld%14lld%9zu\n", split.name.c_str(), static_cast<long long>(split.tokens),
                static_cast<long long>(split.bytes), static_cast<long long>(split.documents),
                split.shards.size());
  }
}

void print_summary(const std::filesystem::path& folder, const CorpusManifest& manifest) {
  std::printf("corpus     %s\nhash       %s\ntokenizer  %s, vocabulary %d\n", folder.c_str(),
              manifest.hash.c_str(), tokenizer_identity(manifest).c_str(), manifest.vocabulary);
  const CorpusOptions& options = manifest.options;
  std::printf("documents  %s%s%s; split by %s, val %g, test %g\n\n", options.documents.c_str(),
              options.jsonl_field.empty() ? "" : ", field ", options.jsonl_field.c_str(),
              options.split.c_str(), options.val, options.test);
  print_splits(manifest);
}

int prepare(const PrepareOptions& options, const std::string& json_file) {
  const auto start = std::chrono::steady_clock::now();
  const PrepareOutcome outcome = prepare_corpus(options);
  if (outcome == PrepareOutcome::interrupted) {
    std::fputs("interrupted: nothing was written; run the same command again to start over\n", stderr);
    return kInterrupted;
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const CorpusManifest manifest = read_manifest(options.output);
  const bool written = outcome == PrepareOutcome::written;
  if (json_file != "-") {
    print_summary(options.output, manifest);
    std::printf("\n%s in %s\n", written ? "written" : "already there and the same: nothing to do, checked",
                format_duration(seconds).c_str());
  }
  write_json(json_file, {{"outcome", written ? "written" : "unchanged"},
                         {"corpus", options.output.string()},
                         {"seconds", seconds},
                         {"manifest", Json::parse(manifest_text(manifest))}});
  return 0;
}

/// The entropies of a split as JSON, and printed.
Json describe_entropy(const TokenSplit& split, const SplitEntry& entry, int vocabulary, bool print) {
  const TokenEntropy entropy = measure_entropy(split, vocabulary);
  const double unigram_bits = bits_per_byte(entropy.unigram, entry),
               bigram_bits = bits_per_byte(entropy.bigram, entry);
  if (print) {
    std::printf(
        "\nentropy of val, which a model has to beat (of its own frequencies):\n"
        "  unigram  %.4f nats per token, %.4f bits per byte\n"
        "  bigram   %.4f nats per token, %.4f bits per byte\n",
        entropy.unigram, unigram_bits, entropy.bigram, bigram_bits);
  }
  return {{"unigram_nats_per_token", entropy.unigram},
          {"bigram_nats_per_token", entropy.bigram},
          {"unigram_bits_per_byte", unigram_bits},
          {"bigram_bits_per_byte", bigram_bits}};
}

/// Sample lines of a split as JSON, and printed.
Json describe_samples(const TokenSplit& split, const std::string& name, const Tokenizer& tokenizer,
                      bool print) {
  const std::vector<std::string> lines = sample_lines(split, tokenizer);
  if (print) {
    std::printf("\nfrom the beginning, the first and the second third of %s:\n", name.c_str());
    for (const std::string& line : lines) std::printf("  | %s\n", line.c_str());
  }
  return lines;
}

void inspect(const InspectOptions& options) {
  const std::shared_ptr<const Corpus> corpus = open_corpus(options.corpus);
  const CorpusManifest manifest = read_manifest(options.corpus);
  const bool print = options.json_file != "-";
  if (options.verify) verify_corpus(options.corpus);
  if (print) {
    print_summary(options.corpus, manifest);
    std::printf("\n%-16s  %s\n", "source bytes", "SHA-256 and name");
    for (const SourceEntry& source : manifest.sources) {
      std::printf("%16lld  %s  %s\n", static_cast<long long>(source.bytes), source.sha256.c_str(),
                  source.name.c_str());
    }
  }
  Json json = {{"corpus", options.corpus.string()}, {"verified", options.verify}};
  json.update(Json::parse(manifest_text(manifest)));
  for (const SplitEntry& entry : manifest.splits) {
    if (entry.name != "val") continue;
    json["val_entropy"] = describe_entropy(corpus->split("val"), entry, manifest.vocabulary, print);
  }
  const std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(options.corpus, manifest);
  for (const SplitEntry& entry : manifest.splits) {
    json["samples"][entry.name] = describe_samples(corpus->split(entry.name), entry.name, *tokenizer, print);
  }
  if (print) {
    std::puts(options.verify
                  ? "\nverified: every token is in the vocabulary and every checksum is right"
                  : "\nheaders and sizes checked; --verify reads every token and compares every checksum");
  }
  write_json(options.json_file, json);
}

void add_prepare(CLI::App& data, CommandContext& context) {
  CLI::App* app = data.add_subcommand("prepare", "Turn text into a corpus: tokens in memory-mapped shards");
  auto options = std::make_shared<PrepareOptions>();
  auto json_file = std::make_shared<std::string>();
  auto subword_options = std::make_shared<std::vector<CLI::Option*>>();
  app->add_option(
         "INPUT", options->inputs,
         "UTF-8 text files, or folders searched for .txt and .md (with --documents jsonl: for .jsonl)")
      ->required();
  app->add_option("--output", options->output, "Folder of the corpus")->required()->type_name("CORPUS");
  app->add_option(
         "--documents", options->documents,
         "What a document is: paragraphs (cut at blank lines once 2 KB are together), file, or jsonl (one "
         "record a line)")
      ->capture_default_str()
      ->type_name("KIND");
  app->add_option("--jsonl-field", options->jsonl_field, "Field of a record that holds its text")
      ->capture_default_str()
      ->type_name("NAME");
  app->add_option(
         "--split", options->split,
         "How val and test are taken out: hash (by document, equal ones on one side) or position (the last "
         "part of the text)")
      ->capture_default_str()
      ->type_name("HOW");
  app->add_option("--val", options->val_fraction, "Fraction for validation")->capture_default_str();
  app->add_option("--test", options->test_fraction, "Fraction for testing")->capture_default_str();
  app->add_option(
         "--tokenizer", options->tokenizer,
         "bytes (256 bytes and the end of a document), or sentencepiece (subwords learned from the training "
         "split; lossless)")
      ->capture_default_str()
      ->type_name("NAME");
  const auto add_sentencepiece = [&](CLI::Option* option) {
    subword_options->push_back(option->capture_default_str());
  };
  add_sentencepiece(
      app->add_option("--vocab", options->vocabulary,
                      "With sentencepiece: token ids in all, bytes and the end of a document included")
          ->type_name("V"));
  add_sentencepiece(app->add_option("--model", options->tokenizer_model, "With sentencepiece: bpe or unigram")
                        ->type_name("KIND"));
  add_sentencepiece(
      app->add_option("--tokenizer-bytes", options->tokenizer_bytes,
                      "With sentencepiece: learn from at most so many bytes, an even sample of the "
                      "training documents")
          ->type_name("BYTES"));
  app->add_flag("--keep-invalid-utf8", options->keep_invalid_utf8,
                "Keep bytes that are no UTF-8 as byte tokens instead of refusing the file");
  app->add_option("--shard-tokens", options->shard_tokens, "Most tokens in one train-NNN.bin")
      ->capture_default_str();
  app->add_flag("--force", options->force, "Replace a different corpus in CORPUS");
  app->add_option("--json", *json_file, "Write the manifest and the outcome there as JSON ('-': stdout)")
      ->type_name("FILE");
  app->footer(
      "Examples:\n"
      "  minichilla data prepare books/ --output corpora/books\n"
      "  minichilla data prepare tinyshakespeare.txt --documents file --split position --val 0.1 "
      "--output corpora/shakespeare\n"
      "  minichilla data prepare books/ --tokenizer sentencepiece --vocab 1024 --model bpe --output "
      "corpora/books-1024\n"
      "  minichilla data prepare posts.jsonl --documents jsonl --jsonl-field text --output corpora/posts");
  app->callback([options, json_file, subword_options, &context] {
    for (const CLI::Option* option : *subword_options) {
      if (option->count() > 0 && options->tokenizer == "bytes") {
        throw InputError(option->get_name() +
                         ": found with --tokenizer bytes, expected --tokenizer sentencepiece");
      }
    }
    options->stop_requested = [&context] { return context.stop.requested() != 0; };
    context.status = prepare(*options, *json_file);
  });
}

void add_inspect(CLI::App& data) {
  CLI::App* app =
      data.add_subcommand("inspect", "Show what is in a corpus, its entropies and some of its text");
  auto options = std::make_shared<InspectOptions>();
  app->add_option("CORPUS", options->corpus, "Folder written by 'minichilla data prepare'")->required();
  app->add_flag("--verify", options->verify, "Read every token and compare every checksum");
  app->add_option("--json", options->json_file, "Write all of it there as JSON ('-': stdout)")
      ->type_name("FILE");
  app->footer("Example:\n  minichilla data inspect corpora/books --verify");
  app->callback([options] { inspect(*options); });
}

}  // namespace

void add_data_command(CLI::App& app, CommandContext& context) {
  CLI::App* data = app.add_subcommand("data", "Prepare and inspect corpora: text to tokens");
  data->require_subcommand(1);
  data->footer("Example:\n  minichilla data prepare books/ --output corpora/books");
  add_prepare(*data, context);
  add_inspect(*data);
}

}  // namespace minichilla
