// Files that survive crashes: replaced whole or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace minichilla {

/// Whole file as a string; IoError names the path.
std::string read_file(const std::filesystem::path& path);

/// Replaces `path` with `content`: temporary file beside it, fsync, rename, fsync of the folder. IoError
/// names the path; a failed write leaves the old file and no temporary.
void replace_file(const std::filesystem::path& path, std::string_view content);

/// Creates `path` with `content` unless it exists: temporary, fsync, link(). False when somebody else was
/// first (judged by the inode, since link() over NFS may report a failure that was none).
bool publish_file(const std::filesystem::path& path, std::string_view content);

/// InputError "--output PATH: …" when a file stands where a command wants to have its folder.
void check_output_folder(const std::filesystem::path& output);

/// fsync of a folder, so that its entries are on disk.
void sync_folder(const std::filesystem::path& folder);

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

}  // namespace minichilla
