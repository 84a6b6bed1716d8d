#include "model/transformer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/error.h"
#include "model_case.h"
#include "reference_model.h"

namespace minichilla::transformer_test {
namespace {

constexpr double kEps = std::numeric_limits<float>::epsilon();

const ModelCase kCases[] = {
    {"alternating", 3, 24, 3, 0, 0, 31, 57, 2, {"dense", "banded"}, 8},
    {"window_one", 2, 16, 2, 0, 0, 13, 33, 3, {"banded"}, 1},
    {"window_beyond_context", 1, 16, 2, 0, 0, 17, 31, 2, {"banded"}, 18},
    {"one_head_one_sequence", 2, 20, 1, 0, 0, 37, 257, 1, {"dense", "banded", "banded"}, 5},
    {"head_width_given", 2, 18, 4, 7, 29, 23, 45, 2, {"banded", "dense"}, 6},
    {"wide_heads", 1, 10, 2, 40, 11, 19, 21, 1, {"dense"}, 0},
    {"one_token", 1, 8, 1, 0, 0, 1, 5, 1, {"dense"}, 0},
    {"tiny", 1, 1, 1, 1, 1, 2, 2, 1, {"dense"}, 0},
    {"ladder_rung", 2, 32, 2, 0, 0, 64, 257, 4, {"dense", "banded"}, 16},
};

/// A model on a CPU device with random weights, and its micro-batches.
class Fixture {
 public:
  Fixture(const ModelCase& model, int lanes, int slots = 1)
      : case_(model),
        device_(make_cpu_device(lanes)),
        transformer_(model.config(), model.V, model.B, slots, *device_),
        weights_(random_weights(transformer_.parameters(), 1)) {
    device_->upload(transformer_.weights(), weights_.data(), flat_bytes());
  }

  Device& device() { return *device_; }
  Transformer& transformer() { return transformer_; }
  const ParameterTable& table() { return transformer_.parameters(); }
  const std::vector<float>& weights() const { return weights_; }
  std::size_t flat_bytes() { return static_cast<std::size_t>(table().flat_size()) * sizeof(float); }

  std::vector<std::int32_t> tokens(unsigned batch) const {
    return random_tokens(case_.B * case_.T, case_.V, 100 + batch);
  }
  std::vector<std::int32_t> targets(unsigned batch) const {
    return random_tokens(case_.B * case_.T, case_.V, 200 + batch);
  }

  /// `batches` micro-batches over the slots as the trainer does it: one task per slot.
  void run(int slots, int batches, float loss_scale, const Transformer::OnReady& on_ready = {}) {
    std::vector<Buffer> ids;
    for (int i = 0; i < batches; ++i) {
      ids.push_back(on_device(tokens(static_cast<unsigned>(i))));
      ids.push_back(on_device(targets(static_cast<unsigned>(i))));
    }
    device_->for_each_task(slots, [&](Lane& lane, int slot) {
      transformer_.clear_slot(lane, slot);
      for (int i = slot; i < batches; i += slots) {
        const auto at = static_cast<std::size_t>(2 * i);
        transformer_.forward_backward(lane, slot, ids[at].as<std::int32_t>(), ids[at + 1].as<std::int32_t>(),
                                      loss_scale, on_ready);
      }
    });
    device_->synchronize();
  }

  std::vector<float> gradient(int slot) {
    std::vector<float> values(static_cast<std::size_t>(table().flat_size()));
    device_->download(values.data(), transformer_.gradient_slot(slot), flat_bytes());
    return values;
  }
  double loss(int slot) {
    double value = 0;
    device_->download(&value, transformer_.slot_loss(slot), sizeof value);
    return value;
  }
  double evaluate(unsigned batch) {
    Buffer ids = on_device(tokens(batch)), expected = on_device(targets(batch)),
           sum = device_->allocate(sizeof(double));
    device_->for_each_task(1, [&](Lane& lane, int) {
      transformer_.evaluate(lane, ids.as<std::int32_t>(), expected.as<std::int32_t>(), sum.as<double>());
    });
    device_->synchronize();
    double value = 0;
    device_->download(&value, sum.as<double>(), sizeof value);
    return value;
  }

 private:
  Buffer on_device(const std::vector<std::int32_t>& ids) {
    Buffer buffer = device_->allocate(ids.size() * sizeof(std::int32_t));
    device_->upload(buffer.as<void>(), ids.data(), ids.size() * sizeof(std::int32_t));
    return buffer;
  }

  const ModelCase case_;
  std::unique_ptr<Device> device_;
  Transformer transformer_;
  std::vector<float> weights_;
};

/// ‖values − reference‖ over one tensor.
template <class Real>
double distance(const std::vector<Real>& values, const std::vector<double>& reference,
                const ParameterTensor& tensor) {
  double sum = 0;
  for (std::int64_t i = 0; i < tensor.count(); ++i) {
    const auto at = static_cast<std::size_t>(tensor.offset + i);
    sum += (values[at] - reference[at]) * (values[at] - reference[at]);
  }
  return std::sqrt(sum);
}

class TransformerTest : public testing::TestWithParam<ModelCase> {};

TEST_P(TransformerTest, AgreesWithTheReference) {
  const ModelCase& model = GetParam();
  Fixture fixture(model, 1);
  const float loss_scale = 1.0f / static_cast<float>(model.B * model.T);
  fixture.run(1, 1, loss_scale);

  const std::vector<double> weights(fixture.weights().begin(), fixture.weights().end());
  ReferenceModel<double> reference(model.config(), model.V, model.B);
  ReferenceModel<float> naive(model.config(), model.V, model.B);
  const auto tokens = fixture.tokens(0), targets = fixture.targets(0);
  const double loss = reference.loss(weights, tokens, targets);
  const double naive_error = std::abs(naive.loss(fixture.weights(), tokens, targets) - loss);
  EXPECT_LE(std::abs(fixture.loss(0) - loss), 2 * naive_error + 8 * kEps * std::abs(loss));

  const std::vector<double> expected = reference.gradient(weights, tokens, targets, loss_scale);
  const std::vector<float> naive_gradient = naive.gradient(fixture.weights(), tokens, targets, loss_scale);
  const std::vector<float> gradient = fixture.gradient(0);
  const std::vector<double> zeros(expected.size(), 0.0);
  for (const ParameterTensor& tensor : fixture.table().tensors()) {
    const double size = distance(expected, zeros, tensor);
    EXPECT_LE(distance(gradient, expected, tensor),
              2 * distance(naive_gradient, expected, tensor) + 8 * kEps * size)
        << tensor.name << ", of norm " << size;
  }
}

TEST_P(TransformerTest, EvaluationGivesTheTrainingLoss) {
  Fixture fixture(GetParam(), 1);
  fixture.run(1, 1, 1);
  const std::vector<float> before = fixture.gradient(0);
  EXPECT_EQ(fixture.evaluate(0), fixture.loss(0));
  EXPECT_EQ(fixture.gradient(0), before);
}

TEST_P(TransformerTest, PaddingStaysZero) {
  Fixture fixture(GetParam(), 2, 2);
  fixture.run(2, 4, 1);
  for (int slot = 0; slot < 2; ++slot) {
    std::vector<float> gradient = fixture.gradient(slot);
    for (const ParameterTensor& tensor : fixture.table().tensors()) {
      std::fill_n(gradient.begin() + tensor.offset, tensor.count(), 0.0f);
    }
    EXPECT_THAT(gradient, testing::Each(0.0f));
  }
}

TEST_P(TransformerTest, AnnouncesEveryRangeOnceFromTheEndToTheStart) {
  Fixture fixture(GetParam(), 1);
  const ParameterTable& table = fixture.table();
  std::int64_t end = table.flat_size();
  std::vector<float> announced(static_cast<std::size_t>(end));
  fixture.run(1, 1, 1, [&](ElementRange range) {
    EXPECT_EQ(range.end, end);
    EXPECT_LT(range.begin, range.end);
    EXPECT_EQ(range.begin % ParameterTable::kFlatAlignment, 0);
    end = range.begin;
    fixture.device().download(announced.data() + range.begin,
                              fixture.transformer().gradient_slot(0) + range.begin,
                              static_cast<std::size_t>(range.end - range.begin) * sizeof(float));
  });
  EXPECT_EQ(end, 0);
  EXPECT_EQ(announced, fixture.gradient(0)) << "a range changed after it was announced";
}

INSTANTIATE_TEST_SUITE_P(Shapes, TransformerTest, testing::ValuesIn(kCases),
                         [](const auto& shape) { return shape.param.name; });

TEST(Transformer, AnnouncesLayersWhileOthersAreStillToCome) {
  const ModelCase model{"", 4, 32, 2, 0, 0, 16, 17, 1, {"dense"}, 0};
  Fixture fixture(model, 1);
  int ranges = 0;
  fixture.run(1, 1, 1, [&](ElementRange) { ++ranges; });
  EXPECT_GE(ranges, 4);
}

TEST(Transformer, MicroBatchesAddUpInTheirSlots) {
  const ModelCase& model = kCases[0];
  Fixture together(model, 1, 2);
  together.run(2, 5, 0.5f);
  const std::vector<double> weights(together.weights().begin(), together.weights().end());
  ReferenceModel<double> reference(model.config(), model.V, model.B);
  for (int slot = 0; slot < 2; ++slot) {
    std::vector<double> expected(weights.size(), 0.0);
    double loss = 0;
    for (unsigned batch = static_cast<unsigned>(slot); batch < 5; batch += 2) {
      const auto tokens = together.tokens(batch), targets = together.targets(batch);
      const std::vector<double> gradient = reference.gradient(weights, tokens, targets, 0.5);
      std::transform(gradient.begin(), gradient.end(), expected.begin(), expected.begin(), std::plus<>());
      loss += reference.loss(weights, tokens, targets);
    }
    EXPECT_NEAR(together.loss(slot), loss, 1e-5 * loss);
    const std::vector<float> gradient = together.gradient(slot);
    for (const ParameterTensor& tensor : together.table().tensors()) {
      const double size = distance(expected, std::vector<double>(expected.size(), 0.0), tensor);
      EXPECT_LE(distance(gradient, expected, tensor), 1e-5 * size) << tensor.name;
    }
  }
}

TEST(Transformer, LanesAndRepetitionGiveTheSameBits) {
  const ModelCase& model = kCases[8];
  constexpr int kSlots = 3, kBatches = 7;
  Fixture one(model, 1, kSlots), two(model, 2, kSlots), four(model, 4, kSlots);
  for (Fixture* fixture : {&one, &two, &four}) fixture->run(kSlots, kBatches, 0.01f);
  for (int slot = 0; slot < kSlots; ++slot) {
    const std::vector<float> expected = one.gradient(slot);
    for (Fixture* fixture : {&two, &four}) {
      const std::vector<float> gradient = fixture->gradient(slot);
      EXPECT_EQ(std::memcmp(gradient.data(), expected.data(), one.flat_bytes()), 0);
      EXPECT_EQ(fixture->loss(slot), one.loss(slot));
    }
  }
  const std::vector<float> first = one.gradient(0);
  one.run(kSlots, kBatches, 0.01f);
  const std::vector<float> again = one.gradient(0);
  EXPECT_EQ(std::memcmp(again.data(), first.data(), one.flat_bytes()), 0);
}

TEST(Transformer, ClearedSlotsForgetTheirGradientAndLoss) {
  Fixture fixture(kCases[1], 1, 2);
  fixture.run(2, 2, 1);
  EXPECT_NE(fixture.loss(1), 0);
  fixture.device().for_each_task(1, [&](Lane& lane, int) { fixture.transformer().clear_slot(lane, 1); });
  fixture.device().synchronize();
  EXPECT_EQ(fixture.loss(1), 0);
  EXPECT_THAT(fixture.gradient(1), testing::Each(0.0f));
  EXPECT_NE(fixture.loss(0), 0);
  EXPECT_THAT(fixture.gradient(0), testing::Contains(testing::Ne(0.0f)));
}

TEST(Transformer, InitialLossIsThatOfGuessing) {
  const ModelCase& model = kCases[8];
  Fixture fixture(model, 1);
  std::vector<float> weights(fixture.weights().size());
  for (const ParameterTensor& tensor : fixture.table().tensors()) {
    initial_values(tensor, 1, 0,
                   std::span(weights).subspan(static_cast<std::size_t>(tensor.offset),
                                              static_cast<std::size_t>(tensor.count())));
  }
  fixture.device().upload(fixture.transformer().weights(), weights.data(), fixture.flat_bytes());
  EXPECT_NEAR(fixture.evaluate(0) / (model.B * model.T), std::log(model.V), 0.02);
}

TEST(Transformer, RefusesSlotsThatItDoesNotHave) {
  Fixture fixture(kCases[7], 1, 2);
  EXPECT_THROW(fixture.transformer().gradient_slot(2), std::logic_error);
  EXPECT_THROW(fixture.transformer().slot_loss(-1), std::logic_error);
}

TEST(ModelMemory, CountsWhatTheModelAllocates) {
  const ModelCase& model = kCases[8];
  const std::unique_ptr<Device> device = make_cpu_device(1);
  const ParameterTable table(model.config(), model.V);
  const auto flat = static_cast<std::size_t>(table.flat_size()) * sizeof(float);
  const ModelMemory one = model_memory(model.config(), model.V, model.B, 3, 1, *device);
  EXPECT_EQ(one.weights, flat);
  EXPECT_EQ(one.gradients, 3 * flat);
  EXPECT_EQ(one.losses, 3 * sizeof(double));
  EXPECT_EQ(one.total(), 4 * flat + one.activations + one.losses);
  EXPECT_EQ(model_memory(model.config(), model.V, model.B, 3, 4, *device).activations, 4 * one.activations);
  // What backward must find again, (M,·) per layer: two residuals, two norms, qkv, attention, twice the MLP.
  const std::size_t M = 256, kept = 2 * M * (4 * 32 + 3 * 32 + 32 + 2 * 128) * sizeof(float);
  EXPECT_GT(one.activations, kept);
  EXPECT_LT(one.activations, 2 * kept);
}

TEST(ModelMemory, RefusesMicroBatchesBeyondAnInt) {
  const std::unique_ptr<Device> device = make_cpu_device(1);
  ModelConfig config;
  config.context_length = 1 << 20;
  EXPECT_THROW(model_memory(resolved(config), 257, 1 << 12, 1, 1, *device), InputError);
}

}  // namespace
}  // namespace minichilla::transformer_test
