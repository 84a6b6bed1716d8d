// prepare_corpus(): from source files to a corpus folder.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <numeric>
#include <span>
#include <tuple>

#include "kernels/error.h"
#include "model/quote.h"
#include "trainer/corpus.h"
#include "trainer/corpus_manifest.h"
#include "trainer/corpus_writer.h"
#include "trainer/document_splitter.h"
#include "trainer/files.h"
#include "trainer/progress_line.h"
#include "trainer/sentencepiece_tokenizer.h"
#include "trainer/text_documents.h"

namespace minichilla {
namespace {

namespace fs = std::filesystem;

constexpr int kLargestVocabulary = 1 << 20;

/// Thrown where a stop was asked for, caught in prepare_corpus().
struct Interrupted {};

/// Counts bytes, shows how far one pass over the sources is, and asks whether to stop.
class Pass {
 public:
  Pass(std::string doing, std::int64_t total, ProgressLine& line, const std::function<bool()>& stop_requested)
      : doing_(std::move(doing)), total_(total), line_(line), stop_requested_(stop_requested) {}

  void advance(std::size_t bytes) {
    if (stop_requested_ && stop_requested_()) throw Interrupted();
    done_ += static_cast<std::int64_t>(bytes);
    const auto now = std::chrono::steady_clock::now();
    if (now - shown_ < std::chrono::milliseconds(200)) return;  // formatting is not free
    shown_ = now;
    const double seconds = std::chrono::duration<double>(now - start_).count();
    const double rate = static_cast<double>(done_) / std::max(seconds, 1e-3);
    line_.update(doing_ + " " + format_count(static_cast<double>(done_)) + "B of " +
                 format_count(static_cast<double>(total_)) + "B, " + format_count(rate) + "B/s, ETA " +
                 format_duration(static_cast<double>(total_ - done_) / rate));
  }

 private:
  using Clock = std::chrono::steady_clock;
  std::string doing_;
  std::int64_t total_, done_ = 0;
  ProgressLine& line_;
  const std::function<bool()>& stop_requested_;
  Clock::time_point start_ = Clock::now(), shown_ = start_;
};

/// "--OPTION: found 'x', expected a or b; did you mean …" unless `found` is one of two names.
void check_choice(const std::string& option, const std::string& found,
                  const std::array<std::string, 2>& names) {
  if (std::find(names.begin(), names.end(), found) != names.end()) return;
  const std::string near = nearest_name(found, names);
  throw InputError("--" + option + ": found " + quote(found) + ", expected " + names[0] + " or " + names[1] +
                   (near.empty() ? "" : "; did you mean '" + near + "'?"));
}

void check_tokenizer(const PrepareOptions& options) {
  check_choice("tokenizer", options.tokenizer, {"bytes", "sentencepiece"});
  if (options.tokenizer == "bytes") return;
  check_choice("model", options.tokenizer_model, {"bpe", "unigram"});
  if (options.vocabulary < kSmallestSentencePieceVocabulary || options.vocabulary > kLargestVocabulary) {
    throw InputError("--vocab: found " + std::to_string(options.vocabulary) + ", expected " +
                     std::to_string(kSmallestSentencePieceVocabulary) + " (256 bytes and more) to " +
                     std::to_string(kLargestVocabulary));
  }
  if (options.tokenizer_bytes < 1) throw InputError("--tokenizer-bytes: expected at least 1");
}

void check_options(const PrepareOptions& options) {
  check_choice("split", options.split, {"hash", "position"});
  check_tokenizer(options);
  const auto in_range = [](double fraction) { return fraction >= 0 && fraction < 1; };
  if (!in_range(options.val_fraction)) throw InputError("--val: expected a fraction from 0 to less than 1");
  if (!in_range(options.test_fraction)) throw InputError("--test: expected a fraction from 0 to less than 1");
  if (options.val_fraction + options.test_fraction >= 1) {
    throw InputError("--val and --test: together they leave nothing to train on, expected a sum below 1");
  }
  if (options.shard_tokens < 1) throw InputError("--shard-tokens: expected at least 1");
  if (options.output.empty()) throw InputError("--output: found nothing, expected a folder");
  check_output_folder(options.output);
}

std::int64_t size_of(const TextSource& source) {
  std::error_code error;
  const auto size = fs::file_size(source.path, error);
  if (error) throw IoError(source.path.string() + ": cannot read: " + error.message());
  return static_cast<std::int64_t>(size);
}

/// Hashes a source and checks that it is UTF-8, unless other bytes may stay.
SourceEntry checked_source(const TextSource& source, bool keep_invalid_utf8, Pass& pass) {
  constexpr std::size_t kBlock = 1 << 22;
  const MappedFile file(source.path);
  const std::string_view text(file.bytes().data(), file.bytes().size());
  const std::size_t at = keep_invalid_utf8 ? std::string_view::npos : first_invalid_utf8(text);
  if (at != std::string_view::npos) {
    char byte[8];
    std::snprintf(byte, sizeof byte, "0x%02x", static_cast<unsigned char>(text[at]));
    throw InputError(
        source.path.string() + ": byte offset " + std::to_string(at) + ": found " + byte +
        ", which is not valid UTF-8; convert the file first, e.g. with iconv, or keep such bytes as they "
        "are with --keep-invalid-utf8");
  }
  Sha256 hash;
  for (std::size_t begin = 0; begin < text.size(); begin += kBlock) {
    const std::size_t size = std::min(kBlock, text.size() - begin);
    hash.add(file.bytes().subspan(begin, size));
    pass.advance(size);
  }
  return {source.name, static_cast<std::int64_t>(text.size()), hash.hex()};
}

/// Everything of the manifest that is known before a token is written.
CorpusManifest planned_manifest(const PrepareOptions& options, const std::vector<TextSource>& files,
                                ProgressLine& line) {
  std::int64_t total = 0;
  for (const TextSource& source : files) total += size_of(source);
  CorpusManifest manifest;
  manifest.tokenizer = options.tokenizer;
  manifest.vocabulary = kBytesVocabulary;
  if (options.tokenizer == "sentencepiece") {
    manifest.vocabulary = options.vocabulary;
    manifest.tokenizer_model = {options.tokenizer_model, options.tokenizer_bytes, ""};
  }
  manifest.options = {options.documents,     options.documents == "jsonl" ? options.jsonl_field : "",
                      options.split,         options.val_fraction,
                      options.test_fraction, options.shard_tokens};
  Pass pass("checking", total, line, options.stop_requested);
  for (const TextSource& source : files) {
    manifest.sources.push_back(checked_source(source, options.keep_invalid_utf8, pass));
  }
  return manifest;
}

bool same_origin(const CorpusManifest& a, const CorpusManifest& b) {
  const auto settings = [](const CorpusManifest& manifest) {
    const TokenizerModel model = manifest.tokenizer_model.value_or(TokenizerModel{});
    return std::tuple(manifest.tokenizer, manifest.vocabulary, model.kind, model.training_bytes);
  };
  return settings(a) == settings(b) && a.options == b.options &&
         std::ranges::equal(a.sources, b.sources, [](const SourceEntry& x, const SourceEntry& y) {
           return x.name == y.name && x.bytes == y.bytes && x.sha256 == y.sha256;
         });
}

/// True when `folder` already holds what was planned. Throws when it holds a corpus that must not be
/// replaced.
bool already_there(const fs::path& folder, const CorpusManifest& planned, bool force) {
  if (!path_exists(folder / "manifest.json")) return false;
  CorpusManifest existing;
  try {
    existing = read_manifest(folder);
  } catch (const InputError& error) {
    if (force) return false;
    throw InputError(std::string(error.what()) + " (--force replaces it)");
  }
  if (!same_origin(existing, planned)) {
    if (force) return false;
    throw InputError("--output " + folder.string() + ": found another corpus there (hash " +
                     existing.hash.substr(0, 8) +
                     "), made from other text or options; choose another folder, or --force to replace it");
  }
  try {
    open_corpus(folder);
    return true;
  } catch (const InputError&) {
    return false;  // its shards are damaged: write the same ones again
  }
}

bool is_shard_name(const std::string& name) {
  if (name == "val.bin" || name == "test.bin") return true;
  const std::string prefix = "train-", suffix = ".bin";
  return name.starts_with(prefix) && name.ends_with(suffix) && name.size() > prefix.size() + suffix.size() &&
         std::all_of(name.begin() + static_cast<std::ptrdiff_t>(prefix.size()),
                     name.end() - static_cast<std::ptrdiff_t>(suffix.size()),
                     [](unsigned char c) { return std::isdigit(c) != 0; });
}

std::vector<fs::path> shards_in(const fs::path& folder) {
  std::vector<fs::path> shards;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (is_shard_name(entry.path().filename().string())) shards.push_back(entry.path());
  }
  if (error) throw IoError(folder.string() + ": cannot list: " + error.message());
  return shards;
}

/// A folder with another program's train-0.bin or val.bin is not ours to write into.
void refuse_foreign_shards(const fs::path& folder) {
  if (!path_exists(folder) || path_exists(folder / "manifest.json")) return;
  for (const fs::path& shard : shards_in(folder)) {
    if (may_be_token_shard(shard)) continue;
    throw InputError(shard.string() +
                     ": found a file of another program where a shard would go; choose another " +
                     "--output, or --force to replace it");
  }
}

/// Hands every document of every source to `use`.
void walk(const PrepareOptions& options, const std::vector<TextSource>& files, const CorpusManifest& manifest,
          const char* doing, ProgressLine& line, const std::function<void(std::string_view)>& use) {
  const DocumentKind kind = parse_document_kind(options.documents);
  std::int64_t total = 0, empty = 0;
  for (const SourceEntry& source : manifest.sources) total += source.bytes;
  Pass pass(doing, total, line, options.stop_requested);
  for (std::size_t i = 0; i < files.size(); ++i) {
    const MappedFile file(files[i].path);
    const std::string_view text(file.bytes().data(), file.bytes().size());
    if (static_cast<std::int64_t>(text.size()) != manifest.sources[i].bytes) {
      throw InputError(files[i].path.string() + ": this file changed while it was being read");
    }
    empty += for_each_document(files[i], text, kind, options.jsonl_field, [&](std::string_view document) {
      use(document);
      pass.advance(document.size());
    });
  }
  if (empty > 0) line.print("note: " + std::to_string(empty) + " empty documents left out");
}

/// Learns a tokenizer from lines of the training split: all of it, or an even sample of its documents.
std::string trained_model(const PrepareOptions& options, const std::vector<TextSource>& files,
                          const CorpusManifest& manifest, DocumentSplitter splitter, ProgressLine& line) {
  constexpr std::size_t kLineBytes = 8192;  // the trainer's work grows faster than a line's length
  std::int64_t all = 0;
  for (const SourceEntry& source : manifest.sources) all += source.bytes;
  const double share = static_cast<double>(options.tokenizer_bytes) /
                       (static_cast<double>(all) * (1 - options.val_fraction - options.test_fraction));
  std::vector<std::string> lines;
  double seen = 0, taken = 0;
  walk(options, files, manifest, "sampling for the tokenizer", line, [&](std::string_view document) {
    splitter.split(document, [&](const DocumentSplitter::Part& part) {
      if (part.split != kTrainSplit) return;
      seen += static_cast<double>(part.text.size());
      if (taken > seen * share) return;
      taken += static_cast<double>(part.text.size());
      for (std::string_view rest = part.text; !rest.empty();) {
        const std::size_t line_end = std::min(rest.find('\n'), rest.size() - 1) + 1;
        const std::size_t size = std::min(line_end, character_start(rest, kLineBytes));
        lines.emplace_back(rest.substr(0, size));
        rest.remove_prefix(size);
      }
    });
  });
  if (lines.empty())
    throw InputError("found no text in the training split, which the tokenizer is learned from");
  line.update("learning " + std::to_string(options.vocabulary) + " pieces from " + format_count(taken) + "B");
  return train_sentencepiece({options.tokenizer_model, options.vocabulary}, std::move(lines));
}

/// The tokenizer; a learned one is also written into `folder`.
std::unique_ptr<Tokenizer> make_tokenizer(const PrepareOptions& options, const fs::path& folder,
                                          const std::vector<TextSource>& files,
                                          const DocumentSplitter& splitter, CorpusManifest& manifest,
                                          ProgressLine& line) {
  if (!manifest.tokenizer_model) return make_bytes_tokenizer();
  const std::string model = trained_model(options, files, manifest, splitter, line);
  manifest.tokenizer_model->sha256 = sha256_hex(model);
  replace_file(folder / kTokenizerModelFile, model);
  return load_sentencepiece(model, (folder / kTokenizerModelFile).string());
}

void write_shards(const PrepareOptions& options, const fs::path& folder, const std::vector<TextSource>& files,
                  CorpusManifest& manifest, ProgressLine& line) {
  std::int64_t text_bytes = 0;
  if (options.split == "position") {
    walk(options, files, manifest, "measuring", line,
         [&](std::string_view document) { text_bytes += static_cast<std::int64_t>(document.size()); });
  }
  const DocumentSplitter splitter(manifest.options, text_bytes);
  const auto tokenizer = make_tokenizer(options, folder, files, splitter, manifest, line);
  CorpusWriter writer(folder, *tokenizer, manifest.options, splitter);
  std::int64_t documents = 0;
  walk(options, files, manifest, "writing", line, [&](std::string_view document) {
    writer.add_document(document);
    ++documents;
  });
  manifest.splits = writer.finish();
  const auto check_split = [&](const char* name, double fraction) {
    const auto& splits = manifest.splits;
    if (fraction == 0 ||
        std::any_of(splits.begin(), splits.end(), [&](const auto& s) { return s.name == name; })) {
      return;
    }
    throw InputError("found no text for the " + std::string(name) + " split: with --documents " +
                     options.documents + " this text makes only " + std::to_string(documents) +
                     (documents == 1 ? " document" : " documents") +
                     "; take more text, another --documents, --split position or other fractions");
  };
  if (documents == 0) throw InputError("found no text in the inputs: every one of them is empty");
  check_split("train", 1);
  check_split("val", options.val_fraction);
  check_split("test", options.test_fraction);
}

/// Puts finished shards and their manifest in the place of whatever corpus `folder` holds. The manifest goes
/// first and comes last, so that the folder is never half of one corpus and half of another. Programs that
/// have old shards mapped keep them. Nothing of it needs room on the disk but the manifest, which is written
/// while the old corpus is still there.
void install(const fs::path& staging, const fs::path& folder, const CorpusManifest& manifest) {
  replace_file(staging / "manifest.json", manifest_text(manifest));
  try {
    fs::remove(folder / "manifest.json");
    fs::remove(folder / kTokenizerModelFile);
    for (const fs::path& shard : shards_in(folder)) fs::remove(shard);
    if (manifest.tokenizer_model) fs::rename(staging / kTokenizerModelFile, folder / kTokenizerModelFile);
    for (const SplitEntry& split : manifest.splits) {
      for (const ShardEntry& shard : split.shards) fs::rename(staging / shard.file, folder / shard.file);
    }
    sync_folder(folder);
    fs::rename(staging / "manifest.json", folder / "manifest.json");
  } catch (const fs::filesystem_error& error) {
    throw IoError(error.path1().string() + ": cannot put in place: " + error.code().message());
  }
  sync_folder(folder);
  std::error_code ignored;
  fs::remove(staging, ignored);
}

/// Writes into a hidden folder inside the output, so that an earlier corpus stays until the new one is
/// complete. Returns the number of tokens.
std::int64_t write_corpus(const PrepareOptions& options, const std::vector<TextSource>& files,
                          CorpusManifest manifest, ProgressLine& line) {
  if (!options.force) refuse_foreign_shards(options.output);
  const fs::path staging = options.output / ".preparing";
  std::error_code error;
  const bool new_folder = !path_exists(options.output);
  create_synced_folders(options.output);
  fs::remove_all(staging, error);
  if (!error) fs::create_directory(staging, error);
  if (error) throw IoError(staging.string() + ": cannot create: " + error.message());
  try {
    write_shards(options, staging, files, manifest, line);
    manifest.hash = identity_of(manifest);
    install(staging, options.output, manifest);
  } catch (...) {
    fs::remove_all(staging, error);
    if (new_folder) fs::remove(options.output, error);  // only if it is empty
    throw;
  }
  return std::accumulate(manifest.splits.begin(), manifest.splits.end(), std::int64_t{0},
                         [](std::int64_t sum, const SplitEntry& split) { return sum + split.tokens; });
}

}  // namespace

PrepareOutcome prepare_corpus(const PrepareOptions& options) {
  check_options(options);
  const DocumentKind kind = parse_document_kind(options.documents);
  ProgressLine line;
  try {
    const SourceList sources = list_sources(options.inputs, kind);
    if (sources.passed_over > 0) {
      line.print("note: " + std::to_string(sources.passed_over) +
                 (kind == DocumentKind::jsonl ? " .txt and .md files passed over, since --documents is jsonl"
                                              : " .jsonl files passed over, since --documents is not jsonl"));
    }
    CorpusManifest manifest = planned_manifest(options, sources.files, line);
    if (already_there(options.output, manifest, options.force)) return PrepareOutcome::unchanged;
    const std::int64_t tokens = write_corpus(options, sources.files, std::move(manifest), line);
    line.finish("wrote " + format_count(static_cast<double>(tokens)) + " tokens to " +
                options.output.string());
    return PrepareOutcome::written;
  } catch (const Interrupted&) {
    return PrepareOutcome::interrupted;
  }
}

}  // namespace minichilla
