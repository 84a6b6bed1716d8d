#include "trainer/progress_line.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>

namespace minichilla {
namespace {

/// What fits on one line of the terminal: a longer text would wrap, and erase() reaches its last line only.
std::string fitted(const std::string& text) {
  struct winsize size {};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 2) return text;
  std::size_t columns = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if ((text[i] & 0xC0) != 0x80 && ++columns == size.ws_col) return text.substr(0, i);
  }
  return text;
}

/// "3e+15" is "3e15", "1e-05" is "1e-5".
std::string without_exponent_padding(std::string text) {
  const std::size_t exponent = text.find('e');
  if (exponent == std::string::npos) return text;
  std::size_t digits = exponent + 1;
  if (text[digits] == '+') {
    text.erase(digits, 1);
  } else {
    ++digits;
  }
  while (text[digits] == '0') text.erase(digits, 1);
  return text;
}

}  // namespace

ProgressLine::ProgressLine(std::chrono::milliseconds plain_interval)
    : terminal_(isatty(STDERR_FILENO) == 1),
      interval_(terminal_ ? std::chrono::milliseconds(100) : plain_interval) {}

ProgressLine::~ProgressLine() {
  if (terminal_ && shown_) std::fputc('\n', stderr);
}

void ProgressLine::erase() {
  if (terminal_ && shown_) std::fputs("\r\033[K", stderr);
  shown_ = false;
}

void ProgressLine::update(const std::string& text) {
  const auto now = std::chrono::steady_clock::now();
  if (last_.time_since_epoch().count() != 0 && now - last_ < interval_) return;
  last_ = now;
  erase();
  std::fputs((terminal_ ? fitted(text) : text + "\n").c_str(), stderr);
  std::fflush(stderr);
  shown_ = true;
}

void ProgressLine::finish(const std::string& text) {
  print(text);
}

void ProgressLine::print(const std::string& text) {
  erase();
  std::fputs((text + "\n").c_str(), stderr);
  std::fflush(stderr);
}

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "unknown";
  char text[32];
  if (seconds < 9.95) {
    std::snprintf(text, sizeof text, "%.1fs", seconds);
  } else if (seconds < 59.5) {
    std::snprintf(text, sizeof text, "%.0fs", seconds);
  } else if (seconds < 3599.5) {
    const int whole = static_cast<int>(std::lround(seconds));
    std::snprintf(text, sizeof text, "%dm%02ds", whole / 60, whole % 60);
  } else {
    const double minutes = std::round(seconds / 60);
    std::snprintf(text, sizeof text, "%.0fh%02.0fm", std::floor(minutes / 60), std::fmod(minutes, 60));
  }
  return text;
}

std::string format_count(double value) {
  struct Unit {
    double size;
    const char* suffix;
  };
  static constexpr Unit kUnits[] = {{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}, {1, ""}};
  char text[32];
  const double size = std::fabs(value);
  if (size >= 999.5e12 || (size > 0 && size < 0.9995)) {
    std::snprintf(text, sizeof text, "%.3g", value);
    return without_exponent_padding(text);
  }
  for (const Unit& unit : kUnits) {
    if (size >= 0.9995 * unit.size || unit.size == 1) {
      const double scaled = value / unit.size;
      const int decimals = std::fabs(scaled) >= 99.95 ? 0 : std::fabs(scaled) >= 9.995 ? 1 : 2;
      std::snprintf(text, sizeof text, "%.*f", decimals, scaled);
      std::string digits = text;
      if (digits.find('.') != std::string::npos) {
        while (digits.back() == '0') digits.pop_back();
        if (digits.back() == '.') digits.pop_back();
      }
      return digits + unit.suffix;
    }
  }
  return "0";
}

std::string format_bytes(std::uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 999.5 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, "%.*f %s", unit > 0 && value < 9.95 ? 1 : 0, value, kUnits[unit]);
  return text;
}

}  // namespace minichilla
