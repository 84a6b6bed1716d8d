// Foreign text inside one-line messages.
#pragma once

#include <string>
#include <string_view>

namespace minichilla {

/// `text` fit for a one-line message: control characters are escaped ("\n", "\x1b") and what goes beyond 80
/// bytes is cut ("…"), never inside a UTF-8 character.
std::string printable(std::string_view text);

/// printable() in single quotes.
std::string quote(std::string_view text);

}  // namespace minichilla
