#include "model/safetensors_header.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <unordered_set>

#include "kernels/error.h"
#include "model/quote.h"

namespace minichilla {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kMetadata[] = "__metadata__";
constexpr std::size_t kMostDimensions = 32;

/// Events of the JSON parser. The header is an object of objects: tensors with "dtype", "shape" (a list) and
/// "data_offsets" (a pair), and the metadata, strings alone.
class HeaderReader final : public nlohmann::json_sax<Json> {
 public:
  HeaderReader(const std::string& file, std::map<std::string, std::string>& metadata)
      : file_(file), metadata_(metadata) {}

  std::vector<SafetensorsEntry> take() { return std::move(entries_); }

  bool null() override { refuse("null"); }
  bool boolean(bool) override { refuse("a boolean"); }
  bool number_float(number_float_t, const string_t& text) override { refuse(text); }
  bool number_integer(number_integer_t value) override { refuse(std::to_string(value)); }
  bool binary(binary_t&) override { refuse("binary data"); }
  bool number_unsigned(number_unsigned_t value) override;
  bool string(string_t& value) override;
  bool start_object(std::size_t) override;
  bool end_object() override;
  bool key(string_t& name) override;
  bool start_array(std::size_t) override;
  bool end_array() override;
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    throw InputError(file_ + ": found no JSON at byte " + std::to_string(position) +
                     " of the header, expected a safetensors header");
  }

 private:
  enum class Place { start, top, metadata, tensor, shape, offsets };

  [[noreturn]] void refuse(const std::string& found) const;
  bool in_list() const { return place_ == Place::shape || place_ == Place::offsets; }
  void finish_tensor();

  const std::string& file_;
  std::map<std::string, std::string>& metadata_;
  Place place_ = Place::start;
  std::string outer_key_, key_;
  SafetensorsEntry entry_;
  bool has_dtype_ = false, has_shape_ = false;
  std::vector<std::uint64_t> offsets_;
  std::vector<SafetensorsEntry> entries_;
  std::unordered_set<std::string> names_;
};

void HeaderReader::refuse(const std::string& found) const {
  const bool inside = place_ != Place::start && place_ != Place::top;
  const std::string where = (outer_key_.empty() ? "" : ": " + quote(outer_key_)) +
                            (inside && !key_.empty() ? ": " + quote(key_) : "");
  const char* expected = "";
  switch (place_) {
    case Place::start:
      expected = "an object of tensors";
      break;
    case Place::top:
      expected = "an object that describes a tensor, each name once";
      break;
    case Place::metadata:
      expected = "strings alone, each name once";
      break;
    case Place::tensor:
      expected = "dtype (a string), shape (a list) and data_offsets (a pair), each once";
      break;
    case Place::shape:
      expected = "at most 32 whole numbers from 0 to 2^63 - 1";
      break;
    case Place::offsets:
      expected = "two whole numbers";
      break;
  }
  throw InputError(file_ + ": header" + where + ": found " + quote(found) + ", expected " + expected);
}

bool HeaderReader::number_unsigned(number_unsigned_t value) {
  if (place_ == Place::shape && entry_.shape.size() < kMostDimensions &&
      value <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    entry_.shape.push_back(static_cast<std::int64_t>(value));
  } else if (place_ == Place::offsets && offsets_.size() < 2) {
    offsets_.push_back(value);
  } else {
    refuse(std::to_string(value));
  }
  return true;
}

bool HeaderReader::string(string_t& value) {
  if (place_ == Place::metadata) {
    if (!metadata_.emplace(key_, value).second) refuse(key_);
  } else if (place_ == Place::tensor && key_ == "dtype" && !has_dtype_) {
    entry_.dtype = value;
    has_dtype_ = true;
  } else {
    refuse(value);
  }
  return true;
}

bool HeaderReader::start_object(std::size_t) {
  if (place_ == Place::start) {
    place_ = Place::top;
  } else if (place_ == Place::top) {
    if (!names_.insert(outer_key_).second) refuse("the name a second time");
    place_ = outer_key_ == kMetadata ? Place::metadata : Place::tensor;
    entry_ = {outer_key_, "", {}, 0, 0};
    has_dtype_ = has_shape_ = false;
    offsets_.clear();
    key_.clear();
  } else {
    refuse("an object");
  }
  return true;
}

bool HeaderReader::end_object() {
  if (place_ == Place::tensor) finish_tensor();
  place_ = place_ == Place::top ? Place::start : Place::top;
  return true;
}

void HeaderReader::finish_tensor() {
  key_.clear();
  if (!has_dtype_ || !has_shape_ || offsets_.size() != 2) refuse("an incomplete description");
  entry_.begin = offsets_[0];
  entry_.end = offsets_[1];
  entries_.push_back(std::move(entry_));
}

bool HeaderReader::key(string_t& name) {
  if (place_ == Place::top) {
    outer_key_ = name;
  } else {
    key_ = name;
    if (place_ == Place::tensor && name != "dtype" && name != "shape" && name != "data_offsets") refuse(name);
  }
  return true;
}

bool HeaderReader::start_array(std::size_t) {
  if (place_ == Place::tensor && key_ == "shape" && !has_shape_) {
    place_ = Place::shape;
    has_shape_ = true;
  } else if (place_ == Place::tensor && key_ == "data_offsets" && offsets_.empty()) {
    place_ = Place::offsets;
  } else {
    refuse("a list");
  }
  return true;
}

bool HeaderReader::end_array() {
  if (place_ == Place::offsets && offsets_.size() != 2) refuse(std::to_string(offsets_.size()) + " numbers");
  place_ = Place::tensor;
  return true;
}

}  // namespace

std::string safetensors_header_text(const std::vector<SafetensorsEntry>& entries,
                                    const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) header[kMetadata] = metadata;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.name == kMetadata) throw std::logic_error("a tensor cannot be called __metadata__");
    Json& described = header[entry.name];
    described["dtype"] = entry.dtype;
    described["shape"] = entry.shape;
    described["data_offsets"] = {entry.begin, entry.end};
  }
  return header.dump();
}

std::vector<SafetensorsEntry> parse_safetensors_header(std::span<const char> header, const std::string& file,
                                                       std::map<std::string, std::string>& metadata) {
  HeaderReader reader(file, metadata);
  Json::sax_parse(header.begin(), header.end(), &reader);
  return reader.take();
}

}  // namespace minichilla
