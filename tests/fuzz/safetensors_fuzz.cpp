// A safetensors file.
#include <algorithm>
#include <cstring>
#include <vector>

#include "model/safetensors.h"
#include "tests/fuzz/fuzz.h"
#include "tests/model/safetensors_bytes.h"

namespace minichilla {
namespace {

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

}  // namespace

void fuzz_one(std::string_view input) {
  const std::vector<char> bytes(input.begin(), input.end());  // aligned, as a mapped file is
  SafetensorsFile file;
  if (!fuzz::accepts([&] { file = parse_safetensors(bytes, "model.safetensors"); })) return;
  const std::string written = safetensors_bytes(file.tensors, file.metadata);
  const std::vector<char> copy(written.begin(), written.end());
  const SafetensorsFile again = parse_safetensors(copy, "written.safetensors");
  fuzz::expect(again.metadata == file.metadata, "metadata read back as they were");
  fuzz::expect(
      std::equal(file.tensors.begin(), file.tensors.end(), again.tensors.begin(), again.tensors.end(),
                 [](const NamedTensor& a, const NamedTensor& b) {
                   return a.name == b.name && a.shape == b.shape && same_bits(a.values, b.values);
                 }),
      "tensors read back as they were");
}

}  // namespace minichilla
