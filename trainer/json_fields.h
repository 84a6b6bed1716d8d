// Reading the JSON that a run folder holds: every error names the file and the key.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "model/quote.h"

namespace minichilla {

/// The object in `text`; InputError "WHERE: …" when it is not one. `where` is a file, or a file and a line.
nlohmann::json parse_json_object(const std::string& text, const std::string& where);

/// Members of an object; InputError when a member is absent or of another type. `null` is not-a-number, a
/// whole number is from 0 to 2^63 - 1.
double json_number(const nlohmann::json& object, const char* key, const std::string& where);
std::int64_t json_whole(const nlohmann::json& object, const char* key, const std::string& where);
std::string json_text(const nlohmann::json& object, const char* key, const std::string& where);

/// Same, and neither null nor beyond the range of a double.
double json_finite(const nlohmann::json& object, const char* key, const std::string& where);

/// A value for a message: what is no list and no object as it stands, cut to fit a line. Lists and objects
/// are named by kind and size: writing a deep one out would overflow the stack.
template <class Json>
std::string found_json(const Json& value) {
  if (value.is_structured())
    return std::string("an ") + value.type_name() + " of " + std::to_string(value.size());
  return printable(value.dump(-1, ' ', false, Json::error_handler_t::replace));
}

/// A number as JSON knows it: what is not finite becomes null.
inline nlohmann::ordered_json finite_or_null(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
}

}  // namespace minichilla
