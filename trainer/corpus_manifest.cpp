#include "trainer/corpus_manifest.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "model/quote.h"
#include "trainer/files.h"
#include "trainer/json_fields.h"
#include "trainer/sentencepiece_tokenizer.h"

namespace minichilla {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kManifestFormat = "minichilla-corpus";
constexpr std::int64_t kFormatVersion = 1;
const std::array<std::string, 3> kSplitNames = {"train", "val", "test"};

/// One JSON object of the manifest, with its place for messages ("manifest.json: splits.val").
class ObjectReader {
 public:
  ObjectReader(const Json& object, std::string place) : object_(object), place_(std::move(place)) {
    if (!object.is_object()) {
      throw InputError(place_ + ": found " + object.type_name() + ", expected an object");
    }
  }

  const Json& value(const char* key) const {
    const auto found = object_.find(key);
    if (found != object_.end()) return *found;
    std::vector<std::string> present;
    for (const auto& item : object_.items()) present.push_back(item.key());
    const std::string near = nearest_name(key, present);
    throw InputError(place_ + ": missing key '" + key + "'" +
                     (near.empty() ? "" : " (found " + quote(near) + ")"));
  }

  std::string text(const char* key) const {
    const Json& found = value(key);
    if (!found.is_string()) fail(key, found, "a string");
    return found.get<std::string>();
  }

  std::string sha256(const char* key) const {
    const std::string found = text(key);
    if (found.size() != 64 || found.find_first_not_of("0123456789abcdef") != std::string::npos) {
      fail(key, value(key), "64 hexadecimal digits");
    }
    return found;
  }

  std::int64_t whole(const char* key, std::int64_t minimum, std::int64_t maximum) const {
    const Json& found = value(key);
    const std::string range = std::to_string(minimum) + " to " + std::to_string(maximum);
    if (!found.is_number_integer() ||
        (found.is_number_unsigned() && found.get<std::uint64_t>() > static_cast<std::uint64_t>(maximum))) {
      fail(key, found, "a whole number from " + range);
    }
    const auto number = found.get<std::int64_t>();
    if (number < minimum || number > maximum) fail(key, found, "a whole number from " + range);
    return number;
  }

  double fraction(const char* key) const {
    const Json& found = value(key);
    if (!found.is_number() || !(found.get<double>() >= 0) || !(found.get<double>() < 1)) {
      fail(key, found, "a number from 0 to less than 1");
    }
    return found.get<double>();
  }

  ObjectReader object(const char* key) const { return ObjectReader(value(key), place_ + dot() + key); }

  std::vector<ObjectReader> objects(const char* key) const {
    const Json& found = value(key);
    if (!found.is_array()) fail(key, found, "a list");
    std::vector<ObjectReader> readers;
    for (std::size_t i = 0; i < found.size(); ++i) {
      readers.emplace_back(found[i], place_ + dot() + key + "[" + std::to_string(i) + "]");
    }
    return readers;
  }

  bool has(const std::string& key) const { return object_.contains(key); }
  const Json& json() const { return object_; }
  const std::string& place() const { return place_; }

  [[noreturn]] void fail(const char* key, const Json& found, const std::string& expected) const {
    const std::string shown = found_json(found);
    throw InputError(place_ + dot() + key + ": found " + (found.is_structured() ? shown : "'" + shown + "'") +
                     ", expected " + expected);
  }

 private:
  /// "manifest.json: splits" at the top, "manifest.json: splits.val" below.
  std::string dot() const { return place_.ends_with("manifest.json") ? ": " : "."; }
  const Json& object_;
  std::string place_;
};

constexpr std::int64_t kAnyCount =
    std::numeric_limits<std::int64_t>::max() / 8;  // sums of a few cannot overflow

SplitEntry read_split(const ObjectReader& reader, const std::string& name) {
  SplitEntry split;
  split.name = name;
  split.tokens = reader.whole("tokens", 1, kAnyCount);
  split.bytes = reader.whole("bytes", 1, kAnyCount);
  split.documents = reader.whole("documents", 0, split.tokens);
  split.sha256 = reader.sha256("sha256");
  std::int64_t tokens = 0;
  for (const ObjectReader& entry : reader.objects("shards")) {
    ShardEntry shard{entry.text("file"), entry.whole("tokens", 1, split.tokens), entry.sha256("sha256")};
    if (shard.file.empty() || shard.file.find_first_of("/\\") != std::string::npos ||
        shard.file.starts_with('.')) {
      entry.fail("file", entry.value("file"), "the plain name of a file in the corpus folder");
    }
    if (shard.tokens > split.tokens - tokens)
      entry.fail("tokens", entry.value("tokens"), "a part of the split");
    tokens += shard.tokens;
    split.shards.push_back(std::move(shard));
  }
  if (tokens != split.tokens) {
    reader.fail("tokens", reader.value("tokens"), "the sum over its shards, " + std::to_string(tokens));
  }
  return split;
}

TokenizerModel read_tokenizer_model(const ObjectReader& reader) {
  TokenizerModel model{reader.text("kind"), reader.whole("training_bytes", 1, kAnyCount),
                       reader.sha256("sha256")};
  if (model.kind != "bpe" && model.kind != "unigram") {
    reader.fail("kind", reader.value("kind"), "\"bpe\" or \"unigram\"");
  }
  return model;
}

/// Tokenizer, vocabulary and the model that belong together.
void read_tokenizer(const ObjectReader& top, CorpusManifest& manifest) {
  manifest.tokenizer = top.text("tokenizer");
  if (manifest.tokenizer == "bytes") {
    manifest.vocabulary = static_cast<int>(top.whole("vocabulary", kBytesVocabulary, kBytesVocabulary));
  } else if (manifest.tokenizer == "sentencepiece") {
    manifest.vocabulary =
        static_cast<int>(top.whole("vocabulary", kSmallestSentencePieceVocabulary, 1 << 24));
    manifest.tokenizer_model = read_tokenizer_model(top.object("tokenizer_model"));
  } else {
    top.fail("tokenizer", top.value("tokenizer"), "\"bytes\" or \"sentencepiece\"");
  }
}

CorpusManifest read_top(const ObjectReader& top) {
  if (top.text("format") != kManifestFormat)
    top.fail("format", top.value("format"), std::string("\"") + kManifestFormat + "\"");
  if (top.whole("format_version", 1, kAnyCount) != kFormatVersion) {
    top.fail("format_version", top.value("format_version"), std::to_string(kFormatVersion));
  }
  CorpusManifest manifest;
  read_tokenizer(top, manifest);
  manifest.hash = top.sha256("hash");
  const ObjectReader splits = top.object("splits");
  for (const auto& item : splits.json().items()) {
    if (std::find(kSplitNames.begin(), kSplitNames.end(), item.key()) == kSplitNames.end()) {
      throw InputError(splits.place() + ": found " + quote(item.key()) + ", expected train, val or test");
    }
  }
  for (const std::string& name : kSplitNames) {
    if (name == "train" || splits.has(name))
      manifest.splits.push_back(read_split(splits.object(name.c_str()), name));
  }
  for (const ObjectReader& source : top.objects("sources")) {
    manifest.sources.push_back(
        {source.text("name"), source.whole("bytes", 0, kAnyCount), source.sha256("sha256")});
  }
  const ObjectReader options = top.object("options");
  manifest.options = {options.text("documents"), options.text("jsonl_field"),
                      options.text("split"),     options.fraction("val"),
                      options.fraction("test"),  options.whole("shard_tokens", 1, kAnyCount)};
  if (const std::string identity = identity_of(manifest); identity != manifest.hash) {
    top.fail("hash", top.value("hash"),
             "\"" + identity + "\" by its splits: the manifest was edited or damaged");
  }
  return manifest;
}

}  // namespace

std::string identity_of(const CorpusManifest& manifest) {
  std::string text =
      "minichilla corpus\n" + manifest.tokenizer + " " + std::to_string(manifest.vocabulary) + "\n";
  if (manifest.tokenizer_model) text += "model " + manifest.tokenizer_model->sha256 + "\n";
  for (const SplitEntry& split : manifest.splits) {
    text += split.name + " " + std::to_string(split.tokens) + " " + split.sha256 + "\n";
  }
  return sha256_hex(text);
}

CorpusManifest parse_manifest(const std::string& text, const std::string& file) {
  Json json;
  try {
    json = Json::parse(text);
  } catch (const Json::parse_error& error) {
    throw InputError(file + ": found no JSON (at byte " + std::to_string(error.byte) +
                     "), expected the manifest of a corpus");
  } catch (const Json::out_of_range&) {
    throw InputError(file +
                     ": found a number beyond the range of a double, expected the manifest of a corpus");
  }
  return read_top(ObjectReader(json, file));
}

std::string tokenizer_identity(const CorpusManifest& manifest) {
  if (!manifest.tokenizer_model) return manifest.tokenizer;
  return manifest.tokenizer + "-" + manifest.tokenizer_model->kind + "-" +
         std::to_string(manifest.vocabulary) + "-" + manifest.tokenizer_model->sha256.substr(0, 8);
}

CorpusManifest read_manifest(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "manifest.json";
  if (!path_exists(path)) {
    throw InputError(folder.string() + ": found no manifest.json, expected a corpus folder written by " +
                     "'minichilla data prepare'");
  }
  return parse_manifest(read_file(path), path.string());
}

std::string manifest_text(const CorpusManifest& manifest) {
  Json json = {{"format", kManifestFormat},
               {"format_version", kFormatVersion},
               {"tokenizer", manifest.tokenizer},
               {"vocabulary", manifest.vocabulary}};
  if (const auto& model = manifest.tokenizer_model) {
    json["tokenizer_model"] = {
        {"kind", model->kind}, {"training_bytes", model->training_bytes}, {"sha256", model->sha256}};
  }
  json["hash"] = manifest.hash;
  for (const SplitEntry& split : manifest.splits) {
    Json entry = {{"tokens", split.tokens},
                  {"bytes", split.bytes},
                  {"documents", split.documents},
                  {"sha256", split.sha256},
                  {"shards", Json::array()}};
    for (const ShardEntry& shard : split.shards) {
      entry["shards"].push_back({{"file", shard.file}, {"tokens", shard.tokens}, {"sha256", shard.sha256}});
    }
    json["splits"][split.name] = std::move(entry);
  }
  json["sources"] = Json::array();
  for (const SourceEntry& source : manifest.sources) {
    json["sources"].push_back({{"name", source.name}, {"bytes", source.bytes}, {"sha256", source.sha256}});
  }
  const CorpusOptions& options = manifest.options;
  json["options"] = {{"documents", options.documents}, {"jsonl_field", options.jsonl_field},
                     {"split", options.split},         {"val", options.val},
                     {"test", options.test},           {"shard_tokens", options.shard_tokens}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace minichilla
