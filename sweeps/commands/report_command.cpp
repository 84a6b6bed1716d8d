// minichilla report: figures and one HTML page from a sweep, a fit or a table.
#include <CLI/CLI.hpp>
#include <ctime>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "sweeps/commands/commands.h"
#include "sweeps/commands/json_output.h"
#include "sweeps/gnuplot.h"
#include "sweeps/report.h"
#include "trainer/files.h"
#include "trainer/progress_line.h"

namespace minichilla {
namespace {

namespace fs = std::filesystem;

struct ReportOptions {
  std::string input, output, json;
};

std::string today() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  localtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M", &parts);
  return text;
}

nlohmann::ordered_json written_paths(const fs::path& page, const std::vector<DrawnFigure>& figures,
                                     const ReportInput& input) {
  nlohmann::ordered_json paths = {
      {"report", page.string()}, {"answer", input.fit.answer}, {"warnings", input.warnings}};
  paths["figures"] = nlohmann::ordered_json::array();
  for (const DrawnFigure& drawn : figures) {
    nlohmann::ordered_json figure = {{"name", drawn.figure.name}};
    if (!drawn.figure.missing.empty()) figure["missing"] = drawn.figure.missing;
    for (const fs::path& file : drawn.files) figure[file.extension().string().substr(1)] = file.string();
    paths["figures"].push_back(figure);
  }
  return paths;
}

ReportInput read_with_progress(const std::string& input, const StopToken& stop) {
  ProgressLine progress;
  return read_report_input(input, [&](double fraction) {
    if (stop.requested()) throw Interrupted();
    progress.update("no fit yet, bootstrap " + std::to_string(static_cast<int>(100 * fraction)) + " %");
  });
}

void write_report(const ReportOptions& options, const StopToken& stop) {
  find_gnuplot();
  const ReportInput input = read_with_progress(options.input, stop);
  for (const std::string& warning : input.warnings) std::cerr << "minichilla: " << warning << std::endl;

  const fs::path page =
      options.output.empty() ? report_folder(options.input) / "report.html" : fs::path(options.output);
  if (fs::is_directory(page)) {
    throw InputError("--output " + page.string() + ": found a folder, expected a file's name");
  }
  const fs::path figure_folder = page.parent_path() / "figures";
  const char* unit = input.count == ParameterCount::all ? "parameters" : "parameters without embeddings";
  const std::vector<DrawnFigure> figures =
      draw_figures(make_figures({input.table, input.fit, unit}), figure_folder);
  replace_file(page, report_page(input, figures, today()));

  write_json(options.json, written_paths(page, figures, input));
  if (options.json == "-") return;
  std::cout << input.fit.answer << "\nreport:  " << page.string() << "\nfigures: " << figure_folder.string()
            << std::endl;
}

}  // namespace

void add_report_command(CLI::App& app, CommandContext& context) {
  auto options = std::make_shared<ReportOptions>();
  CLI::App* command =
      app.add_subcommand("report", "Write one HTML page with figures from a sweep and its fit");
  command->add_option("input", options->input, "Sweep folder, fit.json, or CSV table of runs")->required();
  command->add_option("--output", options->output,
                      "The page; its figures go into figures/ beside it [report.html beside the input]");
  command->add_option("--json", options->json, "Write the paths of what was written as JSON; - is stdout");
  command->footer(
      "Example: minichilla report sweeps/english\n"
      "Figures are drawn by gnuplot (Debian package gnuplot-nox) and kept as SVG, PNG and gnuplot script.");
  command->callback([options, &context] {
    try {
      write_report(*options, context.stop);
    } catch (const Interrupted&) {
      std::cerr << "minichilla: interrupted, nothing was written" << std::endl;
      context.status = kInterrupted;
    }
  });
}

}  // namespace minichilla
