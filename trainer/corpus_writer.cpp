#include "trainer/corpus_writer.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "trainer/text_documents.h"

namespace minichilla {
namespace {

// Subword encoders take longer per byte the longer the text.
constexpr std::size_t kPieceBytes = 1 << 16;

/// The longest prefix of `text` that is encoded at once.
std::string_view first_piece(std::string_view text) {
  if (text.size() <= kPieceBytes) return text;
  const std::size_t line_end = text.rfind('\n', kPieceBytes - 1);
  if (line_end != std::string_view::npos) return text.substr(0, line_end + 1);
  return text.substr(0, character_start(text, kPieceBytes));
}

}  // namespace

SplitWriter::SplitWriter(std::filesystem::path folder, std::string name, const Tokenizer& tokenizer,
                         std::int64_t shard_tokens)
    : folder_(std::move(folder)), tokenizer_(tokenizer), shard_tokens_(shard_tokens) {
  entry_.name = std::move(name);
}

void SplitWriter::add(std::string_view text) {
  entry_.bytes += static_cast<std::int64_t>(text.size());
  while (!text.empty()) {
    const std::string_view piece = first_piece(text);
    text.remove_prefix(piece.size());
    ids_.clear();
    tokenizer_.encode(piece, ids_);
    add_ids();
  }
}

void SplitWriter::end_document() {
  ++entry_.documents;
  ids_.assign(1, tokenizer_.end_of_document());
  add_ids();
}

void SplitWriter::add_ids() {
  for (std::span<const std::int32_t> rest = ids_; !rest.empty();) {
    if (!shard_) {
      char number[24] = "";
      if (shard_tokens_ > 0) std::snprintf(number, sizeof number, "-%03zu", entry_.shards.size());
      entry_.shards.push_back({entry_.name + number + ".bin", 0, ""});
      shard_ = std::make_unique<ShardWriter>(folder_ / entry_.shards.back().file, tokenizer_.vocabulary());
    }
    std::size_t count = rest.size();
    if (shard_tokens_ > 0)
      count = std::min(count, static_cast<std::size_t>(shard_tokens_ - shard_->tokens()));
    stored_.clear();
    store_ids(rest.first(count), tokenizer_.vocabulary(), stored_);
    shard_->add(stored_);
    hash_.add(stored_);
    rest = rest.subspan(count);
    if (shard_tokens_ > 0 && shard_->tokens() == shard_tokens_) close_shard();
  }
}

void SplitWriter::close_shard() {
  ShardEntry& shard = entry_.shards.back();
  shard.tokens = shard_->tokens();
  shard.sha256 = shard_->close();
  entry_.tokens += shard.tokens;
  shard_.reset();
}

SplitEntry SplitWriter::finish() {
  if (shard_) close_shard();
  entry_.sha256 = hash_.hex();
  return entry_;
}

CorpusWriter::CorpusWriter(const std::filesystem::path& folder, const Tokenizer& tokenizer,
                           const CorpusOptions& options, DocumentSplitter splitter)
    : splitter_(std::move(splitter)),
      splits_{SplitWriter(folder, "train", tokenizer, options.shard_tokens),
              SplitWriter(folder, "val", tokenizer, 0), SplitWriter(folder, "test", tokenizer, 0)} {}

void CorpusWriter::add_document(std::string_view text) {
  splitter_.split(text, [this](const DocumentSplitter::Part& part) {
    splits_[part.split].add(part.text);
    if (part.ends_document) splits_[part.split].end_document();
  });
}

std::vector<SplitEntry> CorpusWriter::finish() {
  std::vector<SplitEntry> entries;
  for (SplitWriter& split : splits_) {
    SplitEntry entry = split.finish();
    if (entry.tokens > 0) entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace minichilla
