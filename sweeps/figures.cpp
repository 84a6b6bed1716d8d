#include "sweeps/figures.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <regex>

#include "kernels/error.h"
#include "sweeps/gnuplot.h"
#include "sweeps/html.h"
#include "trainer/files.h"

namespace minichilla {

namespace fs = std::filesystem;

std::vector<double> budgets_of(const RunTable& table) {
  std::vector<double> budgets;
  for (const Observation& run : table.runs) {
    if (run.budget > 0) budgets.push_back(run.budget);
  }
  std::sort(budgets.begin(), budgets.end());
  budgets.erase(std::unique(budgets.begin(), budgets.end()), budgets.end());
  return budgets;
}

std::string params_axis(const FigureInput& input) {
  return "Model size N (" + input.params_unit + ")";
}

std::vector<Figure> make_figures(const FigureInput& input) {
  return {isoflop_figure(input),   envelope_figure(input), surface_figure(input),
          residuals_figure(input), params_figure(input),   tokens_figure(input),
          cloud_figure(input),     profile_figure(input),  curves_figure(input)};
}

namespace {

/// A folder of our own that goes when we go.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (fs::temp_directory_path() / "minichilla-figures-XXXXXX").string();
    if (!mkdtemp(pattern.data())) throw IoError(pattern + ": cannot create folder: " + std::strerror(errno));
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

void make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error || !fs::is_directory(folder)) {
    throw IoError(folder.string() +
                  ": cannot create folder: " + (error ? error.message() : "a file is in the way"));
  }
}

/// A file that need not survive a crash.
void write_scratch(const fs::path& file, const std::string& content) {
  std::ofstream stream(file, std::ios::binary);
  stream << content;
  stream.close();
  if (!stream) throw IoError(file.string() + ": cannot write: " + std::strerror(errno));
}

DrawnFigure draw(const Figure& figure, const fs::path& gnuplot, const fs::path& scratch,
                 const fs::path& folder) {
  DrawnFigure drawn{figure, "", {}, ""};
  if (!figure.missing.empty()) return drawn;
  write_scratch(scratch / (figure.name + ".gp"), figure.script);
  write_scratch(scratch / (figure.name + ".dat"), figure.data);
  drawn.said = run_gnuplot(gnuplot, scratch, figure.name + ".gp");
  for (const char* suffix : {".gp", ".dat", ".svg", ".png"}) {
    const std::string content = read_file(scratch / (figure.name + suffix));
    if (content.empty()) throw IoError("gnuplot drew nothing into " + figure.name + suffix);
    replace_file(folder / (figure.name + suffix), content);
    drawn.files.push_back(folder / (figure.name + suffix));
    if (std::string_view(suffix) == ".svg") drawn.svg = content;
  }
  return drawn;
}

}  // namespace

std::vector<DrawnFigure> draw_figures(const std::vector<Figure>& figures, const fs::path& folder) {
  const fs::path gnuplot = find_gnuplot();
  make_folder(folder);
  const TemporaryFolder scratch;
  std::vector<DrawnFigure> drawn;
  for (const Figure& figure : figures) drawn.push_back(draw(figure, gnuplot, scratch.path(), folder));
  return drawn;
}

std::string inline_svg(const std::string& svg, const std::string& name, const std::string& alternative) {
  const std::size_t begin = svg.find("<svg");
  const std::size_t end = svg.rfind("</svg>");
  if (begin == std::string::npos || end == std::string::npos)
    throw IoError(name + ": gnuplot wrote no SVG element");
  std::string element = svg.substr(begin, end + 6 - begin);
  element = std::regex_replace(element, std::regex("\\s+xmlns(:xlink)?=\"[^\"]*\""), "");
  element = std::regex_replace(element, std::regex("<title>[^<]*</title>|<desc>[^<]*</desc>"), "");
  element = std::regex_replace(element, std::regex("(\\sid=['\"]|href=['\"]#|url\\(#)"), "$1" + name + "-");
  return "<svg role=\"img\" aria-label=\"" + html_escaped(alternative) + "\"" + element.substr(4);
}

}  // namespace minichilla
