// A prepared corpus: a folder with manifest.json and memory-mapped token shards per split.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace minichilla {

/// One split ("train", "val" or "test") as one sequence of token ids over its shards.
class TokenSplit {
 public:
  virtual ~TokenSplit() = default;
  virtual std::int64_t tokens() const = 0;
  /// Bytes of source text that the tokens stand for (end-of-document tokens stand for none).
  virtual std::int64_t text_bytes() const = 0;
  /// ids[0 … count) = the tokens at positions begin … begin + count − 1, which must lie inside the split.
  virtual void read(std::int64_t begin, std::int64_t count, std::int32_t* ids) const = 0;
};

/// Opened once, read from any thread.
class Corpus {
 public:
  virtual ~Corpus() = default;
  virtual const std::filesystem::path& folder() const = 0;
  /// What decides the meaning of its ids: tokenizer_identity() of its manifest.
  virtual std::string tokenizer() const = 0;
  virtual int vocabulary() const = 0;
  /// SHA-256 over tokenizer and token bytes of every split: the identity of the corpus, without paths or
  /// times.
  virtual const std::string& hash() const = 0;
  /// InputError for a name that the manifest does not have.
  virtual const TokenSplit& split(const std::string& name) const = 0;
};

/// Checks manifest, shard headers and sizes, not the ids themselves: that costs milliseconds at any size. Ids
/// are checked against the vocabulary as they are read. InputError names file, found and expected.
std::shared_ptr<const Corpus> open_corpus(const std::filesystem::path& folder);

/// Reads every id and compares every checksum with header and manifest. InputError names the first damaged
/// file.
void verify_corpus(const std::filesystem::path& folder);

struct PrepareOptions {
  std::vector<std::filesystem::path> inputs;  ///< files, or folders searched for .txt and .md, or for .jsonl
  std::filesystem::path output;
  std::string tokenizer = "bytes";  ///< or "sentencepiece"
  /// Of "sentencepiece", learned from at most `tokenizer_bytes` bytes of the training split: token ids in
  /// all, and "bpe" or "unigram".
  int vocabulary = 1024;
  std::string tokenizer_model = "bpe";
  std::int64_t tokenizer_bytes = 16 << 20;
  std::string documents = "paragraphs";  ///< "paragraphs" (blank-line-separated groups), "file" or "jsonl"
  std::string jsonl_field = "text";
  std::string split =
      "hash";  ///< "hash" of the document, or "position" (first part train, then val, then test)
  double val_fraction = 0.05, test_fraction = 0.0;
  std::int64_t shard_tokens = 1 << 26;  ///< of the training split; other splits are one shard
  bool keep_invalid_utf8 = false;  ///< bytes that are no UTF-8 become byte tokens; otherwise they are refused
  bool force = false;              ///< replace a different corpus in `output`
  std::function<bool()> stop_requested;  ///< asked often; may be empty
};

enum class PrepareOutcome { written, unchanged, interrupted };

/// Writes a corpus folder (manifest.json last); the same inputs give the same bytes. Reports progress on
/// stderr. A folder that already holds this very corpus is left as it is, another one is refused unless
/// `force`. When it fails or is interrupted, no manifest is left behind, so the folder is no corpus.
/// InputError for options or text that are not as they should be (naming file and line or byte), IoError when
/// reading or writing fails.
PrepareOutcome prepare_corpus(const PrepareOptions& options);

}  // namespace minichilla
