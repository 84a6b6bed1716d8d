// Files that survive crashes: replaced whole or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace minichilla {

/// Throws the IoError "PATH: cannot ACTION: …" with the text of errno.
[[noreturn]] void throw_io(const std::filesystem::path& path, const char* action);

/// Whether there is something at `path`. IoError when that cannot be told: what cannot be looked at is not
/// taken for missing.
bool path_exists(const std::filesystem::path& path);

/// Creates one folder, durably, unless it is there. Its parent has to exist: who writes into a folder that
/// vanished shall notice. IoError.
void create_synced_folder(const std::filesystem::path& folder);
/// The same with all its parents.
void create_synced_folders(const std::filesystem::path& folder);

/// An open file descriptor that closes itself.
class Descriptor {
 public:
  /// IoError "PATH: cannot ACTION: …" when it cannot be opened.
  Descriptor(const std::filesystem::path& path, int flags, const char* action);
  explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
  Descriptor(Descriptor&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  ~Descriptor();
  int get() const { return descriptor_; }
  /// Writes all of `bytes` at the file's position. IoError names `path`; a part may have been written then.
  void write_all(std::string_view bytes, const std::filesystem::path& path) const;
  /// Fills `bytes` from byte `offset` of the file on, wherever its position is. IoError names `path`, also
  /// when the file ends before.
  void read_at(std::int64_t offset, std::span<char> bytes, const std::filesystem::path& path) const;

 private:
  int descriptor_;
};

/// Whole file as a string; IoError names the path.
std::string read_file(const std::filesystem::path& path);

/// A new file beside `path`, written front to back, that takes its place once it is whole; without replace()
/// it is removed with this object. IoError names `path`.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::filesystem::path path);
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::filesystem::path& name() const { return temporary_; }
  void append(std::string_view piece);
  /// fsync: all of it is on disk.
  void sync();
  /// fsync, rename, fsync of the folder.
  void replace();

 private:
  std::filesystem::path path_, temporary_;
  Descriptor file_;
  bool renamed_ = false;
};

/// Replaces `path` with `content` through a TemporaryFile. IoError names the path; a failed write leaves the
/// old file and no temporary.
void replace_file(const std::filesystem::path& path, std::string_view content);

/// Creates `path` with `content` unless it exists: temporary, fsync, link(). False when somebody else was
/// first (judged by the inode, since link() over NFS may report a failure that was none).
bool publish_file(const std::filesystem::path& path, std::string_view content);

/// Gives the file `existing` the further name `path`, unless that exists. False when somebody else was first,
/// judged as above. IoError.
bool link_file(const std::filesystem::path& existing, const std::filesystem::path& path);

/// InputError "--output PATH: …" when a file stands where a command wants to have its folder.
void check_output_folder(const std::filesystem::path& output);

/// fsync of a folder, so that its entries are on disk.
void sync_folder(const std::filesystem::path& folder);

/// A file that grows by whole pieces: one that a full disk cut in two is taken back. IoError names the path.
class AppendedFile {
 public:
  /// Creates it unless it is there.
  explicit AppendedFile(std::filesystem::path path);
  void append(std::string_view piece);
  /// Waits until all of it is on disk.
  void sync();

 private:
  std::filesystem::path path_;
  Descriptor file_;
  std::int64_t size_;  ///< of the whole pieces
  bool torn_ = false;  ///< a part of a piece follows them
};

/// A read-only memory map of a whole file; move-only. An empty file gives an empty span. IoError names the
/// path.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();
  std::span<const char> bytes() const { return {data_, size_}; }
  /// Gives the memory back until somebody looks at it again: pages that were looked at count as the
  /// process's.
  void forget() const;

 private:
  const char* data_ = nullptr;
  std::size_t size_ = 0;
};

/// SHA-256 in lower-case hexadecimal.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void add(std::span<const char> bytes);
  std::string hex();  ///< ends the hash

 private:
  void* context_;
};
std::string sha256_hex(std::string_view bytes);
/// Of a whole file, of which only a piece is in memory at any time. IoError names the path.
std::string file_sha256(const std::filesystem::path& path);

}  // namespace minichilla
