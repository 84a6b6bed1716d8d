// Named tensors in the safetensors format: 8 bytes of header length, a JSON header, raw little-endian data.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace minichilla {

/// One fp32 tensor of a file to be written.
struct NamedTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  std::span<const float> values;
};

/// The bytes of a file with these tensors (unpadded, in the given order) and string metadata.
std::string safetensors_bytes(std::span<const NamedTensor> tensors,
                              const std::map<std::string, std::string>& metadata);

/// A parsed file: the tensors point into `bytes`, which must outlive them.
struct SafetensorsFile {
  std::vector<NamedTensor> tensors;
  std::map<std::string, std::string> metadata;
};

/// Checks header length, JSON, dtype, shapes, that every range lies in the data, is aligned and overlaps no
/// other. InputError names `file`, what was found and what was expected.
SafetensorsFile parse_safetensors(std::span<const char> bytes, const std::string& file);

}  // namespace minichilla
