// The --json option of every command.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace minichilla {

/// Writes `json` to a file, or to stdout when that is "-"; nothing when it is empty. IoError.
void write_json(const std::string& file, const nlohmann::ordered_json& json);

}  // namespace minichilla
