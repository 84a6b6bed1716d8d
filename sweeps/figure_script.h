// Builds one gnuplot script with its data file: axes with ticks at powers of ten, data blocks, plot elements.
#pragma once

#include <array>
#include <string>
#include <vector>

namespace minichilla {

struct PlotRange {
  double low, high;
};

/// Widest finite range over what was added; on logarithmic axes numbers that are not positive are left out.
class RangeFinder {
 public:
  explicit RangeFinder(bool logarithmic) : logarithmic_(logarithmic) {}
  void add(double value);
  bool empty() const { return high_ < low_; }
  /// The range with `margin` of its length on both sides (of its decades when logarithmic), never of length
  /// zero.
  PlotRange padded(double margin) const;

 private:
  bool logarithmic_;
  double low_ = 1, high_ = 0;
};

/// "#rrggbb" along viridis (perceptually even, dark to light), without its yellow end that white paper
/// swallows.
std::string sequential_colour(double position);
/// Colour of item `i` of `n` in order.
std::string rank_colour(std::size_t i, std::size_t n);

/// 1, 2 or 5 times a power of ten, the smallest that is not below `least`.
double nice_step(double least);
/// Decimals that tell multiples of `step` (a nice one) apart.
int decimals_of_step(double step);

/// Three significant digits in enhanced-mode markup: "3×10^{11}", "10^{12}", "42".
std::string gnuplot_power(double value);

/// Width and height of every figure in CSS pixels; the PNG has twice as many.
inline constexpr int kFigureWidth = 900, kFigureHeight = 560;

class FigureScript {
 public:
  /// `name` is a file stem from this program, never text from a user.
  explicit FigureScript(std::string name, int height = kFigureHeight)
      : name_(std::move(name)), height_(height) {}

  /// Appends a command line.
  void command(const std::string& line) { body_ += line + "\n"; }
  /// Axis 'x' or 'y' with a label (quoted here), logarithmic with decades written as powers, or linear.
  void log_axis(char name, const std::string& label, PlotRange range, bool ticks_labelled = true);
  void linear_axis(char name, const std::string& label, PlotRange range, bool ticks_labelled = true);
  /// A colour bar at the right for numbers in `range`, logarithmic; it sets the plot's margins.
  void colour_bar(const std::string& label, PlotRange range);

  /// A new data block; `comment` says what its columns are. Returns the datafile expression "'NAME.dat' index
  /// I".
  std::string block(const std::string& comment);
  /// A row of the current block; numbers that are not finite are written as NaN, which gnuplot skips.
  void row(const std::vector<double>& numbers);
  /// Interrupts the line that a block draws.
  void gap() { data_ += "\n"; }
  /// Adds an element to the plot command.
  void plot(const std::string& element) { elements_.push_back(element); }
  /// Ends the plot command; done by script() where only one plot is wanted.
  void end_plot();

  /// The script writes NAME.svg and NAME.png into the folder it runs in.
  std::string script();
  const std::string& data() const { return data_; }

 private:
  void axis(char axis, const std::string& label, PlotRange range);

  std::string name_, body_, data_;
  int height_;
  int blocks_ = 0;
  std::vector<std::string> elements_;
};

}  // namespace minichilla
