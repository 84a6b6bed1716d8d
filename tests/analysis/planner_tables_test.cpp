// The tables that planners are read from, as printed: Hoffmann et al.'s 3, A3 and A4, Besiroglu et al.'s
// optimum, nanochat's. planner_checks.json holds them.
#include <cmath>
#include <nlohmann/json.hpp>

#include "model/flops.h"
#include "sweeps/analysis/power_law.h"
#include "sweeps/analysis/predict.h"
#include "sweeps/analysis/published_laws.h"
#include "tests/analysis/published_tables.h"
#include "trainer/files.h"

namespace minichilla::planner_tables_test {
namespace {

using nlohmann::json;

class PlannerTables : public PublishedTables {
 protected:
  static json checks() { return json::parse(read_file(folder() / "planner_checks.json")); }
};

struct TableColumns {
  std::vector<double> N, C, D;
};

/// A table of rows [N, C, D]. `misprint` is a size whose printed C is not 6·N·D: that is taken then.
TableColumns columns_of(const json& rows, double misprint = 0) {
  TableColumns columns;
  for (const json& row : rows) {
    columns.N.push_back(row[0]);
    columns.C.push_back(row[0] == misprint ? 6 * row[0].get<double>() * row[2].get<double>()
                                           : row[1].get<double>());
    columns.D.push_back(row[2]);
  }
  return columns;
}

/// A fit whose approach 2 found these laws.
Fit fit_of(const PowerLaws::Resample& laws) {
  Fit fit;
  fit.isoflop.laws = with_intervals(laws, {}, 0);
  fit.envelope.refused = fit.parametric.refused = "not fitted";
  fit.variable_projection.refused = fit.variable_projection_robust.refused = "not fitted";
  return fit;
}

TEST_F(PlannerTables, Table3AndA3AreTheLawsThatPredictReadsOffThem) {
  const json all = checks();
  for (const auto& [table, key] : {std::pair{"table3_approach1", "table3_approach1_N_C_D"},
                                   {"tableA3_approach2", "tableA3_approach2_N_C_D"}}) {
    const TableColumns columns = columns_of(all[key]);
    const auto laws = fit_laws(columns.C, columns.N, columns.D);
    ASSERT_TRUE(laws);
    const json& implied = all["implied_power_laws_from_tables"][table];
    compare(std::string(table) + ": a", laws->a, implied["a"], 1e-9);
    compare(std::string(table) + ": b", laws->b, implied["b"], 1e-9);
    compare_ratio(std::string(table) + ": coefficient of N", laws->coefficient_params, implied["a_coef"],
                  1e-6);
    compare_ratio(std::string(table) + ": coefficient of D", laws->coefficient_tokens, implied["b_coef"],
                  1e-6);
    const Fit fit = fit_of(*laws);
    ASSERT_EQ(columns.N.size(), std::size(kHoffmannTable3Params));
    for (std::size_t i = 0; i < columns.N.size(); ++i) {
      EXPECT_EQ(columns.N[i], kHoffmannTable3Params[i]);
      const Optimum there = predict_for_params(fit, columns.N[i]).at(0);
      const std::string row = std::string(table) + ", N = " + std::to_string(columns.N[i]);
      compare_ratio(row + ": C", there.C, columns.C[i], 0.1);
      compare_ratio(row + ": D", there.D.value, columns.D[i], 0.07);
    }
  }
}

TEST_F(PlannerTables, TableA3OfApproach3IsNearTheUnroundedSurface) {
  const TableColumns columns = columns_of(checks()["tableA3_approach3_N_C_D"], 175e9);
  const Fit fit = fit_of_law(parse_law("hoffmann_unrounded"));
  for (std::size_t i = 0; i < columns.N.size(); ++i) {
    const Optimum there = predict_for_params(fit, columns.N[i]).at(0);
    const std::string row = "tableA3_approach3, N = " + std::to_string(columns.N[i]);
    // The printed table follows neither set of published constants exactly (docs/fitting.md).
    compare_ratio(row + ": C", there.C, columns.C[i], 0.25);
    compare_ratio(row + ": 6*N*D", 6 * columns.N[i] * columns.D[i], columns.C[i], 0.05);
  }
}

TEST_F(PlannerTables, BesiroglusOptimumOfGophersBudget) {
  const Optimum found = predict(fit_of_law(parse_law("besiroglu")), 5.76e23).at(0);
  compare_ratio("besiroglu at 5.76e23: N", found.N.value, 72.35e9, 1e-3);
  compare_ratio("besiroglu at 5.76e23: D", found.D.value, 1.327e12, 1e-3);
  compare("besiroglu at 5.76e23: D/N", found.D.value / found.N.value, 18.338393456910296, 1e-6);
}

TEST_F(PlannerTables, TableA4ComparesExactFlopsWith6ND) {
  constexpr int kVocabulary = 32000;
  const json rows = checks()["tableA4_flop_ratio"];
  ASSERT_EQ(rows.size(), 6u);
  for (const json& row : rows) {
    ModelConfig config;
    config.n_layers = row[1];
    config.d_model = row[2];
    config.d_ff = row[3];
    config.n_heads = row[4];
    config.d_head = row[5];
    config.context_length = 2048;
    // Embeddings and logits are not counted in this table: forward and backward, two products of V by
    // d_model.
    const double flops = flops_per_token(resolved(config), kVocabulary).flops_hoffmann -
                         3 * 2 * 2.0 * kVocabulary * row[2].get<double>();
    const std::string printed = row[0];
    const double N = std::stod(printed) * (printed.back() == 'B' ? 1e9 : 1e6);
    const double rounding = (printed.find('.') == std::string::npos ? 0.5 : 0.05) / std::stod(printed);
    compare("tableA4, " + printed + ": C/(6ND)", flops / (6 * N), row[6], 0.01 + rounding);
  }
}

TEST_F(PlannerTables, NanochatsOptimaGiveItsExponents) {
  const json optima = checks()["nanochat_jan26_optima"];
  const std::vector<double> C = optima["budgets"];
  for (const char* count : {"kaplan_style_proj_plus_head", "all_params", "transformer_only"}) {
    const std::vector<double> N = optima[count]["N_opt"], D = optima[count]["D_opt"];
    const auto laws = fit_laws(C, N, D);
    ASSERT_TRUE(laws);
    compare(std::string("nanochat, ") + count + ": a", laws->a, optima[count]["a_exp"], 1e-6);
    compare(std::string("nanochat, ") + count + ": b", laws->b, optima[count]["b_exp"], 1e-6);
  }
}

}  // namespace
}  // namespace minichilla::planner_tables_test
