// The report: one HTML page that needs nothing but itself.
#pragma once

#include <string>
#include <vector>

#include "sweeps/figures.h"
#include "sweeps/report_input.h"

namespace minichilla {

/// The page with the drawn figures inlined. `date` is printed as it is. All numbers come from the fit, the
/// table and the runs' records; text from files (names, paths, configs, reasons) is escaped.
std::string report_page(const ReportInput& input, const std::vector<DrawnFigure>& figures,
                        const std::string& date);

}  // namespace minichilla
