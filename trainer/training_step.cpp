#include "trainer/training_step.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "kernels/ops.h"

namespace minichilla {
namespace {

std::size_t bytes_of_floats(std::int64_t count) {
  return static_cast<std::size_t>(count) * sizeof(float);
}

std::int64_t norm_blocks(std::int64_t elements) {
  return (elements + Operations::kNormBlock - 1) / Operations::kNormBlock;
}

/// The first element of `flat` that is not finite, and in how many tensors there are some.
std::string non_finite_in(const ParameterTable& table, const std::vector<float>& flat, const char* what) {
  std::string first;
  int tensors = 0;
  for (const ParameterTensor& tensor : table.tensors()) {
    const auto begin = flat.begin() + tensor.offset, end = begin + tensor.count();
    const auto found = std::find_if(begin, end, [](float value) { return !std::isfinite(value); });
    if (found == end) continue;
    if (tensors++ == 0) {
      const char* value = std::isnan(*found) ? "nan" : *found > 0 ? "inf" : "-inf";
      first = std::string(what) + " " + tensor.name + "[" + std::to_string(found - begin) + "] = " + value;
    }
  }
  if (tensors > 1) {
    first +=
        " (in " + std::to_string(tensors) + " of " + std::to_string(table.tensors().size()) + " tensors)";
  }
  return first;
}

}  // namespace

TrainingStepMemory training_step_memory(const RunConfig& config, std::int64_t flat_size) {
  return {.batch = static_cast<std::size_t>(config.train.batch_tokens) * sizeof(std::int32_t),
          .moment = bytes_of_floats(flat_size),
          .partials = static_cast<std::size_t>(norm_blocks(flat_size)) * sizeof(double),
          .state = sizeof(StepState)};
}

TrainingStep::TrainingStep(const RunConfig& config, int vocabulary, Device& device)
    : device_(device),
      model_(config.model, vocabulary, config.train.micro_batch, config.train.gradient_slots, device,
             recompute_of(config.train.recompute)),
      flat_size_(model_.parameters().flat_size()),
      micro_tokens_(std::int64_t{config.train.micro_batch} * config.model.context_length),
      gradient_slots_(config.train.gradient_slots),
      micro_batches_(static_cast<int>(config.train.batch_tokens / micro_tokens_)),
      clip_(static_cast<float>(config.train.optimizer.clip)),
      loss_scale_(static_cast<float>(1.0 / static_cast<double>(config.train.batch_tokens))),
      optimizer_tasks_(
          optimizer_tasks(config.train.optimizer, model_.parameters(), device.elements_per_task())),
      chunks_(chunks(flat_size_, device.elements_per_task())) {
  const TrainingStepMemory bytes = training_step_memory(config, flat_size_);
  tokens_ = device.allocate(bytes.batch);
  targets_ = device.allocate(bytes.batch);
  first_moment_ = device.allocate(bytes.moment);
  second_moment_ = device.allocate(bytes.moment);
  partials_ = device.allocate(bytes.partials);
  state_ = device.allocate(bytes.state);
  for (int slot = 0; slot < gradient_slots_; ++slot) slots_.push_back(model_.gradient_slot(slot));
}

void TrainingStep::initialise(std::uint64_t seed) {
  const auto size = static_cast<std::size_t>(flat_size_);
  FlatArrays arrays{std::vector<float>(size), std::vector<float>(size), std::vector<float>(size)};
  minichilla::initialise(model_.parameters(), seed, arrays.weights.data());
  upload(arrays);
}

FlatArrays TrainingStep::download() {
  device_.synchronize();
  const auto size = static_cast<std::size_t>(flat_size_);
  FlatArrays arrays{std::vector<float>(size), std::vector<float>(size), std::vector<float>(size)};
  device_.download(arrays.weights.data(), model_.weights(), bytes_of_floats(flat_size_));
  device_.download(arrays.first_moment.data(), first_moment_.as<float>(), bytes_of_floats(flat_size_));
  device_.download(arrays.second_moment.data(), second_moment_.as<float>(), bytes_of_floats(flat_size_));
  return arrays;
}

void TrainingStep::upload(const FlatArrays& arrays) {
  device_.synchronize();
  device_.upload(model_.weights(), arrays.weights.data(), bytes_of_floats(flat_size_));
  device_.upload(first_moment_.as<float>(), arrays.first_moment.data(), bytes_of_floats(flat_size_));
  device_.upload(second_moment_.as<float>(), arrays.second_moment.data(), bytes_of_floats(flat_size_));
  if (Activation* const rounded = model_.compute_weights()) {
    device_.for_each_task(1, [&](Lane& lane, int) {
      device_.operations().round_weights(lane, {0, flat_size_}, model_.weights(), rounded);
    });
  }
}

StepState TrainingStep::run(std::span<const std::int32_t> tokens, std::span<const std::int32_t> targets,
                            double learning_rate, std::int64_t step) {
  if (tokens.size_bytes() != tokens_.bytes() || targets.size_bytes() != targets_.bytes()) {
    throw std::logic_error("a training step needs batch_tokens tokens and targets");
  }
  device_.upload(tokens_.as<std::int32_t>(), tokens.data(), tokens_.bytes());
  device_.upload(targets_.as<std::int32_t>(), targets.data(), targets_.bytes());
  StepState state;
  state.learning_rate = static_cast<float>(learning_rate);
  state.step = step;
  device_.upload(state_.as<StepState>(), &state, sizeof state);

  device_.for_each_task(gradient_slots_, [this](Lane& lane, int slot) { accumulate_slot(lane, slot); });
  finish_gradient();
  update();

  device_.synchronize();
  device_.download(&state, state_.as<StepState>(), sizeof state);
  return state;
}

std::string TrainingStep::first_non_finite() {
  device_.synchronize();
  std::vector<float> flat(static_cast<std::size_t>(flat_size_));
  device_.download(flat.data(), model_.weights(), bytes_of_floats(flat_size_));
  const std::string weight = non_finite_in(model_.parameters(), flat, "weight");
  if (!weight.empty()) return weight;
  device_.download(flat.data(), slots_[0], bytes_of_floats(flat_size_));
  return non_finite_in(model_.parameters(), flat, "gradient of");
}

void TrainingStep::accumulate_slot(Lane& lane, int slot) {
  model_.clear_slot(lane, slot);
  for (int micro_batch = slot; micro_batch < micro_batches_; micro_batch += gradient_slots_) {
    const std::int64_t first = micro_batch * micro_tokens_;
    model_.forward_backward(lane, slot, tokens_.as<std::int32_t>() + first,
                            targets_.as<std::int32_t>() + first, loss_scale_);
  }
}

void TrainingStep::finish_gradient() {
  device_.for_each_task(static_cast<int>(chunks_.size()), [this](Lane& lane, int task) {
    const Operations& operations = device_.operations();
    const ElementRange range = chunks_[static_cast<std::size_t>(task)];
    operations.sum_slots(lane, slots_, range);
    operations.square_sums(lane, slots_[0], range, partials_.as<double>());
  });
  device_.for_each_task(1, [this](Lane& lane, int) {
    const std::span<const double> partials(partials_.as<double>(),
                                           static_cast<std::size_t>(norm_blocks(flat_size_)));
    const std::span<const double> losses(model_.slot_loss(0), static_cast<std::size_t>(gradient_slots_));
    device_.operations().finish_gradient(lane, partials, losses, clip_, state_.as<StepState>());
  });
}

void TrainingStep::update() {
  device_.for_each_task(static_cast<int>(optimizer_tasks_.size()), [this](Lane& lane, int i) {
    const OptimizerTask& task = optimizer_tasks_[static_cast<std::size_t>(i)];
    device_.operations().adamw(lane, task.settings, task.range, state_.as<StepState>(), slots_[0],
                               model_.weights(), first_moment_.as<float>(), second_moment_.as<float>(),
                               model_.compute_weights());
  });
}

}  // namespace minichilla
