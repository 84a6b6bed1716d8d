// Reading the JSON that a run folder holds: every error names the file and the key.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

namespace minichilla {

/// The object in `text`; InputError "WHERE: …" when it is not one. `where` is a file, or a file and a line.
nlohmann::json parse_json_object(const std::string& text, const std::string& where);

/// Members of an object; InputError when a member is absent or of another type. `null` is not-a-number.
double json_number(const nlohmann::json& object, const char* key, const std::string& where);
std::int64_t json_whole(const nlohmann::json& object, const char* key, const std::string& where);
std::string json_text(const nlohmann::json& object, const char* key, const std::string& where);

/// A number as JSON knows it: what is not finite becomes null.
inline nlohmann::ordered_json finite_or_null(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
}

}  // namespace minichilla
