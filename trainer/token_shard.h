// One file of token ids: a 128-byte header, then the ids, little-endian. docs/data.md has the layout byte by
// byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "trainer/files.h"

namespace minichilla {

constexpr std::size_t kShardHeaderBytes = 128;

/// Bytes per stored id: 2 up to a vocabulary of 65536, else 4.
int token_width(int vocabulary);

/// Writes one shard front to back. Until close() the header is all zeros, so that an unfinished file is no
/// shard; a file that was not closed is removed by the destructor. IoError names the path.
class ShardWriter {
 public:
  ShardWriter(std::filesystem::path path, int vocabulary);
  ~ShardWriter();
  ShardWriter(const ShardWriter&) = delete;
  ShardWriter& operator=(const ShardWriter&) = delete;

  /// Appends ids, given in their stored form (token_width() bytes each, little-endian).
  void add(std::span<const char> stored);
  /// Writes the header and syncs. Returns the SHA-256 of the stored ids.
  std::string close();
  std::int64_t tokens() const { return stored_bytes_ / token_width(vocabulary_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  void write_buffer();
  std::filesystem::path path_;
  int vocabulary_;
  Descriptor file_;
  std::vector<char> buffer_;  ///< not written yet
  bool closed_ = false;
  std::int64_t stored_bytes_ = 0;
  Sha256 hash_;
};

/// True for a shard, and for what an interrupted ShardWriter leaves behind; false for other programs' files.
bool may_be_token_shard(const std::filesystem::path& path);

/// Appends the stored form of ids (each in 0 … vocabulary − 1) to `stored`.
void store_ids(std::span<const std::int32_t> ids, int vocabulary, std::vector<char>& stored);

/// A shard on disk. Opening checks header and size and reads no ids; every read checks the ids that it
/// returns, so that no id outside the vocabulary leaves this class. May be read from any thread.
class TokenShard {
 public:
  /// InputError when the file is no shard, is damaged, or has another vocabulary; IoError when it cannot be
  /// read.
  TokenShard(const std::filesystem::path& path, int vocabulary);

  std::int64_t tokens() const { return tokens_; }
  /// SHA-256 of the stored ids as the header has it.
  const std::string& recorded_sha256() const { return sha256_; }
  /// All of them, mapped into memory.
  std::span<const char> stored() const { return map_.bytes().subspan(kShardHeaderBytes); }
  /// ids[0 … count) = the ids at begin … begin + count − 1, inside the shard. InputError for an id ≥
  /// vocabulary; IoError.
  void read(std::int64_t begin, std::int64_t count, std::int32_t* ids) const;

 private:
  std::filesystem::path path_;
  MappedFile map_;
  Descriptor file_;
  int vocabulary_;
  std::int64_t tokens_ = 0;
  std::string sha256_;
};

}  // namespace minichilla
