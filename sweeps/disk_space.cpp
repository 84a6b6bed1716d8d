#include "sweeps/disk_space.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "kernels/error.h"
#include "trainer/files.h"

namespace minichilla {
namespace {

constexpr std::uint64_t kMostTried = 1 << 20;

}  // namespace

bool is_disk_full(const std::filesystem::path& folder, std::uint64_t bytes) {
  struct statvfs system {};
  if (statvfs(folder.c_str(), &system) == 0 && system.f_blocks > 0 &&
      static_cast<std::uint64_t>(system.f_bavail) * system.f_frsize < bytes)
    return true;
  std::string name = (folder / ".space-XXXXXX").string();
  const Descriptor file(mkstemp(name.data()));
  if (file.get() < 0) return errno == ENOSPC || errno == EDQUOT;
  bool full = false;
  try {
    file.write_all(std::string(std::min(bytes, kMostTried), '\0'), name);
    full = fsync(file.get()) != 0 && (errno == ENOSPC || errno == EDQUOT);
  } catch (const IoError&) {
    full = errno == ENOSPC || errno == EDQUOT;
  }
  unlink(name.c_str());
  return full;
}

}  // namespace minichilla
