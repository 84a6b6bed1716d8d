// Reading fit.json: places in it that know their path, for messages.
#pragma once

#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "kernels/error.h"
#include "trainer/json_fields.h"

namespace minichilla {

/// A place in the file: the value, and its path for messages ("approaches.isoflop.a").
class FitReader {
 public:
  FitReader(const nlohmann::json& value, std::string file, std::string path)
      : value_(value), file_(std::move(file)), path_(std::move(path)) {}

  FitReader at(const std::string& key) const {
    if (!has(key)) {
      throw InputError(file_ + ": no key " + joined(key) + ", expected a file that 'minichilla fit' wrote");
    }
    return {value_.at(key), file_, joined(key)};
  }
  bool has(const std::string& key) const { return value_.is_object() && value_.contains(key); }

  bool is_null() const { return value_.is_null(); }

  double number() const {
    if (!value_.is_number()) fail("a number");
    return value_.get<double>();
  }
  std::int64_t whole() const {
    constexpr auto kLargest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (!value_.is_number_integer() ||
        (value_.is_number_unsigned() && value_.get<std::uint64_t>() > kLargest)) {
      fail("a whole number");
    }
    return value_.get<std::int64_t>();
  }
  int count() const {
    constexpr int kLargest = std::numeric_limits<int>::max();
    const std::int64_t number = whole();
    if (number < 0 || number > kLargest) fail("a whole number from 0 to " + std::to_string(kLargest));
    return static_cast<int>(number);
  }
  std::string text() const {
    if (!value_.is_string()) fail("a text");
    return value_.get<std::string>();
  }
  bool flag() const {
    if (!value_.is_boolean()) fail("true or false");
    return value_.get<bool>();
  }
  std::vector<FitReader> items() const {
    if (!value_.is_array()) fail("a list");
    std::vector<FitReader> readers;
    for (std::size_t i = 0; i < value_.size(); ++i) {
      readers.emplace_back(value_[i], file_, path_ + "[" + std::to_string(i) + "]");
    }
    return readers;
  }
  template <class Item, class Read>
  std::vector<Item> list(Read read) const {
    std::vector<Item> result;
    for (const FitReader& item : items()) result.push_back(read(item));
    return result;
  }
  std::vector<std::string> keys() const {
    if (!value_.is_object()) fail("an object");
    std::vector<std::string> keys;
    for (const auto& item : value_.items()) keys.push_back(item.key());
    return keys;
  }
  std::vector<std::string> texts() const {
    return list<std::string>([](const FitReader& item) { return item.text(); });
  }
  /// A list of exactly `count` numbers.
  std::vector<double> numbers(std::size_t count) const {
    std::vector<double> result = list<double>([](const FitReader& item) { return item.number(); });
    if (result.size() != count) fail("a list of " + std::to_string(count) + " numbers");
    return result;
  }
  [[noreturn]] void fail(const std::string& expected) const {
    throw InputError(file_ + ": " + (path_.empty() ? "the whole" : path_) + ": found " + found_json(value_) +
                     ", expected " + expected);
  }

 private:
  std::string joined(const std::string& key) const { return path_.empty() ? key : path_ + "." + key; }
  const nlohmann::json& value_;
  std::string file_, path_;
};

}  // namespace minichilla
