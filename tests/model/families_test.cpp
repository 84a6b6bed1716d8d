#include "model/families.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "kernels/error.h"
#include "model/parameters.h"
#include "model/sizes.h"
#include "model/training_bytes.h"
#include "tests/temporary_folder.h"

namespace minichilla::families_test {
namespace {

/// Half a unit of the last digit of a printed count: "13.0B" → 0.05e9, "44M" → 0.5e6.
double half_unit(const std::string& printed) {
  const double unit = parse_quantity(std::string("1") + printed.back());
  const std::size_t point = printed.find('.');
  const double decimals = point == std::string::npos ? 0 : static_cast<double>(printed.size() - point - 2);
  return 0.5 * unit * std::pow(10.0, -decimals);
}

double computed(const Family& family, const FamilyShape& shape) {
  return static_cast<double>(published_architecture_params(family, shape));
}

/// The tolerance of every published count is the rounding of its print. What lies outside is listed here with
/// its deviation in percent; each has its reason in docs/models.md.
const std::map<std::string, double> kNotReproduced = {
    {"gpt3-350M", 1.678},   // the shape has 355.9M
    {"gpt3-1.3B", 16.702},  // 24 heads of 128, as printed, make 1.517G; 16 heads would make 1.316G
    {"gpt3-13B", -1.128},   // printed as 13.0B; the shape has 12.85G, with d_model 5140 it would have 12.95G
    {"gpt3-175B", -0.226},  // printed as 175.0B; the shape has 174.6G
};

TEST(Families, PublishedCountsAreReproduced) {
  int checked = 0;
  for (const Family& family : families()) {
    for (const FamilyShape& shape : family.shapes) {
      if (shape.printed_params.empty()) continue;
      ++checked;
      const double printed = parse_quantity(shape.printed_params);
      const double error = computed(family, shape) - printed;
      const auto exception = kNotReproduced.find(shape.name);
      if (exception == kNotReproduced.end()) {
        EXPECT_LE(std::fabs(error), half_unit(shape.printed_params)) << shape.name;
      } else {
        EXPECT_GT(std::fabs(error), half_unit(shape.printed_params)) << shape.name << " is no exception";
        EXPECT_NEAR(100 * error / printed, exception->second, 0.001) << shape.name;
      }
    }
  }
  EXPECT_EQ(checked, 8 + 51 + 6);
}

TEST(Families, HoldsThePublishedNumberOfShapes) {
  EXPECT_THAT(family_names(), testing::ElementsAre("ladder", "gpt3", "chinchilla", "gopher"));
  EXPECT_EQ(find_family("gpt3").shapes.size(), 8u);         // Brown et al. 2020, table 2.1
  EXPECT_EQ(find_family("chinchilla").shapes.size(), 51u);  // Hoffmann et al. 2022, table A9 and Chinchilla
  EXPECT_EQ(find_family("gopher").shapes.size(), 6u);       // Rae et al. 2021, table 1
}

TEST(Families, NamesAreUniqueAndShapesResolve) {
  std::set<std::string> names;
  for (const Family& family : families()) {
    for (const FamilyShape& shape : family.shapes) {
      EXPECT_TRUE(names.insert(shape.name).second) << shape.name;
      EXPECT_EQ(find_shape(shape.name), &shape);
      EXPECT_EQ(shape.model.family, family.name);
      const ModelConfig model = family_model(family, shape);
      EXPECT_EQ(shape_name(model), shape.name);
      ModelConfig read;
      read_config(yaml_of(write_config(model)), "m.yaml", read);  // every family is a label that configs take
      EXPECT_EQ(shape_name(read), shape.name);
      EXPECT_EQ(model.d_ff, 4 * model.d_model);
      EXPECT_EQ(model.context_length, family.context_length);
      EXPECT_EQ(model.attention.pattern, family.attention);
    }
  }
  EXPECT_EQ(find_shape("gpt3-126M"), nullptr);
}

TEST(Families, SizesAscend) {
  for (const Family& family : families()) {
    double before = 0;
    for (const FamilyShape& shape : family.shapes) {
      EXPECT_GT(computed(family, shape), before) << shape.name;
      before = computed(family, shape);
    }
  }
}

/// Heads of a total width other than d_model, as the papers print them.
TEST(Families, HeadWidthsAreThePublishedOnes) {
  std::vector<std::string> uneven;
  for (const Family& family : families()) {
    for (const FamilyShape& shape : family.shapes) {
      const ModelConfig model = family_model(family, shape);
      if (model.d_head * model.n_heads != model.d_model) uneven.push_back(shape.name);
    }
  }
  EXPECT_THAT(uneven,
              testing::ElementsAre("gpt3-1.3B", "chinchilla-3530M", "chinchilla-4084M", "chinchilla-11452M",
                                   "chinchilla-12569M", "chinchilla-13735M", "chinchilla-14940M"));
}

TEST(Families, PublishedSettings) {
  const FamilyShape& gpt3 = *find_shape("gpt3-175B");  // Brown et al. 2020, table 2.1
  EXPECT_EQ(gpt3.batch_tokens, 3.2e6);
  EXPECT_EQ(gpt3.learning_rate, 0.6e-4);
  const FamilyShape& chinchilla = *find_shape("chinchilla-70B");  // Hoffmann et al. 2022, table 4
  EXPECT_EQ(chinchilla.batch_tokens, 1.5e6);
  EXPECT_EQ(chinchilla.final_batch_tokens, 3e6);
  EXPECT_EQ(chinchilla.learning_rate, 1e-4);
  EXPECT_EQ(find_shape("chinchilla-44M")->learning_rate, 0);
  const FamilyShape& gopher = *find_shape("gopher-280B");  // Rae et al. 2021, table 1
  EXPECT_EQ(gopher.final_batch_tokens, 6e6);
  EXPECT_EQ(gopher.learning_rate, 4e-5);
}

/// What the same shape holds here: no projection of relative positions, but a table of positions, and norms
/// with biases.
TEST(Families, OurCountDiffersByThePositionsOfTheArchitecture) {
  const Family& family = find_family("chinchilla");
  for (const FamilyShape& shape : family.shapes) {
    const ModelConfig model = family_model(family, shape);
    const std::int64_t C = model.d_model, L = model.n_layers, HD = std::int64_t{model.n_heads} * model.d_head;
    const std::int64_t ours = ParameterTable(model, family.vocabulary).params();
    // Per layer: less C·H·D and two vectors of H·D, more four vectors of norms; once: T·C, and C of the norm.
    EXPECT_EQ(ours - published_architecture_params(family, shape),
              L * (4 * C - C * HD - 2 * HD) + model.context_length * C + C)
        << shape.name;
  }
}

TEST(Families, UnknownFamilyIsNamed) {
  EXPECT_EQ(message_of<InputError>([] { find_family("gpt"); }),
            "family: found 'gpt', expected one of ladder, gpt3, chinchilla, gopher; did you mean gpt3?");
}

TEST(TrainingBytes, AreThoseOfTheFlatArrays) {
  const ParameterTable table(family_model(find_family("ladder"), *find_shape("2x32")), 257);
  const std::vector<TrainingBytes> bytes = training_bytes(table);
  ASSERT_EQ(bytes.size(), 2u);
  EXPECT_EQ(bytes[0].precision, "fp32");
  EXPECT_EQ(bytes[0].weights, 4 * table.flat_size());
  EXPECT_EQ(bytes[0].master, 0);
  EXPECT_EQ(bytes[0].total(), 16 * table.flat_size());
  EXPECT_EQ(bytes[1].precision, "bf16");
  EXPECT_EQ(bytes[1].weights, 2 * table.flat_size());
  EXPECT_EQ(bytes[1].master, 4 * table.flat_size());
  EXPECT_EQ(bytes[1].total(), 18 * table.flat_size());
}

}  // namespace
}  // namespace minichilla::families_test
