// Writing the shards of a corpus while its documents stream by. prepare_corpus() in corpus.h is the way in.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/corpus_manifest.h"
#include "trainer/document_splitter.h"
#include "trainer/files.h"
#include "trainer/token_shard.h"
#include "trainer/tokenizer.h"

namespace minichilla {

/// Encodes the text of one split and writes it into shards.
class SplitWriter {
 public:
  /// `name`.bin, or `name`-000.bin and so on with at most `shard_tokens` tokens each when that is not 0. No
  /// file is made before there is text. The tokenizer must outlive the writer.
  SplitWriter(std::filesystem::path folder, std::string name, const Tokenizer& tokenizer,
              std::int64_t shard_tokens);

  /// Appends text, encoded in pieces of at most 64 KB that end at a line's end or, where a line is
  /// longer, between two characters.
  void add(std::string_view text);
  void end_document();
  /// Closes the last shard. The entry has no tokens when no text came.
  SplitEntry finish();

 private:
  void add_ids();
  void close_shard();
  std::filesystem::path folder_;
  const Tokenizer& tokenizer_;
  std::int64_t shard_tokens_;
  SplitEntry entry_;
  Sha256 hash_;
  std::unique_ptr<ShardWriter> shard_;
  std::vector<std::int32_t> ids_;  // of the piece at hand
  std::vector<char> stored_;       // the same in stored form
};

/// Sends documents to train, val and test.
class CorpusWriter {
 public:
  CorpusWriter(const std::filesystem::path& folder, const Tokenizer& tokenizer, const CorpusOptions& options,
               DocumentSplitter splitter);

  void add_document(std::string_view text);
  /// Closes all shards; the entries of splits that got no tokens are left out.
  std::vector<SplitEntry> finish();

 private:
  DocumentSplitter splitter_;
  std::array<SplitWriter, kSplits> splits_;
};

}  // namespace minichilla
