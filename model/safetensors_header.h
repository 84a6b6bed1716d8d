// The JSON header of a safetensors file, read without trust: nesting, counts and types are checked as it
// streams in.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace minichilla {

/// What the header says about one tensor; only its form is checked, not whether it fits the data.
struct SafetensorsEntry {
  std::string name, dtype;
  std::vector<std::int64_t> shape;  ///< sizes ≥ 0
  std::uint64_t begin, end;         ///< bytes, from the start of the data
};

/// The header as JSON text, entries in the given order after the metadata.
std::string safetensors_header_text(const std::vector<SafetensorsEntry>& entries,
                                    const std::map<std::string, std::string>& metadata);

/// The entries in the file's order; fills `metadata`. InputError names `file`, what was found and what was
/// expected. Memory stays within a small multiple of the header's size.
std::vector<SafetensorsEntry> parse_safetensors_header(std::span<const char> header, const std::string& file,
                                                       std::map<std::string, std::string>& metadata);

}  // namespace minichilla
