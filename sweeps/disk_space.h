// Whether there is room to go on.
#pragma once

#include <cstdint>
#include <filesystem>

namespace minichilla {

/// Whether `bytes` do not fit below `folder`: asked of the file system, and tried with a small file of its
/// own, since only that notices a quota. Anything else that is wrong with the folder is not for this to find.
bool is_disk_full(const std::filesystem::path& folder, std::uint64_t bytes);

}  // namespace minichilla
