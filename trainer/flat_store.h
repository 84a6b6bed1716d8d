// A run's flat arrays, wherever they lie, a piece at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace minichilla {

/// Of flat_size() floats each, in the order of the parameter table.
enum class FlatArray { weights, first_moment, second_moment };

class FlatStore {
 public:
  virtual ~FlatStore() = default;
  /// Copy elements begin … begin + values.size() − 1 of an array to the host and from there.
  virtual void read(FlatArray array, std::int64_t begin, std::span<float> values) const = 0;
  virtual void write(FlatArray array, std::int64_t begin, std::span<const float> values) = 0;
};

/// Elements that pass through the host at a time, a MiB: so the host needs no array of its own.
constexpr std::int64_t kFlatPiece = std::int64_t{1} << 18;

}  // namespace minichilla
