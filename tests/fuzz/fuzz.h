// What the fuzz targets share. A target gives its input to one reader: it must be read, or refused with an
// InputError that a user could be shown. Everything else ends the process, which libFuzzer reports.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include "kernels/error.h"
#include "trainer/files.h"

namespace minichilla::fuzz {

constexpr std::size_t kLongestMessage = 2048;

inline void expect(bool holds, const char* property, std::string_view detail = "") {
  if (holds) return;
  std::fprintf(stderr, "FINDING: %s\n%.*s\n", property, static_cast<int>(detail.size()), detail.data());
  std::abort();
}

/// Messages go to a terminal and into logs of one line each.
inline void expect_one_line(std::string_view message) {
  expect(!message.empty(), "the message is not empty");
  expect(message.size() <= kLongestMessage, "the message is short", message);
  for (const char letter : message) {
    const auto code = static_cast<unsigned char>(letter);
    expect(code >= 0x20 && code != 0x7F, "the message has no control characters", message);
  }
}

/// Whether `read` accepts the input; it may throw nothing but an InputError with a good message.
template <class Read>
bool accepts(Read read) {
  try {
    read();
    return true;
  } catch (const InputError& error) {
    expect_one_line(error.what());
    return false;
  }
}

/// A program's own folder, in the place that $TMPDIR names.
class Scratch {
 public:
  Scratch()
      : path_(std::filesystem::temp_directory_path() / ("minichilla-fuzz-" + std::to_string(getpid()))) {
    std::filesystem::create_directories(path_);
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::filesystem::path& path() const { return path_; }

  /// Writes a file without waiting for the disk.
  void write(const std::filesystem::path& name, std::string_view content) const {
    std::FILE* file = std::fopen((path_ / name).c_str(), "wb");
    const bool written = file && std::fwrite(content.data(), 1, content.size(), file) == content.size();
    expect(file && std::fclose(file) == 0 && written, "the scratch file can be written", name.native());
  }

 private:
  std::filesystem::path path_;
};

}  // namespace minichilla::fuzz

namespace minichilla {

/// What a target's source file defines.
void fuzz_one(std::string_view input);

}  // namespace minichilla
