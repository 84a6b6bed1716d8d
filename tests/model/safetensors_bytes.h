// Whole safetensors files in memory.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "model/safetensors.h"

namespace minichilla {

inline std::string safetensors_bytes(std::span<const NamedTensor> tensors,
                                     const std::map<std::string, std::string>& metadata) {
  std::vector<NamedShape> shapes;
  for (const NamedTensor& tensor : tensors) shapes.push_back({tensor.name, tensor.shape});
  std::string bytes = safetensors_beginning(shapes, metadata);
  for (const NamedTensor& tensor : tensors) {
    bytes.append(reinterpret_cast<const char*>(tensor.values.data()), tensor.values.size_bytes());
  }
  return bytes;
}

}  // namespace minichilla
