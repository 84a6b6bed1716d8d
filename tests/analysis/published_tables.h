// The published and synthetic tables with known answers, where their folder exists.
#pragma once

#include <gmock/gmock.h>

#include <cstdio>
#include <filesystem>
#include <string>

#include "tests/analysis/simulated_sweep.h"

namespace minichilla {

class PublishedTables : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(folder())) GTEST_SKIP() << "no folder of published tables at " << folder();
  }

  static std::filesystem::path folder() { return MINICHILLA_SOURCE_DIR "/../shared/scaling"; }
  static RunTable read(const std::string& name, const TableOptions& options = {}) {
    return read_csv_table(folder() / name, options);
  }

  /// Prints both and expects them to be near.
  static void compare(const std::string& what, double found, double expected, double tolerance) {
    std::printf("  %-58s found %-14.8g expected %-14.8g ± %.2g\n", what.c_str(), found, expected, tolerance);
    EXPECT_NEAR(found, expected, tolerance) << what;
  }
  static void compare_ratio(const std::string& what, double found, double expected, double tolerance) {
    compare(what, found, expected, tolerance * expected);
  }
  /// Prints both and expects the objective to be no higher than the reference's.
  static void expect_reached(const std::string& what, double objective, double reference) {
    std::printf("  %-58s found %-14.9g reference %-14.9g\n", what.c_str(), objective, reference);
    EXPECT_LE(objective, reference * (1 + 1e-6)) << what;
  }
  static void compare_surface(const std::string& what, const ParametricFit& fit,
                              const ParametricFit::Surface& expected, double relative_of_factors,
                              double absolute) {
    ASSERT_EQ(fit.refused, "") << what;
    compare(what + ": E", fit.E.value, expected.E, absolute);
    compare_ratio(what + ": A", fit.A.value, expected.A, relative_of_factors);
    compare_ratio(what + ": B", fit.B.value, expected.B, relative_of_factors);
    compare(what + ": alpha", fit.alpha.value, expected.alpha, absolute);
    compare(what + ": beta", fit.beta.value, expected.beta, absolute);
  }

  static FitOptions only(const std::string& approach) {
    FitOptions options = without_bootstrap();
    options.approaches = {approach};
    return options;
  }
  static FitOptions isoflop_by(Interpolation interpolation) {
    FitOptions options = only("isoflop");
    options.interpolation = interpolation;
    return options;
  }
  static TableOptions rows_with(const std::string& column, const std::string& value) {
    TableOptions options;
    options.where = {{column, value}};
    return options;
  }
};

}  // namespace minichilla
