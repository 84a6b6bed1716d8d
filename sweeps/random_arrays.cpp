#include "sweeps/random_arrays.h"

#include <bit>

#include "kernels/ops.h"

namespace minichilla {

std::vector<std::int32_t> random_ids(std::int64_t count, int vocabulary) {
  std::mt19937 random;
  std::vector<std::int32_t> ids(static_cast<std::size_t>(count));
  for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random() % static_cast<unsigned>(vocabulary));
  return ids;
}

Buffer RandomArrays::floats(std::int64_t count, float largest) {
  return uploaded(values(count, largest));
}

Buffer RandomArrays::activations(std::int64_t count, float largest) {
  if (device_.operations().activation_bytes() == sizeof(float)) return floats(count, largest);
  std::vector<std::uint16_t> upper_halves;  // what bf16 is of fp32
  upper_halves.reserve(static_cast<std::size_t>(count));
  for (const float value : values(count, largest)) {
    upper_halves.push_back(static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16));
  }
  return uploaded(upper_halves);
}

Buffer RandomArrays::ids(std::int64_t count, int vocabulary) {
  return uploaded(random_ids(count, vocabulary));
}

std::vector<float> RandomArrays::values(std::int64_t count, float largest) {
  constexpr std::size_t kDistinct = std::size_t{1} << 20;
  std::uniform_real_distribution<float> uniform(-largest, largest);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = i < kDistinct ? uniform(random_) : values[i - kDistinct];
  }
  return values;
}

template <class Value>
Buffer RandomArrays::uploaded(const std::vector<Value>& values) {
  Buffer buffer = device_.allocate(values.size() * sizeof(Value));
  device_.upload(buffer.as<void>(), values.data(), buffer.bytes());
  return buffer;
}

}  // namespace minichilla
