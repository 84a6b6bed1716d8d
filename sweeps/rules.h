// Rules: formulas in a config that give a run's learning rate, batch or warmup from its size and budget.
//
// A rule is arithmetic over named numbers: + - * / ^ (right-associative, before unary minus), parentheses,
// the functions min, max, sqrt, log (natural) and exp, numbers such as 0.01, 3e11 or 1.36M (suffixes k, M, G,
// B, T).
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace minichilla {

/// Values of the names that a rule may use.
using RuleVariables = std::map<std::string, double>;

/// One parsed rule. Move-only; evaluating it is not thread-safe.
class Rule {
 public:
  /// Throws std::invalid_argument that says what was expected and at which column (from 1), with the nearest
  /// name for an unknown one. `names`: what the rule may use.
  Rule(const std::string& expression, const std::vector<std::string>& names);
  ~Rule();
  Rule(Rule&&) noexcept;
  Rule& operator=(Rule&&) noexcept;

  /// `variables` has a value for each name. May be infinite or NaN (1/0, sqrt(-1)).
  double operator()(const RuleVariables& variables);

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// What a batch rule may use: d_model, n_layers, n_heads, context_length, N (all parameters),
/// N_non_embedding, D (tokens asked for) and C (FLOPs asked for, in the budgets' column).
const std::vector<std::string>& batch_rule_names();
/// What rules for the learning rate and the warmup may use: those, batch_tokens (after rounding) and steps.
const std::vector<std::string>& step_rule_names();
/// What the rule for a budget's central size may use: C.
const std::vector<std::string>& budget_rule_names();

/// For config descriptions: the expression itself when it parses with these names (empty: no rule), else the
/// exception of Rule.
std::string parse_batch_rule(const std::string& expression);
std::string parse_step_rule(const std::string& expression);
std::string parse_budget_rule(const std::string& expression);

}  // namespace minichilla
