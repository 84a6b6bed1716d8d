#include "sweeps/figure_script.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "sweeps/gnuplot.h"

namespace minichilla {

namespace {

std::string printed(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string exact(double value) {
  return std::isfinite(value) ? printed("%.10g", value) : "NaN";
}

struct Colour {
  double red, green, blue;
};
/// viridis at 0, 0.1 … 0.8 (Smith and van der Walt 2015).
constexpr std::array<Colour, 9> kViridis = {{{68, 1, 84},
                                             {72, 36, 117},
                                             {65, 68, 135},
                                             {53, 95, 141},
                                             {42, 120, 142},
                                             {33, 145, 140},
                                             {34, 168, 132},
                                             {68, 191, 112},
                                             {122, 209, 81}}};

/// Mantissas with a label, enough for three or more labels over so many decades.
std::vector<int> labelled_mantissas(double decades) {
  if (decades < 1) return {1, 2, 3, 4, 5, 6, 8};
  if (decades < 2) return {1, 2, 5};
  if (decades < 3) return {1, 3};
  return {1};
}

/// "'10^{4}' 1e4 0, '' 2e4 1, …": labels at decades, or at a few mantissas where there are few decades.
std::string log_ticks(PlotRange range, bool labels) {
  const double decades = std::log10(range.high / range.low);
  const std::vector<int> labelled = labelled_mantissas(decades);
  const int stride = std::max(1, static_cast<int>(std::ceil(decades / 8)));
  std::string ticks;
  const int first = static_cast<int>(std::floor(std::log10(range.low)));
  for (int exponent = first; std::pow(10.0, exponent) <= range.high; ++exponent) {
    for (int mantissa = 1; mantissa < 10; ++mantissa) {
      const double value = mantissa * std::pow(10.0, exponent);
      if (value < range.low || value > range.high) continue;
      const bool major =
          exponent % stride == 0 && std::find(labelled.begin(), labelled.end(), mantissa) != labelled.end();
      if (!major && mantissa > 1 && decades > 6) continue;
      if (!ticks.empty()) ticks += ", ";
      ticks.append("'").append(major && labels ? gnuplot_power(value) : "").append("' ");
      ticks.append(exact(value)).append(major ? " 0" : " 1");
    }
  }
  return ticks;
}

}  // namespace

void RangeFinder::add(double value) {
  if (!std::isfinite(value) || (logarithmic_ && value <= 0)) return;
  const bool first = empty();
  low_ = first ? value : std::min(low_, value);
  high_ = first ? value : std::max(high_, value);
}

PlotRange RangeFinder::padded(double margin) const {
  if (empty()) return logarithmic_ ? PlotRange{1, 10} : PlotRange{0, 1};
  if (logarithmic_) {
    const double length = std::log(high_ / low_);
    const double factor = std::exp(std::max(margin * length, length > 0.1 ? 0.0 : 1.0));
    return {low_ / factor, high_ * factor};
  }
  const double length = high_ - low_;
  const double added = length > 1e-9 * std::fabs(high_) ? margin * length : 0.1 * std::fabs(high_) + 1e-6;
  return {low_ - added, high_ + added};
}

double nice_step(double least) {
  const double power = std::pow(10.0, std::floor(std::log10(least)));
  for (const double mantissa : {1.0, 2.0, 5.0}) {
    if (mantissa * power >= least * 0.999) return mantissa * power;
  }
  return 10 * power;
}

int decimals_of_step(double step) {
  return std::max(0, static_cast<int>(-std::floor(std::log10(step) + 1e-6)));
}

std::string sequential_colour(double position) {
  const double scaled = std::clamp(position, 0.0, 1.0) * (kViridis.size() - 1);
  const std::size_t below = std::min<std::size_t>(static_cast<std::size_t>(scaled), kViridis.size() - 2);
  const double weight = scaled - static_cast<double>(below);
  const auto mix = [&](double Colour::*channel) {
    return std::lround((1 - weight) * (kViridis[below].*channel) + weight * (kViridis[below + 1].*channel));
  };
  char text[16];
  std::snprintf(text, sizeof text, "#%02lx%02lx%02lx", static_cast<unsigned long>(mix(&Colour::red)),
                static_cast<unsigned long>(mix(&Colour::green)),
                static_cast<unsigned long>(mix(&Colour::blue)));
  return text;
}

std::string rank_colour(std::size_t i, std::size_t n) {
  return sequential_colour(n > 1 ? static_cast<double>(i) / static_cast<double>(n - 1) : 0.4);
}

std::string gnuplot_power(double value) {
  if (!(value > 0) || !std::isfinite(value)) return printed("%.3g", value);
  int exponent = static_cast<int>(std::floor(std::log10(value)));
  std::string mantissa = printed("%.3g", value / std::pow(10.0, exponent));
  if (mantissa == "10") {  // rounding, of 9.999e11 for one
    mantissa = "1";
    ++exponent;
  }
  if (exponent >= 0 && exponent < 3) return printed("%.3g", value);
  const std::string power = printed("10^{%.0f}", exponent);
  return mantissa == "1" ? power : mantissa + "×" + power;
}

void FigureScript::axis(char axis, const std::string& label, PlotRange range) {
  const std::string name(1, axis);
  command("set " + name + "label " + gnuplot_quoted(label));
  command("set " + name + "range [" + exact(range.low) + ":" + exact(range.high) + "]");
}

void FigureScript::log_axis(char name, const std::string& label, PlotRange range, bool ticks_labelled) {
  axis(name, label, range);
  command(std::string("set logscale ") + name + " 10");
  command(std::string("set ") + name + "tics (" + log_ticks(range, ticks_labelled) + ")");
}

void FigureScript::linear_axis(char name, const std::string& label, PlotRange range, bool ticks_labelled) {
  axis(name, label, range);
  const double step = nice_step((range.high - range.low) / 8);
  const int decimals = decimals_of_step(step);
  command(std::string("unset logscale ") + name);
  command(std::string("set ") + name + "tics " + exact(step));
  char format[16] = "";
  if (ticks_labelled) std::snprintf(format, sizeof format, "%%.%df", decimals);
  command(std::string("set format ") + name + " '" + format + "'");
}

void FigureScript::colour_bar(const std::string& label, PlotRange range) {
  std::string stops;
  for (std::size_t i = 0; i < kViridis.size(); ++i) {
    if (i) stops += ", ";
    stops.append(printed("%.0f '", static_cast<double>(i)))
        .append(rank_colour(i, kViridis.size()))
        .append("'");
  }
  command("set palette defined (" + stops + ") maxcolors 64");
  command("set logscale cb 10");
  command("set cbrange [" + exact(range.low) + ":" + exact(range.high) + "]");
  command("set cbtics (" + log_ticks(range, true) + ") scale 0.4");
  command("set cblabel " + gnuplot_quoted(label) + " offset 2");
  command("set rmargin at screen 0.84; set bmargin at screen 0.125; set tmargin at screen 0.955");
  command("set colorbox user origin screen 0.865, screen 0.125 size screen 0.018, screen 0.83");
}

std::string FigureScript::block(const std::string& comment) {
  if (blocks_ > 0) data_ += "\n\n";
  data_ += "# " + comment + "\n";
  return "'" + name_ + ".dat' index " + std::to_string(blocks_++);
}

void FigureScript::row(const std::vector<double>& numbers) {
  for (std::size_t i = 0; i < numbers.size(); ++i) data_ += (i ? " " : "") + exact(numbers[i]);
  data_ += "\n";
}

void FigureScript::end_plot() {
  std::string joined;
  for (const std::string& element : elements_) joined += (joined.empty() ? "plot " : ", \\\n     ") + element;
  if (!joined.empty()) command(joined);
  elements_.clear();
}

std::string FigureScript::script() {
  end_plot();
  const std::string size = std::to_string(kFigureWidth) + "," + std::to_string(height_);
  const std::string twice = std::to_string(2 * kFigureWidth) + "," + std::to_string(2 * height_);
  return "# Made by minichilla report. Draw again, after any change, with: gnuplot " + name_ +
         ".gp\n"
         "set encoding utf8\n"
         "if (!exists('png')) {\n"
         "  set terminal svg size " +
         size + " font 'DejaVu Sans,14' butt background '#ffffff' name '" + name_ +
         "'\n"
         "  set output '" +
         name_ +
         ".svg'\n"
         "}\n"
         "reset\n"
         "set border 3 lc rgb '#666666'\n"
         "set tics nomirror out scale 0.7,0.4 textcolor rgb '#222222'\n"
         "set grid back lt 1 lc rgb '#e8e8e8' lw 1\n"
         "set key textcolor rgb '#222222' Left reverse samplen 1.6 spacing 1.25\n" +
         body_ +
         "if (!exists('png')) {\n"
         "  png = 1\n"
         "  set terminal pngcairo size " +
         twice +
         " font 'DejaVu Sans,11' fontscale 2 linewidth 2.2 pointscale 2.8 butt background '#ffffff'\n"
         "  set output '" +
         name_ + ".png'\n  load '" + name_ +
         ".gp'\n"
         "  set output\n"
         "}\n";
}

}  // namespace minichilla
