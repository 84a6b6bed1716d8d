#include "trainer/training_step.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <stdexcept>

#include "kernels/ops.h"

namespace minichilla {
namespace {

std::size_t bytes_of_floats(std::int64_t count) {
  return static_cast<std::size_t>(count) * sizeof(float);
}

/// Tokens and targets.
std::size_t batch_bytes(const RunConfig& config) {
  return 2 * static_cast<std::size_t>(config.train.batch_tokens) * sizeof(std::int32_t);
}

std::int64_t norm_blocks(std::int64_t elements) {
  return (elements + Operations::kNormBlock - 1) / Operations::kNormBlock;
}

/// Calls `work(tensor, begin, values)` for every piece of every tensor, until it returns false for one: then
/// the tensor's rest is left out. `values` is scratch for elements from `begin` of the tensor on.
template <class Work>
void for_each_piece(const ParameterTable& table, Work work) {
  std::vector<float> scratch(static_cast<std::size_t>(std::min(kFlatPiece, table.flat_size())));
  for (const ParameterTensor& tensor : table.tensors()) {
    bool goes_on = true;
    for (std::int64_t begin = 0; begin < tensor.count() && goes_on; begin += kFlatPiece) {
      const auto size = static_cast<std::size_t>(std::min(kFlatPiece, tensor.count() - begin));
      goes_on = work(tensor, begin, std::span(scratch).first(size));
    }
  }
}

/// The first element of a flat array on the device that is not finite, and in how many tensors there are
/// some.
std::string non_finite_in(const ParameterTable& table, Device& device, const float* flat, const char* what) {
  std::string first;
  int tensors = 0;
  for_each_piece(table, [&](const ParameterTensor& tensor, std::int64_t begin, std::span<float> values) {
    device.download(values.data(), flat + tensor.offset + begin, values.size_bytes());
    const auto found = std::ranges::find_if_not(values, [](float value) { return std::isfinite(value); });
    if (found == values.end()) return true;
    if (tensors++ == 0) {
      const char* value = std::isnan(*found) ? "nan" : *found > 0 ? "inf" : "-inf";
      first = std::string(what) + " " + tensor.name + "[" + std::to_string(begin + (found - values.begin())) +
              "] = " + value;
    }
    return false;
  });
  if (tensors > 1) {
    first +=
        " (in " + std::to_string(tensors) + " of " + std::to_string(table.tensors().size()) + " tensors)";
  }
  return first;
}

}  // namespace

TrainingStepMemory training_step_memory(const RunConfig& config, std::int64_t flat_size) {
  return {.batch = batch_bytes(config),
          .moment = bytes_of_floats(flat_size),
          .decayed = static_cast<std::size_t>(flat_size / Operations::kDecayBlock),
          .partials = static_cast<std::size_t>(norm_blocks(flat_size)) * sizeof(double),
          .state = sizeof(StepState),
          .transfer = batch_bytes(config) + 2 * sizeof(StepState)};
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
      batch_tokens_(config.train.batch_tokens),
      adamw_(adamw_settings(config.train.optimizer)),
      chunks_(chunks(flat_size_, device.elements_per_task())) {
  const TrainingStepMemory bytes = training_step_memory(config, flat_size_);
  batch_ = device.allocate(bytes.batch);
  first_moment_ = device.allocate(bytes.moment);
  second_moment_ = device.allocate(bytes.moment);
  arrays_ = {model_.weights(), first_moment_.as<float>(), second_moment_.as<float>()};
  partials_ = device.allocate(bytes.partials);
  state_ = device.allocate(bytes.state);
  decayed_ = device.allocate(bytes.decayed);
  const std::vector<std::uint8_t> decayed = decay_mask(model_.parameters());
  device.upload(decayed_.as<std::uint8_t>(), decayed.data(), decayed.size());
  for (int slot = 0; slot < gradient_slots_; ++slot) slots_.push_back(model_.gradient_slot(slot));
  for (int i = 0; i < (device.asynchronous() ? 2 : 1); ++i) {
    transfers_.push_back({device.allocate_host(bytes.batch), device.allocate_host(sizeof(StepState)),
                          device.allocate_host(sizeof(StepState)), device.make_mark()});
  }
  step_ = device.record([this] {
    accumulate();
    finish_gradient();
    update();
  });
}

void TrainingStep::initialise(std::uint64_t seed) {
  if (enqueued_ != 0) throw std::logic_error("initial weights come before the first step");
  for_each_piece(model_.parameters(),
                 [&](const ParameterTensor& tensor, std::int64_t begin, std::span<float> values) {
                   initial_values(tensor, seed, begin, values);
                   write(FlatArray::weights, tensor.offset + begin, values);
                   return true;
                 });
  begin_with_written();
}

void TrainingStep::read(FlatArray from, std::int64_t begin, std::span<float> values) const {
  if (pending() != 0) throw std::logic_error("a step is pending");
  device_.download(values.data(), array(from) + begin, values.size_bytes());
}

void TrainingStep::write(FlatArray to, std::int64_t begin, std::span<const float> values) {
  if (pending() != 0) throw std::logic_error("a step is pending");
  device_.upload(array(to) + begin, values.data(), values.size_bytes());
}

void TrainingStep::begin_with_written() {
  const StepState fresh;
  device_.upload(state_.as<StepState>(), &fresh, sizeof fresh);
  if (Activation* const rounded = model_.compute_weights()) {
    device_.for_each_task(1, [&](Lane& lane, int) {
      device_.operations().round_weights(lane, {0, flat_size_}, model_.weights(), rounded);
    });
  }
}

TrainingStep::Batch TrainingStep::next_batch() {
  if (enqueued_ - finished_ >= static_cast<std::int64_t>(transfers_.size())) {
    throw std::logic_error("too many steps are pending");
  }
  const auto size = static_cast<std::size_t>(batch_tokens_);
  std::int32_t* const ids = transfer(enqueued_).batch.as<std::int32_t>();
  return {{ids, size}, {ids + size, size}};
}

void TrainingStep::enqueue(double learning_rate, std::int64_t step) {
  next_batch();  // checks that there is room
  Transfer& transfer = this->transfer(enqueued_++);
  device_.enqueue_upload(batch_.as<void>(), transfer.batch.as<void>(), batch_.bytes());
  auto* const sent = transfer.sent.as<StepState>();
  sent->learning_rate = static_cast<float>(learning_rate);
  sent->step = step;
  // Not what operations write: a step that failed stays failed.
  device_.enqueue_upload(state_.as<void>(), sent, offsetof(StepState, loss_sum));
  step_->enqueue();
  device_.enqueue_download(transfer.returned.as<void>(), state_.as<void>(), sizeof(StepState));
  transfer.returned_mark->set();
}

StepState TrainingStep::wait() {
  if (pending() == 0) throw std::logic_error("no step is pending");
  const Transfer& transfer = this->transfer(finished_++);
  transfer.returned_mark->wait();
  return *transfer.returned.as<StepState>();
}

StepState TrainingStep::run(std::span<const std::int32_t> tokens, std::span<const std::int32_t> targets,
                            double learning_rate, std::int64_t step) {
  const Batch batch = next_batch();
  if (tokens.size() != batch.tokens.size() || targets.size() != batch.targets.size()) {
    throw std::logic_error("a training step needs batch_tokens tokens and targets");
  }
  std::ranges::copy(tokens, batch.tokens.begin());
  std::ranges::copy(targets, batch.targets.begin());
  enqueue(learning_rate, step);
  return wait();
}

std::string TrainingStep::first_non_finite() {
  device_.synchronize();
  const std::string weight = non_finite_in(model_.parameters(), device_, model_.weights(), "weight");
  if (!weight.empty()) return weight;
  if (pending() !=
      0) {  // a later step has put its gradient there; the weights are still those of the failed one
    device_.enqueue_upload(batch_.as<void>(), transfer(finished_ - 1).batch.as<void>(), batch_.bytes());
    accumulate();
    finish_gradient();
    device_.synchronize();
    finished_ = enqueued_;
  }
  return non_finite_in(model_.parameters(), device_, slots_[0], "gradient of");
}

void TrainingStep::accumulate() {
  device_.for_each_task(gradient_slots_, [this](Lane& lane, int slot) { accumulate_slot(lane, slot); });
}

void TrainingStep::accumulate_slot(Lane& lane, int slot) {
  model_.clear_slot(lane, slot);
  for (int micro_batch = slot; micro_batch < micro_batches_; micro_batch += gradient_slots_) {
    const std::int32_t* const tokens = batch_.as<std::int32_t>() + micro_batch * micro_tokens_;
    model_.forward_backward(lane, slot, tokens, tokens + batch_tokens_, loss_scale_);
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
  device_.for_each_task(static_cast<int>(chunks_.size()), [this](Lane& lane, int task) {
    device_.operations().adamw(lane, adamw_, chunks_[static_cast<std::size_t>(task)], state_.as<StepState>(),
                               decayed_.as<std::uint8_t>(), slots_[0], model_.weights(),
                               first_moment_.as<float>(), second_moment_.as<float>(),
                               model_.compute_weights());
  });
}

}  // namespace minichilla
