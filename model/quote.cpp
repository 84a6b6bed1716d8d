#include "model/quote.h"

#include <cstddef>

namespace minichilla {
namespace {

constexpr std::size_t kLongest = 80;

bool continues_character(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

void append_escaped(std::string& out, char byte) {
  const auto code = static_cast<unsigned char>(byte);
  if (code >= 0x20 && code != 0x7F) {
    out += byte;
  } else if (byte == '\n') {
    out += "\\n";
  } else if (byte == '\t') {
    out += "\\t";
  } else {
    constexpr char kDigits[] = "0123456789abcdef";
    out += std::string("\\x") + kDigits[code >> 4] + kDigits[code & 15];
  }
}

}  // namespace

std::string printable(std::string_view text) {
  std::size_t shown = text.size();
  if (shown > kLongest) {
    shown = kLongest;
    while (shown > 0 && continues_character(text[shown])) --shown;
  }
  std::string out;
  for (const char byte : text.substr(0, shown)) append_escaped(out, byte);
  if (shown < text.size()) out += "…";
  return out;
}

std::string quote(std::string_view text) {
  return (std::string("'") += printable(text)) += "'";
}

}  // namespace minichilla
