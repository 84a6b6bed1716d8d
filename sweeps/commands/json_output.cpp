#include "sweeps/commands/json_output.h"

#include <iostream>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "trainer/files.h"

namespace minichilla {

void write_json(const std::string& file, const nlohmann::ordered_json& json) {
  if (file.empty()) return;
  const std::string text = json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  if (file != "-") return replace_file(file, text);
  std::cout << text << std::flush;
  if (!std::cout) throw IoError("stdout: cannot write");
}

}  // namespace minichilla
