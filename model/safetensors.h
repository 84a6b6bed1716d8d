// Named tensors in the safetensors format: 8 bytes of header length, a JSON header, raw little-endian data.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace minichilla {

/// An fp32 tensor of a file to be written.
struct NamedShape {
  std::string name;
  std::vector<std::int64_t> shape;
};

/// What a file of these tensors begins with: length and header, a multiple of 8 bytes. The values of each
/// tensor, unpadded and in the given order, make the rest of the file.
std::string safetensors_beginning(std::span<const NamedShape> tensors,
                                  const std::map<std::string, std::string>& metadata);

/// An fp32 tensor of a file that was read.
struct NamedTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  std::span<const float> values;
};

/// A parsed file: the tensors point into `bytes`, which must outlive them.
struct SafetensorsFile {
  std::vector<NamedTensor> tensors;
  std::map<std::string, std::string> metadata;
};

/// Checks header length, JSON, dtype, shapes, that every range lies in the data, is aligned and overlaps no
/// other. InputError names `file`, what was found and what was expected.
SafetensorsFile parse_safetensors(std::span<const char> bytes, const std::string& file);

}  // namespace minichilla
