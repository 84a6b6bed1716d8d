#include "model/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <numeric>
#include <optional>
#include <set>
#include <stdexcept>

#include "kernels/error.h"
#include "model/quote.h"
#include "model/safetensors_header.h"

namespace minichilla {
namespace {

static_assert(std::endian::native == std::endian::little,
              "safetensors data are little-endian and used in place");

constexpr std::size_t kLengthBytes = 8;
constexpr std::size_t kHeaderAlignment = 8;
constexpr std::uint64_t kLongestHeader = 100'000'000;  // the format's own limit

[[noreturn]] void refuse(const std::string& file, const std::string& found, const std::string& expected) {
  throw InputError(file + ": found " + found + ", expected " + expected);
}

/// The header's bytes.
std::span<const char> header_of(std::span<const char> bytes, const std::string& file) {
  std::uint64_t length = 0;
  if (bytes.size() < kLengthBytes) {
    refuse(file, std::to_string(bytes.size()) + " bytes", "a safetensors file (at least 8 bytes)");
  }
  std::memcpy(&length, bytes.data(), kLengthBytes);
  const std::uint64_t rest = bytes.size() - kLengthBytes;
  if (length > rest || length > kLongestHeader) {
    refuse(file,
           "a header of " + std::to_string(length) + " bytes in a file of " + std::to_string(bytes.size()),
           "a safetensors header inside the file, of at most " + std::to_string(kLongestHeader) + " bytes");
  }
  return bytes.subspan(kLengthBytes, static_cast<std::size_t>(length));
}

/// Elements × 4; empty when that or a factor does not fit.
std::optional<std::uint64_t> bytes_of(const std::vector<std::int64_t>& shape) {
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
  std::uint64_t total = sizeof(float);
  for (const std::int64_t size : shape) {
    if (__builtin_mul_overflow(total, static_cast<std::uint64_t>(size), &total)) return std::nullopt;
  }
  return total;
}

std::string text_of(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t size : shape) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(size);
  }
  return text + "]";
}

std::string range_text(const SafetensorsEntry& entry) {
  return "bytes " + std::to_string(entry.begin) + " to " + std::to_string(entry.end);
}

void check_entry(const SafetensorsEntry& entry, std::uint64_t data_bytes, const std::string& file) {
  const std::string where = file + ": tensor " + quote(entry.name);
  if (entry.dtype != "F32") refuse(where, "dtype " + quote(entry.dtype), "'F32'");
  if (entry.begin > entry.end || entry.end > data_bytes) {
    refuse(where, range_text(entry), "a range inside the " + std::to_string(data_bytes) + " bytes of data");
  }
  if (entry.begin % sizeof(float) != 0) refuse(where, range_text(entry), "a start that is a multiple of 4");
  const std::optional<std::uint64_t> bytes = bytes_of(entry.shape);
  if (!bytes || *bytes != entry.end - entry.begin) {
    refuse(where, range_text(entry),
           (bytes ? std::to_string(*bytes) + " bytes for shape " : "a shape that fits in memory, not ") +
               text_of(entry.shape));
  }
}

/// The ranges, in the order of their starts, must meet end to start and fill the data.
void check_coverage(const std::vector<SafetensorsEntry>& entries, std::uint64_t data_bytes,
                    const std::string& file) {
  std::vector<const SafetensorsEntry*> order;
  for (const SafetensorsEntry& entry : entries) order.push_back(&entry);
  std::sort(order.begin(), order.end(), [](const SafetensorsEntry* a, const SafetensorsEntry* b) {
    return a->begin != b->begin ? a->begin < b->begin : a->end < b->end;
  });
  std::uint64_t covered = 0;
  for (const SafetensorsEntry* entry : order) {
    if (entry->begin != covered) {
      refuse(file + ": tensor " + quote(entry->name), range_text(*entry),
             "a start at byte " + std::to_string(covered) +
                 ", where the tensor before ends (no overlap, no hole)");
    }
    covered = entry->end;
  }
  if (covered != data_bytes) {
    refuse(file, std::to_string(data_bytes) + " bytes of data",
           std::to_string(covered) + ", which is where the last tensor ends");
  }
}

}  // namespace

std::string safetensors_beginning(std::span<const NamedShape> tensors,
                                  const std::map<std::string, std::string>& metadata) {
  std::vector<SafetensorsEntry> entries;
  std::set<std::string> names;
  std::uint64_t offset = 0;
  for (const NamedShape& tensor : tensors) {
    const std::optional<std::uint64_t> bytes = bytes_of(tensor.shape);
    if (!bytes || !names.insert(tensor.name).second) {
      throw std::logic_error("tensor " + tensor.name +
                             " cannot be saved: its shape fits in no memory, or its name is taken");
    }
    entries.push_back({tensor.name, "F32", tensor.shape, offset, offset + *bytes});
    offset += *bytes;
  }
  std::string header = safetensors_header_text(entries, metadata);
  header.resize((header.size() + kHeaderAlignment - 1) / kHeaderAlignment * kHeaderAlignment, ' ');
  const std::uint64_t length = header.size();

  std::string bytes(kLengthBytes, '\0');
  std::memcpy(bytes.data(), &length, kLengthBytes);
  return bytes + header;
}

SafetensorsFile parse_safetensors(std::span<const char> bytes, const std::string& file) {
  const std::span<const char> header = header_of(bytes, file);
  SafetensorsFile parsed;
  const std::vector<SafetensorsEntry> entries = parse_safetensors_header(header, file, parsed.metadata);
  const std::span<const char> data = bytes.subspan(kLengthBytes + header.size());
  if (reinterpret_cast<std::uintptr_t>(data.data()) % alignof(float) != 0 && !entries.empty()) {
    refuse(file, "a header of " + std::to_string(header.size()) + " bytes",
           "a multiple of 4, so that data are aligned");
  }
  for (const SafetensorsEntry& entry : entries) {
    check_entry(entry, data.size(), file);
    parsed.tensors.push_back({entry.name,
                              entry.shape,
                              {reinterpret_cast<const float*>(data.data() + entry.begin),
                               static_cast<std::size_t>(entry.end - entry.begin) / sizeof(float)}});
  }
  check_coverage(entries, data.size(), file);
  return parsed;
}

}  // namespace minichilla
