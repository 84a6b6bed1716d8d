#include "sweeps/rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

namespace minichilla::rules_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

RuleVariables example() {
  return {{"d_model", 32}, {"n_layers", 2},
          {"n_heads", 4},  {"context_length", 64},
          {"N", 40e3},     {"D", 2e6},
          {"C", 3e11},     {"batch_tokens", 512},
          {"steps", 400},  {"N_non_embedding", 25e3}};
}

double value(const std::string& expression) {
  return Rule(expression, step_rule_names())(example());
}

std::string complaint(const std::string& expression,
                      const std::vector<std::string>& names = step_rule_names()) {
  try {
    Rule(expression, names);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Rule, IsArithmetic) {
  EXPECT_DOUBLE_EQ(value("0.02"), 0.02);
  EXPECT_DOUBLE_EQ(value("1 + 2 * 3 - 8 / 4"), 5);
  EXPECT_DOUBLE_EQ(value("2^3^2"), 512) << "powers are right-associative";
  EXPECT_DOUBLE_EQ(value("-2^2"), -4) << "powers bind before the sign";
  EXPECT_DOUBLE_EQ(value("2^-1"), 0.5);
  EXPECT_DOUBLE_EQ(value("8 - 4 - 2"), 2);
  EXPECT_DOUBLE_EQ(value("(1+2)*(3+4)"), 21);
}

TEST(Rule, KnowsFunctionsAndSuffixes) {
  EXPECT_DOUBLE_EQ(value("min(3, 2) + max(3, 2)"), 5);
  EXPECT_DOUBLE_EQ(value("sqrt(16)"), 4);
  EXPECT_DOUBLE_EQ(value("log(exp(2))"), 2) << "log is natural";
  EXPECT_DOUBLE_EQ(value("1.5k + 1M"), 1001500);
  EXPECT_DOUBLE_EQ(value("300G"), 3e11);
  EXPECT_DOUBLE_EQ(value("300B / 1T"), 0.3);
  EXPECT_DOUBLE_EQ(value("3e11"), 3e11);
}

TEST(Rule, UsesItsVariables) {
  EXPECT_DOUBLE_EQ(value("0.01*(16/d_model)^0.8"), 0.01 * std::pow(0.5, 0.8));
  EXPECT_DOUBLE_EQ(value("512*(C/3e11)^0.3"), 512);
  EXPECT_DOUBLE_EQ(value("max(0.02, 10/steps)"), 0.025);
  EXPECT_DOUBLE_EQ(value("D/N + N_non_embedding + n_layers*n_heads + context_length + batch_tokens"),
                   50 + 25e3 + 8 + 64 + 512);
}

TEST(Rule, CanBeEvaluatedAgain) {
  Rule rule("2*N", {"N"});
  EXPECT_EQ(rule({{"N", 3}}), 6);
  EXPECT_EQ(rule({{"N", 5}}), 10);
}

TEST(Rule, LeavesJudgingOfNumbersToItsUser) {
  EXPECT_TRUE(std::isinf(value("1/0")));
  EXPECT_TRUE(std::isnan(value("sqrt(-1)")));
}

TEST(Rule, NamesUnknownNamesTheirPlaceAndTheNearest) {
  EXPECT_THAT(complaint("0.01*(16/d_modle)^0.8"),
              AllOf(HasSubstr("'d_modle' at column 10"), HasSubstr("did you mean d_model?")));
  EXPECT_THAT(complaint("sqroot(4)"), HasSubstr("did you mean sqrt?"));
  EXPECT_THAT(complaint("steps", batch_rule_names()), HasSubstr("'steps' at column 1"));
  EXPECT_THAT(complaint("_pi"), HasSubstr("'_pi' at column 1"));
}

TEST(Rule, RefusesWhatIsNoFormula) {
  EXPECT_THAT(complaint("(1+2"), HasSubstr("Missing parenthesis at column 6"));
  EXPECT_THAT(complaint("2 *"), HasSubstr("a formula"));
  EXPECT_THAT(complaint(""), HasSubstr("empty"));
  EXPECT_THAT(complaint("1,2"), HasSubstr("one formula, not 2"));
  EXPECT_THAT(complaint("C=3"), HasSubstr("not '=' at column 2"));
  EXPECT_THAT(complaint("C > 2 ? 1 : 0"), HasSubstr("not '>' at column 3"));
  EXPECT_THAT(complaint("\"a\""), HasSubstr("not '\"' at column 1"));
  EXPECT_THAT(complaint("8k,\x1f"
                        "1"),
              HasSubstr("not '\\x1f' at column 4"));
  EXPECT_THAT(complaint("min(1)"), HasSubstr("Too few parameters"));
}

TEST(ParseRule, AnEmptyRuleIsNone) {
  EXPECT_EQ(parse_step_rule(""), "");
  EXPECT_EQ(parse_budget_rule("10e3*(C/1e11)^0.5"), "10e3*(C/1e11)^0.5");
  EXPECT_THROW(parse_budget_rule("N"), std::invalid_argument);
  EXPECT_THROW(parse_batch_rule("batch_tokens"), std::invalid_argument);
}

}  // namespace
}  // namespace minichilla::rules_test
