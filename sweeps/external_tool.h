// Other programs that are asked something: started, waited for, their output read.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

namespace minichilla {

/// The program that the shell would start for `name`; empty when PATH has none.
std::filesystem::path find_program(const std::string& name);

struct ToolResult {
  int status = 0;  ///< exit status; 128 + signal when one killed it
  bool timed_out = false;
  std::string output, errors;  ///< stdout, stderr
};

/// Runs `program` with nothing on its stdin and kills it after `patience`. Environment variables whose names
/// begin with one of `hidden` are not passed on. IoError when it cannot be started.
ToolResult run_tool(const std::filesystem::path& program, const std::vector<std::string>& arguments,
                    std::chrono::milliseconds patience, const std::vector<std::string>& hidden = {});

}  // namespace minichilla
