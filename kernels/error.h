// The errors that the program tells its user about, one class per exit status.
#pragma once

#include <span>
#include <stdexcept>
#include <string>

namespace minichilla {

/// Wrong usage or bad input (exit status 2). The message is one line that names the file, line or key, what was
/// found, what was expected and, where a name was wrong, the nearest valid one.
class InputError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Input/output failed: disk full, unwritable or vanished file (exit status 74). The message names the path.
class IoError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The member of `valid` with the smallest edit distance to `name`; empty when nothing is near (distance above
/// a third of the longer name). For "did you mean" in messages.
std::string nearest_name(const std::string& name, std::span<const std::string> valid);

}  // namespace minichilla
