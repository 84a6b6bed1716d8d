#include "trainer/corpus_writer.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "trainer/text_documents.h"

namespace minichilla {
namespace {

constexpr std::size_t kPieceBytes = 1 << 20;

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
                           const CorpusOptions& options)
    : val_(options.val),
      test_(options.test),
      splits_{SplitWriter(folder, "train", tokenizer, options.shard_tokens),
              SplitWriter(folder, "val", tokenizer, 0), SplitWriter(folder, "test", tokenizer, 0)} {}

void CorpusWriter::split_by_position(std::int64_t text_bytes) {
  by_position_ = true;
  const auto cut = [&](double fraction) {
    // 1 − 0.05 − 0.05 is a little less than 0.9: a millionth of a byte makes up for it.
    return static_cast<std::int64_t>(std::floor(static_cast<double>(text_bytes) * fraction + 1e-6));
  };
  ends_ = {cut(1 - val_ - test_), cut(1 - test_), text_bytes};
}

void CorpusWriter::add_document(std::string_view text) {
  if (by_position_) {
    add_by_position(text);
  } else {
    SplitWriter& split = splits_[split_of_hash(text)];
    split.add(text);
    split.end_document();
  }
}

std::size_t CorpusWriter::split_of_hash(std::string_view text) const {
  if (val_ == 0 && test_ == 0) return 0;
  const std::uint64_t prefix = std::strtoull(sha256_hex(text).substr(0, 13).c_str(), nullptr, 16);
  const double uniform = static_cast<double>(prefix) / 0x1p52;
  return uniform < val_ ? 1 : uniform < val_ + test_ ? 2 : 0;
}

void CorpusWriter::add_by_position(std::string_view text) {
  const auto size = static_cast<std::int64_t>(text.size());
  std::size_t begin = 0, last = 0;
  for (std::size_t i = 0; i < splits_.size(); ++i) {
    const std::int64_t inside = std::clamp<std::int64_t>(ends_[i] - offset_, 0, size);
    const std::size_t end = std::max(begin, character_start(text, static_cast<std::size_t>(inside)));
    if (end == begin) continue;
    splits_[i].add(text.substr(begin, end - begin));
    begin = end;
    last = i;
  }
  splits_[last].end_document();
  offset_ += size;
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
