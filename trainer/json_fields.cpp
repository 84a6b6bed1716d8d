#include "trainer/json_fields.h"

#include "kernels/error.h"

namespace minichilla {
namespace {

const nlohmann::json& member(const nlohmann::json& object, const char* key, const std::string& where) {
  const auto found = object.find(key);
  if (found == object.end()) throw InputError(where + ": " + key + ": missing");
  return *found;
}

[[noreturn]] void wrong_type(const nlohmann::json& found, const char* key, const char* expected,
                             const std::string& where) {
  throw InputError(where + ": " + key + ": found " + found_json(found) + ", expected " + expected);
}

}  // namespace

nlohmann::json parse_json_object(const std::string& text, const std::string& where) {
  nlohmann::json object = nlohmann::json::parse(text, nullptr, false);
  if (object.is_discarded()) throw InputError(where + ": not JSON, expected one object");
  if (!object.is_object())
    throw InputError(where + ": found " + object.type_name() + ", expected one JSON object");
  return object;
}

double json_number(const nlohmann::json& object, const char* key, const std::string& where) {
  const nlohmann::json& found = member(object, key, where);
  if (found.is_null()) return std::numeric_limits<double>::quiet_NaN();
  if (!found.is_number()) wrong_type(found, key, "a number", where);
  return found.get<double>();
}

std::int64_t json_whole(const nlohmann::json& object, const char* key, const std::string& where) {
  const nlohmann::json& found = member(object, key, where);
  // The parser makes an unsigned number of every integer that has no sign.
  constexpr auto kLargest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (!found.is_number_unsigned() || found.get<std::uint64_t>() > kLargest) {
    wrong_type(found, key, "a whole number from 0 to 2^63 - 1", where);
  }
  return found.get<std::int64_t>();
}

double json_finite(const nlohmann::json& object, const char* key, const std::string& where) {
  const double number = json_number(object, key, where);
  if (!std::isfinite(number)) wrong_type(member(object, key, where), key, "a finite number", where);
  return number;
}

std::string json_text(const nlohmann::json& object, const char* key, const std::string& where) {
  const nlohmann::json& found = member(object, key, where);
  if (!found.is_string()) wrong_type(found, key, "a text", where);
  return found.get<std::string>();
}

}  // namespace minichilla
