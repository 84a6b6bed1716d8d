#include "trainer/files.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>
#include <utility>

#include "kernels/error.h"

namespace minichilla {
namespace {

constexpr std::size_t kHashedBytes = std::size_t{1} << 20;  // at a time

/// A new file beside `path`, which nobody else has: another host that shares the file system may run under
/// the same process number, and a crashed process may have left its temporary behind, so a taken name is
/// tried no further. Returns its descriptor.
int create_temporary(const std::filesystem::path& path, std::filesystem::path& temporary) {
  std::random_device random;
  for (;;) {
    temporary = path.string() + ".tmp-" + std::to_string(getpid()) + "-" + std::to_string(random());
    const int descriptor = open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor >= 0) return descriptor;
    if (errno != EEXIST && errno != EINTR) throw_io(path, "create");
  }
}

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

}  // namespace

void throw_io(const std::filesystem::path& path, const char* action) {
  throw IoError(path.string() + ": cannot " + action + ": " + std::strerror(errno));
}

bool path_exists(const std::filesystem::path& path) {
  std::error_code error;
  const bool there = std::filesystem::exists(path, error);
  if (error) throw IoError(path.string() + ": cannot read: " + error.message());
  return there;
}

void create_synced_folder(const std::filesystem::path& folder) {
  if (mkdir(folder.c_str(), 0777) == 0) return sync_folder(folder_of(folder));
  if (errno != EEXIST) throw_io(folder, "create");
}

void create_synced_folders(const std::filesystem::path& folder) {
  if (path_exists(folder)) return;
  if (folder.has_relative_path() && folder.has_parent_path()) create_synced_folders(folder.parent_path());
  create_synced_folder(folder);
}

Descriptor::Descriptor(const std::filesystem::path& path, int flags, const char* action)
    : Descriptor(open(path.c_str(), flags | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) throw_io(path, action);
}

Descriptor::~Descriptor() {
  if (descriptor_ >= 0) close(descriptor_);
}

void Descriptor::write_all(std::string_view bytes, const std::filesystem::path& path) const {
  while (!bytes.empty()) {
    const ssize_t written = write(descriptor_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw_io(path, "write");
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

void Descriptor::read_at(std::int64_t offset, std::span<char> bytes,
                         const std::filesystem::path& path) const {
  while (!bytes.empty()) {
    const ssize_t got = pread(descriptor_, bytes.data(), bytes.size(), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_io(path, "read");
    if (got == 0)
      throw IoError(path.string() + ": cannot read: it ends before byte " + std::to_string(offset + 1));
    bytes = bytes.subspan(static_cast<std::size_t>(got));
    offset += got;
  }
}

std::string read_file(const std::filesystem::path& path) {
  const Descriptor file(path, O_RDONLY, "read");
  std::string content;
  char block[1 << 16];
  for (;;) {
    const ssize_t got = read(file.get(), block, sizeof block);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_io(path, "read");
    if (got == 0) return content;
    content.append(block, static_cast<std::size_t>(got));
  }
}

TemporaryFile::TemporaryFile(std::filesystem::path path)
    : path_(std::move(path)), file_(create_temporary(path_, temporary_)) {}

TemporaryFile::~TemporaryFile() {
  if (!renamed_) unlink(temporary_.c_str());
}

void TemporaryFile::append(std::string_view piece) {
  file_.write_all(piece, path_);
}

void TemporaryFile::sync() {
  if (fsync(file_.get()) != 0) throw_io(path_, "sync");
}

void TemporaryFile::replace() {
  sync();
  if (rename(temporary_.c_str(), path_.c_str()) != 0) throw_io(path_, "replace");
  renamed_ = true;
  sync_folder(folder_of(path_));
}

void replace_file(const std::filesystem::path& path, std::string_view content) {
  TemporaryFile file(path);
  file.append(content);
  file.replace();
}

bool link_file(const std::filesystem::path& existing, const std::filesystem::path& path) {
  if (link(existing.c_str(), path.c_str()) != 0) {
    const int link_error = errno;
    struct stat ours {
    }, theirs{};
    const bool known = stat(existing.c_str(), &ours) == 0 && stat(path.c_str(), &theirs) == 0;
    if (link_error != EEXIST) errno = link_error;
    if (!known) throw_io(path, "publish");
    if (ours.st_ino != theirs.st_ino || ours.st_dev != theirs.st_dev) {
      if (link_error != EEXIST) throw_io(path, "publish");
      return false;
    }
  }
  sync_folder(folder_of(path));
  return true;
}

bool publish_file(const std::filesystem::path& path, std::string_view content) {
  TemporaryFile file(path);
  file.append(content);
  file.sync();
  return link_file(file.name(), path);
}

void check_output_folder(const std::filesystem::path& output) {
  if (!path_exists(output) || std::filesystem::is_directory(output)) return;
  throw InputError("--output " + output.string() + ": found a file, expected a folder or nothing");
}

void sync_folder(const std::filesystem::path& folder) {
  const Descriptor file(folder, O_RDONLY | O_DIRECTORY, "open");
  if (fsync(file.get()) != 0 && errno != EINVAL) throw_io(folder, "sync");
}

AppendedFile::AppendedFile(std::filesystem::path path)
    : path_(std::move(path)), file_(path_, O_WRONLY | O_CREAT | O_APPEND, "create") {
  size_ = std::max<std::int64_t>(lseek(file_.get(), 0, SEEK_END), 0);
}

void AppendedFile::append(std::string_view piece) {
  if (torn_ && ftruncate(file_.get(), size_) != 0) throw_io(path_, "write");
  torn_ = false;
  try {
    file_.write_all(piece, path_);
  } catch (const IoError&) {
    torn_ = ftruncate(file_.get(), size_) != 0;
    throw;
  }
  size_ += static_cast<std::int64_t>(piece.size());
}

void AppendedFile::sync() {
  if (fdatasync(file_.get()) != 0 && errno != EINVAL) throw_io(path_, "sync");
}

MappedFile::MappedFile(const std::filesystem::path& path) {
  const Descriptor file(path, O_RDONLY, "read");
  struct stat status {};
  if (fstat(file.get(), &status) != 0) throw_io(path, "read");
  if (!S_ISREG(status.st_mode)) throw IoError(path.string() + ": cannot map, expected a regular file");
  size_ = static_cast<std::size_t>(status.st_size);
  if (size_ == 0) return;
  void* data = mmap(nullptr, size_, PROT_READ, MAP_SHARED, file.get(), 0);
  if (data == MAP_FAILED) throw_io(path, "map");
  data_ = static_cast<const char*>(data);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_) munmap(const_cast<char*>(data_), size_);
}

void MappedFile::forget() const {
  // All of it, since a page brings its neighbours along, those behind it too.
  if (data_) madvise(const_cast<char*>(data_), size_, MADV_DONTNEED);
}

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  if (!context_ || EVP_DigestInit_ex(static_cast<EVP_MD_CTX*>(context_), EVP_sha256(), nullptr) != 1) {
    throw std::runtime_error("SHA-256 is not available in libcrypto");
  }
}

Sha256::~Sha256() {
  EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context_));
}

void Sha256::add(std::span<const char> bytes) {
  EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(context_), bytes.data(), bytes.size());
}

std::string Sha256::hex() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_DigestFinal_ex(static_cast<EVP_MD_CTX*>(context_), digest, &size);
  static const char kDigits[] = "0123456789abcdef";
  std::string text;
  for (unsigned int i = 0; i < size; ++i) {
    text += kDigits[digest[i] >> 4];
    text += kDigits[digest[i] & 15];
  }
  return text;
}

std::string sha256_hex(std::string_view bytes) {
  Sha256 hash;
  hash.add({bytes.data(), bytes.size()});
  return hash.hex();
}

std::string file_sha256(const std::filesystem::path& path) {
  const MappedFile file(path);
  Sha256 hash;
  for (std::span<const char> rest = file.bytes(); !rest.empty();) {
    const std::span<const char> piece = rest.first(std::min(rest.size(), kHashedBytes));
    hash.add(piece);
    file.forget();
    rest = rest.subspan(piece.size());
  }
  return hash.hex();
}

}  // namespace minichilla
