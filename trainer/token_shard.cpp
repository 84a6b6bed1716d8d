#include "trainer/token_shard.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "kernels/error.h"

namespace minichilla {
namespace {

static_assert(std::endian::native == std::endian::little,
              "shards are read as they lie on disk: little-endian");

constexpr char kMagic[8] = {'M', 'C', 'H', 'T', 'O', 'K', 'E', 'N'};
constexpr std::uint32_t kVersion = 1;
constexpr std::uint32_t kEndianMarker = 0x01020304;
constexpr std::size_t kBufferBytes = 1 << 20;

struct ShardHeader {
  char magic[8];
  std::uint32_t version, endian_marker, header_bytes, token_bytes;
  std::uint64_t tokens, vocabulary;
  unsigned char sha256[32];
  unsigned char zero[56];
};
static_assert(sizeof(ShardHeader) == kShardHeaderBytes);

void hex_to_bytes(const std::string& hex, unsigned char* bytes) {
  for (std::size_t i = 0; 2 * i < hex.size(); ++i) {
    bytes[i] = static_cast<unsigned char>(std::stoi(hex.substr(2 * i, 2), nullptr, 16));
  }
}

std::string bytes_to_hex(std::span<const unsigned char> bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (const unsigned char byte : bytes) {
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

/// One header field that must have one value.
void expect(const std::filesystem::path& path, const char* field, std::uint64_t found,
            std::uint64_t expected) {
  if (found == expected) return;
  throw InputError(path.string() + ": shard header: found " + field + " " + std::to_string(found) +
                   ", expected " + std::to_string(expected));
}

/// Reads and checks the header against the file's size and the corpus' vocabulary.
ShardHeader checked_header(const std::filesystem::path& path, std::span<const char> file, int vocabulary) {
  if (file.size() < kShardHeaderBytes) {
    throw InputError(path.string() + ": found " + std::to_string(file.size()) +
                     " bytes, expected a token shard of " + "at least " + std::to_string(kShardHeaderBytes));
  }
  ShardHeader header;
  std::memcpy(&header, file.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) {
    throw InputError(path.string() +
                     ": found another kind of file (or an unfinished one), expected a token shard " +
                     "written by 'minichilla data prepare'");
  }
  expect(path, "endianness marker", header.endian_marker, kEndianMarker);
  expect(path, "version", header.version, kVersion);
  expect(path, "header bytes", header.header_bytes, kShardHeaderBytes);
  expect(path, "vocabulary", header.vocabulary, static_cast<std::uint64_t>(vocabulary));
  expect(path, "bytes per token", header.token_bytes, static_cast<std::uint64_t>(token_width(vocabulary)));
  const std::uint64_t stored = file.size() - kShardHeaderBytes;
  if (header.tokens != stored / header.token_bytes || stored % header.token_bytes != 0) {
    throw InputError(path.string() + ": found " + std::to_string(stored) + " bytes of ids, expected " +
                     std::to_string(header.tokens) + " ids of " + std::to_string(header.token_bytes) +
                     " bytes: the file was cut or grew");
  }
  return header;
}

/// Widens ids and returns the largest one.
template <class Stored>
std::uint32_t widen(const char* stored, std::int64_t count, std::int32_t* ids) {
  std::uint32_t largest = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    Stored id;
    std::memcpy(&id, stored + static_cast<std::size_t>(i) * sizeof id, sizeof id);
    largest = std::max<std::uint32_t>(largest, id);
    ids[i] = static_cast<std::int32_t>(id);
  }
  return largest;
}

/// The file is never written over in place: somebody may have the old shard mapped.
int create_anew(const std::filesystem::path& path) {
  unlink(path.c_str());
  const int descriptor = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0) throw_io(path, "create");
  return descriptor;
}

template <class Stored>
void narrow(std::span<const std::int32_t> ids, char* stored) {
  for (const std::int32_t id : ids) {
    const Stored narrowed = static_cast<Stored>(id);
    std::memcpy(stored, &narrowed, sizeof narrowed);
    stored += sizeof narrowed;
  }
}

}  // namespace

int token_width(int vocabulary) {
  return vocabulary <= 65536 ? 2 : 4;
}

bool may_be_token_shard(const std::filesystem::path& path) {
  const MappedFile file(path);
  const std::span<const char> bytes = file.bytes();
  if (bytes.size() < kShardHeaderBytes) return bytes.empty();
  const std::span<const char> header = bytes.first(kShardHeaderBytes);
  return std::memcmp(header.data(), kMagic, sizeof kMagic) == 0 ||
         std::all_of(header.begin(), header.end(), [](char byte) { return byte == 0; });
}

void store_ids(std::span<const std::int32_t> ids, int vocabulary, std::vector<char>& stored) {
  const std::size_t begin = stored.size();
  const auto width = static_cast<std::size_t>(token_width(vocabulary));
  stored.resize(begin + ids.size() * width);
  if (width == 2) {
    narrow<std::uint16_t>(ids, stored.data() + begin);
  } else {
    narrow<std::uint32_t>(ids, stored.data() + begin);
  }
}

ShardWriter::ShardWriter(std::filesystem::path path, int vocabulary)
    : path_(std::move(path)),
      vocabulary_(vocabulary),
      file_(create_anew(path_)),
      buffer_(kShardHeaderBytes) {}  // zeros: unfinished

ShardWriter::~ShardWriter() {
  if (!closed_) unlink(path_.c_str());
}

void ShardWriter::write_buffer() {
  file_.write_all({buffer_.data(), buffer_.size()}, path_);
  buffer_.clear();
}

void ShardWriter::add(std::span<const char> stored) {
  buffer_.insert(buffer_.end(), stored.begin(), stored.end());
  if (buffer_.size() >= kBufferBytes) write_buffer();
  hash_.add(stored);
  stored_bytes_ += static_cast<std::int64_t>(stored.size());
}

std::string ShardWriter::close() {
  const std::string sha256 = hash_.hex();
  ShardHeader header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.version = kVersion;
  header.endian_marker = kEndianMarker;
  header.header_bytes = kShardHeaderBytes;
  header.token_bytes = static_cast<std::uint32_t>(token_width(vocabulary_));
  header.tokens = static_cast<std::uint64_t>(tokens());
  header.vocabulary = static_cast<std::uint64_t>(vocabulary_);
  hex_to_bytes(sha256, header.sha256);
  write_buffer();
  // The ids must be on disk before the header says so.
  if (fsync(file_.get()) != 0) throw_io(path_, "sync");
  if (lseek(file_.get(), 0, SEEK_SET) != 0) throw_io(path_, "write");
  file_.write_all({reinterpret_cast<const char*>(&header), sizeof header}, path_);
  if (fsync(file_.get()) != 0) throw_io(path_, "sync");
  closed_ = true;
  return sha256;
}

TokenShard::TokenShard(const std::filesystem::path& path, int vocabulary)
    : path_(path), map_(path), file_(path, O_RDONLY, "read"), vocabulary_(vocabulary) {
  const ShardHeader header = checked_header(path_, map_.bytes(), vocabulary);
  tokens_ = static_cast<std::int64_t>(header.tokens);
  sha256_ = bytes_to_hex(header.sha256);
}

void TokenShard::read(std::int64_t begin, std::int64_t count, std::int32_t* ids) const {
  if (begin < 0 || count < 0 || begin > tokens_ - count)
    throw std::invalid_argument("token range outside the shard");
  // Not from the map: in the course of a run all of it would come to count as the process's memory. Stored
  // ids lie at the end of where they are widened to, so each is read before its place is written.
  const int width = token_width(vocabulary_);
  char* const stored_ids = reinterpret_cast<char*>(ids + count) - count * width;
  file_.read_at(static_cast<std::int64_t>(kShardHeaderBytes) + begin * width,
                {stored_ids, static_cast<std::size_t>(count * width)}, path_);
  const std::uint32_t largest = width == 2 ? widen<std::uint16_t>(stored_ids, count, ids)
                                           : widen<std::uint32_t>(stored_ids, count, ids);
  if (count > 0 && largest >= static_cast<std::uint32_t>(vocabulary_)) {
    throw InputError(path_.string() + ": tokens " + std::to_string(begin) + " to " +
                     std::to_string(begin + count - 1) + ": found id " + std::to_string(largest) +
                     ", expected less than the vocabulary of " + std::to_string(vocabulary_) +
                     "; the file is damaged, prepare the corpus again");
  }
}

}  // namespace minichilla
