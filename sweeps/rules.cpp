#include "sweeps/rules.h"

#include <muParser.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "kernels/error.h"
#include "model/quote.h"

namespace minichilla {
namespace {

double minimum(double a, double b) {
  return std::min(a, b);
}
double maximum(double a, double b) {
  return std::max(a, b);
}
double square_root(double x) {
  return std::sqrt(x);
}
double natural_log(double x) {
  return std::log(x);
}
double exponential(double x) {
  return std::exp(x);
}
double kilo(double x) {
  return x * 1e3;
}
double mega(double x) {
  return x * 1e6;
}
double giga(double x) {
  return x * 1e9;
}
double tera(double x) {
  return x * 1e12;
}

const std::vector<std::string> kFunctions = {"min", "max", "sqrt", "log", "exp"};

/// muParser's own functions, constants and suffixes replaced by ours, so that a rule means what rules.h says.
void define_language(mu::Parser& parser) {
  parser.ClearFun();
  parser.ClearConst();
  parser.DefineFun("min", minimum);
  parser.DefineFun("max", maximum);
  parser.DefineFun("sqrt", square_root);
  parser.DefineFun("log", natural_log);
  parser.DefineFun("exp", exponential);
  parser.DefinePostfixOprt("k", kilo);
  parser.DefinePostfixOprt("M", mega);
  parser.DefinePostfixOprt("G", giga);
  parser.DefinePostfixOprt("B", giga);
  parser.DefinePostfixOprt("T", tera);
}

/// muParser also knows assignments, comparisons, strings and a conditional; rules do not.
void refuse_other_characters(const std::string& expression) {
  const std::string valid = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-*/^(), ";
  const std::size_t position = expression.find_first_not_of(valid);
  if (position != std::string::npos) {
    throw std::invalid_argument("a formula of numbers, names, + - * / ^ and parentheses, not " +
                                quote(expression.substr(position, 1)) + " at column " +
                                std::to_string(position + 1));
  }
}

[[noreturn]] void fail(const mu::Parser::exception_type& error, std::vector<std::string> names) {
  const std::string column = " at column " + std::to_string(error.GetPos() + 1);
  if (error.GetCode() != mu::ecUNASSIGNABLE_TOKEN) {
    std::string message = error.GetMsg();
    for (const char* tail : {" found at position", " at expression position", "."}) {
      message = message.substr(0, message.find(tail));  // we count columns from one
    }
    throw std::invalid_argument("a formula: " + message + (error.GetPos() >= 0 ? column : ""));
  }
  names.insert(names.end(), kFunctions.begin(), kFunctions.end());
  const std::string near = nearest_name(error.GetToken(), names);
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  throw std::invalid_argument("a formula of " + list + ": '" + error.GetToken() + "'" + column +
                              " is none of them" + (near.empty() ? "" : "; did you mean " + near + "?"));
}

std::string checked(const std::string& expression, const std::vector<std::string>& names) {
  if (!expression.empty()) Rule(expression, names);
  return expression;
}

}  // namespace

struct Rule::Implementation {
  mu::Parser parser;
  RuleVariables values;  // the parser points into it
};

Rule::Rule(const std::string& expression, const std::vector<std::string>& names)
    : implementation_(std::make_unique<Implementation>()) {
  refuse_other_characters(expression);
  mu::Parser& parser = implementation_->parser;
  try {
    define_language(parser);
    for (const std::string& name : names) parser.DefineVar(name, &implementation_->values[name]);
    parser.SetExpr(expression);
    int results = 0;
    parser.Eval(results);
    if (results != 1) throw std::invalid_argument("one formula, not " + std::to_string(results));
  } catch (const mu::Parser::exception_type& error) {
    fail(error, names);
  }
}

Rule::~Rule() = default;
Rule::Rule(Rule&&) noexcept = default;
Rule& Rule::operator=(Rule&&) noexcept = default;

double Rule::operator()(const RuleVariables& variables) {
  for (auto& [name, value] : implementation_->values) value = variables.at(name);
  return implementation_->parser.Eval();
}

const std::vector<std::string>& batch_rule_names() {
  static const std::vector<std::string> names = {"d_model", "n_layers",        "n_heads", "context_length",
                                                 "N",       "N_non_embedding", "D",       "C"};
  return names;
}

const std::vector<std::string>& step_rule_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all = batch_rule_names();
    all.insert(all.end(), {"batch_tokens", "steps"});
    return all;
  }();
  return names;
}

const std::vector<std::string>& budget_rule_names() {
  static const std::vector<std::string> names = {"C"};
  return names;
}

std::string parse_batch_rule(const std::string& expression) {
  return checked(expression, batch_rule_names());
}
std::string parse_step_rule(const std::string& expression) {
  return checked(expression, step_rule_names());
}
std::string parse_budget_rule(const std::string& expression) {
  return checked(expression, budget_rule_names());
}

}  // namespace minichilla
