// Recomputation changes what is kept and no bit of what is computed.
#include "model/recompute.h"

#include <gtest/gtest.h>

#include "kernels/device.h"
#include "kernels/ops.h"
#include "model/activations.h"
#include "model/transformer.h"
#include "model_case.h"

namespace minichilla::recompute_test {
namespace {

const Recompute kNorms{.norms = true}, kMlp{.mlp = true}, kBoth{.norms = true, .mlp = true};

struct Outcome {
  double loss = 0, evaluation = 0;
  std::vector<float> gradient;
  bool operator==(const Outcome&) const = default;
};

/// Two micro-batches, one after the other in the same arena, and an evaluation.
Outcome outcome(const ModelCase& model, Recompute recompute) {
  const std::unique_ptr<Device> device = make_cpu_device(1);
  Transformer transformer(model.config(), model.V, model.B, 1, *device, recompute);
  const std::vector<float> weights = random_weights(transformer.parameters(), 1);
  device->upload(transformer.weights(), weights.data(), weights.size() * sizeof(float));
  const std::vector<std::int32_t> ids = random_tokens(model.B * model.T + 1, model.V, 2);
  const std::size_t bytes = (ids.size() - 1) * sizeof(std::int32_t);
  const Buffer tokens = device->allocate(bytes), targets = device->allocate(bytes),
               sum = device->allocate(sizeof(double));
  device->upload(tokens.as<void>(), ids.data(), bytes);
  device->upload(targets.as<void>(), ids.data() + 1, bytes);
  device->for_each_task(1, [&](Lane& lane, int) {
    transformer.clear_slot(lane, 0);
    for (int pass = 0; pass < 2; ++pass) {
      transformer.forward_backward(lane, 0, tokens.as<std::int32_t>(), targets.as<std::int32_t>(), 0.1f);
    }
    transformer.evaluate(lane, tokens.as<std::int32_t>(), targets.as<std::int32_t>(), sum.as<double>());
  });
  Outcome outcome;
  outcome.gradient.resize(weights.size());
  device->download(&outcome.loss, transformer.slot_loss(0), sizeof outcome.loss);
  device->download(&outcome.evaluation, sum.as<double>(), sizeof outcome.evaluation);
  device->download(outcome.gradient.data(), transformer.gradient_slot(0), weights.size() * sizeof(float));
  return outcome;
}

TEST(Recompute, LossAndGradientKeepTheirBits) {
  const ModelCase cases[] = {
      {"alternating", 3, 24, 3, 0, 0, 31, 57, 2, {"dense", "banded"}, 8},
      {"one_layer", 1, 18, 4, 7, 29, 23, 45, 2, {"banded"}, 6},
      {"wide_mlp", 2, 16, 2, 0, 300, 20, 33, 3, {"dense"}, 0},
  };
  for (const ModelCase& model : cases) {
    const Outcome kept = outcome(model, {});
    EXPECT_NE(kept.loss, 0);
    EXPECT_TRUE(outcome(model, kNorms) == kept) << model.name;
    EXPECT_TRUE(outcome(model, kMlp) == kept) << model.name;
    EXPECT_TRUE(outcome(model, kBoth) == kept) << model.name;
  }
}

TEST(Recompute, NamesAreThoseOfTheConfig) {
  EXPECT_FALSE(recompute_of({}).norms || recompute_of({}).mlp);
  EXPECT_TRUE(recompute_of({"norms"}).norms && !recompute_of({"norms"}).mlp);
  EXPECT_TRUE(recompute_of({"mlp"}).mlp && !recompute_of({"mlp"}).norms);
  EXPECT_TRUE(recompute_of({"mlp", "norms"}).mlp && recompute_of({"mlp", "norms"}).norms);
}

/// Shapes of which every activation is a multiple of 64 bytes, so that sums are exact.
const ModelCase kEven{"even", 6, 64, 2, 0, 0, 32, 64, 2, {"dense"}, 0};

ActivationPlan plan(Recompute recompute) {
  const std::unique_ptr<Device> device = make_cpu_device(1);
  return Activations(kEven.config(), kEven.V, kEven.B, recompute, device->operations()).plan();
}

/// Bytes that live between forward and backward, while the classifier works.
std::size_t kept_bytes(const ActivationPlan& plan) {
  int classifier = -1;
  for (const ActivationPlan::Tensor& tensor : plan.tensors()) {
    if (tensor.name == "classifier_scratch") classifier = tensor.first_use;
  }
  std::size_t bytes = 0;
  for (const ActivationPlan::Tensor& tensor : plan.tensors()) {
    if (tensor.first_use <= classifier && classifier <= tensor.last_use) bytes += tensor.bytes;
  }
  return bytes;
}

TEST(Recompute, KeepsNothingOfWhatIsMadeAgain) {
  const std::size_t L = 6, M = 64, C = 64, F = 256, norms = L * 2 * M * C * sizeof(float),
                    mlp = L * 2 * M * F * sizeof(float), all = kept_bytes(plan({}));
  EXPECT_EQ(kept_bytes(plan(kNorms)), all - norms);
  EXPECT_EQ(kept_bytes(plan(kMlp)), all - mlp);
  EXPECT_EQ(kept_bytes(plan(kBoth)), all - norms - mlp);
}

TEST(Recompute, TheArenaShrinksByAllLayersAndAtMostTheOneAtWorkComesBack) {
  const std::size_t L = 6, M = 64, C = 64, F = 256, norms = 2 * M * C * sizeof(float),
                    mlp = 2 * M * F * sizeof(float), all = plan({}).bytes();
  const auto expect_saved = [&](Recompute recompute, std::size_t of_a_layer) {
    const std::size_t saved = all - plan(recompute).bytes();
    EXPECT_GE(saved, (L - 1) * of_a_layer);
    EXPECT_LE(saved, L * of_a_layer);
  };
  expect_saved(kNorms, norms);
  expect_saved(kMlp, mlp);
  expect_saved(kBoth, norms + mlp);
}

}  // namespace
}  // namespace minichilla::recompute_test
