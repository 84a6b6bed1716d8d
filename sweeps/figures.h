// The figures of a report: what they show, as gnuplot scripts with their data, and drawing them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "sweeps/analysis/fit.h"

namespace minichilla {

/// What the figures show. Nothing is fitted here: numbers come from the table, the fit and predict().
struct FigureInput {
  const RunTable& table;
  const Fit& fit;
  std::string params_unit = "parameters";  ///< or "parameters without embeddings"
};
/// "Model size N (parameters)".
std::string params_axis(const FigureInput& input);

struct Figure {
  std::string name;     ///< file stem: "isoflop"
  std::string title;    ///< plain text
  std::string caption;  ///< plain text, what to look at and what is missing
  std::string missing;  ///< why there is nothing to draw; empty when there is
  std::string script, data;
};

Figure isoflop_figure(const FigureInput& input);
Figure envelope_figure(const FigureInput& input);
Figure surface_figure(const FigureInput& input);
Figure residuals_figure(const FigureInput& input);  ///< of the surface, against C
Figure params_figure(const FigureInput& input);     ///< N_opt against C
Figure tokens_figure(const FigureInput& input);     ///< D_opt against C
Figure cloud_figure(const FigureInput& input);      ///< bootstrap resamples of (alpha, beta)
Figure profile_figure(const FigureInput& input);    ///< profile likelihood of a
Figure curves_figure(const FigureInput& input);

/// All of them in the order of the page.
std::vector<Figure> make_figures(const FigureInput& input);

/// The budgets of the table's runs, ascending, without 0; every figure colours them by their rank in it.
std::vector<double> budgets_of(const RunTable& table);

struct DrawnFigure {
  Figure figure;
  std::string svg;  ///< the whole SVG document; empty when the figure is missing
  std::vector<std::filesystem::path> files;
  std::string said;  ///< gnuplot's warnings; none are expected
};

/// Draws into `folder`: NAME.svg, NAME.png (twice the size), NAME.gp and NAME.dat per figure; a file is
/// replaced only when its figure succeeded. IoError: no gnuplot, gnuplot failed, folder not writable.
std::vector<DrawnFigure> draw_figures(const std::vector<Figure>& figures,
                                      const std::filesystem::path& folder);

/// An SVG document as an element for an HTML page: no prologue or namespace addresses, ids made unique by
/// `name`, a text alternative.
std::string inline_svg(const std::string& svg, const std::string& name, const std::string& alternative);

}  // namespace minichilla
