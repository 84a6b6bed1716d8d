#include "reference_model.h"

#include <gtest/gtest.h>

#include "model_case.h"

namespace minichilla::reference_model_test {
namespace {

class ReferenceModelTest : public testing::TestWithParam<ModelCase> {};

const ModelCase kCases[] = {
    {"alternating", 3, 6, 2, 0, 0, 7, 9, 2, {"dense", "banded"}, 3},
    {"window_one", 1, 4, 1, 0, 10, 5, 5, 1, {"banded"}, 1},
    {"head_width_given", 2, 5, 2, 3, 7, 4, 6, 3, {"banded", "dense", "dense"}, 2},
    {"window_beyond_context", 1, 6, 3, 0, 0, 5, 7, 2, {"banded"}, 100},
    {"one_token", 1, 4, 2, 0, 0, 1, 3, 2, {"dense"}, 0},
};

double norm(const std::vector<double>& values, const ParameterTensor& tensor) {
  double sum = 0;
  for (std::int64_t i = 0; i < tensor.count(); ++i) {
    const double x = values[static_cast<std::size_t>(tensor.offset + i)];
    sum += x * x;
  }
  return std::sqrt(sum);
}

TEST_P(ReferenceModelTest, GradientAgreesWithFiniteDifferences) {
  const ModelCase& model = GetParam();
  const ParameterTable table(model.config(), model.V);
  const std::vector<float> start = random_weights(table, 1);
  std::vector<double> weights(start.begin(), start.end());
  const auto tokens = random_tokens(model.B * model.T, model.V, 2);
  const auto targets = random_tokens(model.B * model.T, model.V, 3);
  ReferenceModel<double> reference(model.config(), model.V, model.B);
  const std::vector<double> gradient = reference.gradient(weights, tokens, targets, 0.25);

  // Four points: the error is of fourth order in the step.
  constexpr double kStep = 1e-3;
  std::vector<double> difference(gradient.size());
  for (const ParameterTensor& tensor : table.tensors()) {
    for (std::int64_t i = 0; i < tensor.count(); ++i) {
      const auto at = static_cast<std::size_t>(tensor.offset + i);
      const double here = weights[at];
      const auto loss = [&](double steps) {
        weights[at] = here + steps * kStep;
        return reference.loss(weights, tokens, targets);
      };
      const double slope = (8 * (loss(1) - loss(-1)) - (loss(2) - loss(-2))) / (12 * kStep);
      weights[at] = here;
      difference[at] = gradient[at] - 0.25 * slope;
    }
    EXPECT_LE(norm(difference, tensor), 1e-6 * norm(gradient, tensor) + 1e-12) << tensor.name;
  }
}

TEST_P(ReferenceModelTest, EveryTensorHasAGradientAndPaddingNone) {
  const ModelCase& model = GetParam();
  const ParameterTable table(model.config(), model.V);
  const std::vector<float> start = random_weights(table, 1);
  const std::vector<double> weights(start.begin(), start.end());
  ReferenceModel<double> reference(model.config(), model.V, model.B);
  std::vector<double> gradient = reference.gradient(weights, random_tokens(model.B * model.T, model.V, 2),
                                                    random_tokens(model.B * model.T, model.V, 3), 1);
  for (const ParameterTensor& tensor : table.tensors()) {
    EXPECT_GT(norm(gradient, tensor), 1e-3) << tensor.name;
    for (std::int64_t i = 0; i < tensor.count(); ++i)
      gradient[static_cast<std::size_t>(tensor.offset + i)] = 0;
  }
  for (const double padding : gradient) EXPECT_EQ(padding, 0);
}

INSTANTIATE_TEST_SUITE_P(Shapes, ReferenceModelTest, testing::ValuesIn(kCases),
                         [](const auto& shape) { return shape.param.name; });

TEST(ReferenceModel, UniformLogitsCostTheLogarithmOfTheVocabulary) {
  const ModelCase model{"", 1, 4, 2, 0, 0, 3, 11, 2, {"dense"}, 0};
  const ParameterTable table(model.config(), model.V);
  const std::vector<double> zeros(static_cast<std::size_t>(table.flat_size()), 0.0);
  ReferenceModel<double> reference(model.config(), model.V, model.B);
  EXPECT_NEAR(reference.loss(zeros, random_tokens(6, 11, 1), random_tokens(6, 11, 2)), 6 * std::log(11.0),
              1e-12);
}

}  // namespace
}  // namespace minichilla::reference_model_test
