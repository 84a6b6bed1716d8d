// manifest.json of a corpus: what is in the folder, where it came from, how it was cut.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace minichilla {

struct ShardEntry {
  std::string file;  ///< name inside the corpus folder
  std::int64_t tokens = 0;
  std::string sha256;  ///< of the stored ids, as in the shard's header
};

struct SplitEntry {
  std::string name;  ///< "train", "val" or "test"
  std::int64_t tokens = 0;
  std::int64_t bytes = 0;      ///< of text
  std::int64_t documents = 0;  ///< that end in this split: its end-of-document tokens
  std::string sha256;          ///< of the stored ids of all its shards, one after the other
  std::vector<ShardEntry> shards;
};

struct SourceEntry {
  std::string name;  ///< file name, or path below the folder that was given; never a path of one machine
  std::int64_t bytes = 0;
  std::string sha256;
};

/// The options that shape the tokens.
struct CorpusOptions {
  std::string documents, jsonl_field, split;
  double val = 0, test = 0;
  std::int64_t shard_tokens = 0;
  bool operator==(const CorpusOptions&) const = default;
};

/// The learned model of a tokenizer that has one.
struct TokenizerModel {
  std::string kind;                 ///< "bpe" or "unigram"
  std::int64_t training_bytes = 0;  ///< most bytes of training text that it was learned from
  std::string sha256;               ///< of the file kTokenizerModelFile
};

inline constexpr const char* kTokenizerModelFile = "tokenizer.model";

struct CorpusManifest {
  std::string tokenizer;  ///< "bytes" or "sentencepiece"
  int vocabulary = 0;
  std::optional<TokenizerModel> tokenizer_model;  ///< of "sentencepiece"
  std::string hash;
  std::vector<SplitEntry> splits;  ///< those with tokens, in the order train, val, test
  std::vector<SourceEntry> sources;
  CorpusOptions options;
};

/// What decides the meaning of token ids, for messages and comparisons: "bytes", or
/// "sentencepiece-bpe-1024-9f86d081" with the first digits of the model's SHA-256.
std::string tokenizer_identity(const CorpusManifest& manifest);

/// The corpus' identity: SHA-256 over tokenizer, vocabulary and every split's name, token count and SHA-256.
/// Does not depend on the number of shards, on names of sources, or on paths.
std::string identity_of(const CorpusManifest& manifest);

/// Checks the text of a manifest: keys, types, ranges, sums, the hash, that shards lie in its folder.
/// InputError names `file`, which ends in manifest.json, key, found and expected.
CorpusManifest parse_manifest(const std::string& text, const std::string& file);

/// The same of `folder`/manifest.json; InputError also when there is none.
CorpusManifest read_manifest(const std::filesystem::path& folder);

/// JSON text with a newline at the end; the same manifest gives the same bytes.
std::string manifest_text(const CorpusManifest& manifest);

}  // namespace minichilla
