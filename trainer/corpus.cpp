#include "trainer/corpus.h"

#include <algorithm>
#include <map>
#include <stdexcept>

#include "kernels/error.h"
#include "trainer/corpus_manifest.h"
#include "trainer/corpus_tokenizer.h"
#include "trainer/files.h"
#include "trainer/token_shard.h"
#include "trainer/tokenizer.h"

namespace minichilla {
namespace {

/// One split over its mapped shards.
class MappedSplit : public TokenSplit {
 public:
  MappedSplit(const std::filesystem::path& folder, const SplitEntry& entry, int vocabulary)
      : tokens_(entry.tokens), text_bytes_(entry.bytes) {
    std::int64_t begin = 0;
    for (const ShardEntry& shard : entry.shards) {
      add_shard(folder / shard.file, shard, vocabulary);
      begins_.push_back(begin);
      begin += shard.tokens;
    }
  }

  std::int64_t tokens() const override { return tokens_; }
  std::int64_t text_bytes() const override { return text_bytes_; }
  const std::vector<TokenShard>& shards() const { return shards_; }

  void read(std::int64_t begin, std::int64_t count, std::int32_t* ids) const override {
    if (begin < 0 || count < 0 || begin > tokens_ - count)
      throw std::invalid_argument("token range outside the split");
    auto shard =
        static_cast<std::size_t>(std::upper_bound(begins_.begin(), begins_.end(), begin) - begins_.begin()) -
        1;
    while (count > 0) {
      const std::int64_t inside = begin - begins_[shard];
      const std::int64_t part = std::min(count, shards_[shard].tokens() - inside);
      shards_[shard].read(inside, part, ids);
      begin += part;
      count -= part;
      ids += part;
      ++shard;
    }
  }

 private:
  void add_shard(const std::filesystem::path& path, const ShardEntry& entry, int vocabulary) {
    if (!path_exists(path)) {
      throw InputError(path.string() + ": found no such file, expected a shard of " +
                       std::to_string(entry.tokens) + " tokens as manifest.json says");
    }
    const TokenShard& shard = shards_.emplace_back(path, vocabulary);
    if (shard.tokens() != entry.tokens) {
      throw InputError(path.string() + ": found " + std::to_string(shard.tokens()) + " tokens, expected " +
                       std::to_string(entry.tokens) + " as manifest.json says");
    }
    if (shard.recorded_sha256() != entry.sha256) {
      throw InputError(path.string() + ": found a shard of another corpus (SHA-256 " +
                       shard.recorded_sha256() + "), expected " + entry.sha256 + " as manifest.json says");
    }
  }

  std::int64_t tokens_, text_bytes_;
  std::vector<TokenShard> shards_;
  std::vector<std::int64_t> begins_;  ///< position of each shard's first token
};

class MappedCorpus : public Corpus {
 public:
  explicit MappedCorpus(const std::filesystem::path& folder)
      : folder_(folder), manifest_(read_manifest(folder)) {
    const std::string where = (folder / "manifest.json").string();
    open_tokenizer(folder, manifest_);  // its model is there and is the right one
    for (const SplitEntry& entry : manifest_.splits) {
      if (manifest_.tokenizer == "bytes" && entry.tokens != entry.bytes + entry.documents) {
        throw InputError(where + ": splits." + entry.name + ".tokens: found " + std::to_string(entry.tokens) +
                         ", expected bytes + documents = " + std::to_string(entry.bytes + entry.documents));
      }
      splits_.emplace(entry.name, MappedSplit(folder, entry, manifest_.vocabulary));
    }
  }

  const std::filesystem::path& folder() const override { return folder_; }
  std::string tokenizer() const override { return tokenizer_identity(manifest_); }
  int vocabulary() const override { return manifest_.vocabulary; }
  const std::string& hash() const override { return manifest_.hash; }

  const TokenSplit& split(const std::string& name) const override {
    const auto found = splits_.find(name);
    if (found != splits_.end()) return found->second;
    std::string names;
    for (const SplitEntry& entry : manifest_.splits) names += (names.empty() ? "" : ", ") + entry.name;
    throw InputError(folder_.string() + ": this corpus has no split '" + name + "', it has " + names +
                     (name == "train" ? "" : "; prepare it with --" + name + " above 0"));
  }

  void verify() const {
    for (const SplitEntry& entry : manifest_.splits) {
      Sha256 whole;
      const std::vector<TokenShard>& shards = splits_.at(entry.name).shards();
      for (std::size_t i = 0; i < shards.size(); ++i) {
        verify_shard(folder_ / entry.shards[i].file, shards[i]);
        whole.add(shards[i].stored());
      }
      if (const std::string found = whole.hex(); found != entry.sha256) {
        throw InputError((folder_ / "manifest.json").string() + ": splits." + entry.name + ".sha256: found " +
                         entry.sha256 + ", expected " + found + " by its shards");
      }
    }
  }

 private:
  static void verify_shard(const std::filesystem::path& path, const TokenShard& shard) {
    Sha256 hash;
    hash.add(shard.stored());
    if (const std::string found = hash.hex(); found != shard.recorded_sha256()) {
      throw InputError(path.string() + ": found SHA-256 " + found + " of its tokens, expected " +
                       shard.recorded_sha256() + "; the file is damaged, prepare the corpus again");
    }
    constexpr std::int64_t kBlock = 1 << 16;
    std::vector<std::int32_t> ids(kBlock);
    for (std::int64_t begin = 0; begin < shard.tokens(); begin += kBlock) {
      shard.read(begin, std::min(kBlock, shard.tokens() - begin), ids.data());
    }
  }

  std::filesystem::path folder_;
  CorpusManifest manifest_;
  std::map<std::string, MappedSplit> splits_;
};

}  // namespace

std::shared_ptr<const Corpus> open_corpus(const std::filesystem::path& folder) {
  return std::make_shared<MappedCorpus>(folder);
}

void verify_corpus(const std::filesystem::path& folder) {
  MappedCorpus(folder).verify();
}

}  // namespace minichilla
