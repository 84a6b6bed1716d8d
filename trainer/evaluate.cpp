#include "trainer/evaluate.h"

#include <algorithm>
#include <numbers>

#include "kernels/ops.h"
#include "trainer/batch_sampler.h"

namespace minichilla {

EvaluatorMemory evaluator_memory(std::int64_t windows, const RunConfig& config) {
  const std::int64_t B = config.train.micro_batch, T = config.model.context_length;
  const std::int64_t whole = windows / B, batches = whole + windows % B;
  return {.whole_batches = static_cast<int>(whole),
          .batches = static_cast<int>(batches),
          .windows = static_cast<std::size_t>(batches * B * T) * sizeof(std::int32_t),
          .loss_sums = static_cast<std::size_t>(batches) * sizeof(double)};
}

// A window that is left over is repeated B times in its batch; a B-th of that batch's loss counts.
Evaluator::Evaluator(const RunConfig& config, const TokenSplit& split, Transformer& model, Device& device)
    : model_(model),
      device_(device),
      tokens_per_window_(config.model.context_length),
      micro_batch_(model.micro_batch()),
      tokens_per_byte_(static_cast<double>(split.tokens()) /
                       static_cast<double>(std::max<std::int64_t>(split.text_bytes(), 1))) {
  const EvaluationWindows windows(split, config.model.context_length, config.train.evaluate.tokens);
  windows_ = windows.windows();
  batch_tokens_ = micro_batch_ * tokens_per_window_;
  const EvaluatorMemory memory = evaluator_memory(windows_, config);
  whole_batches_ = memory.whole_batches;
  batches_ = memory.batches;
  const int left_over = batches_ - whole_batches_;

  std::vector<std::int32_t> tokens(static_cast<std::size_t>(batches_ * batch_tokens_)),
      targets(tokens.size());
  windows.fill(0, whole_batches_ * micro_batch_, tokens.data(), targets.data());
  for (int i = 0; i < left_over; ++i) {
    for (int copy = 0; copy < micro_batch_; ++copy) {
      const std::int64_t at = (whole_batches_ + i) * batch_tokens_ + copy * tokens_per_window_;
      windows.fill(whole_batches_ * micro_batch_ + i, 1, tokens.data() + at, targets.data() + at);
    }
  }
  tokens_ = device.allocate(memory.windows);
  targets_ = device.allocate(memory.windows);
  device.upload(tokens_.as<std::int32_t>(), tokens.data(), memory.windows);
  device.upload(targets_.as<std::int32_t>(), targets.data(), memory.windows);
  host_sums_.resize(static_cast<std::size_t>(batches_));
  loss_sums_ = device.allocate(memory.loss_sums);
}

Evaluation Evaluator::run() {
  device_.for_each_task(batches_, [this](Lane& lane, int batch) {
    double* sum = loss_sums_.as<double>() + batch;
    device_.operations().clear(lane, sum, sizeof *sum);
    model_.evaluate(lane, tokens_.as<std::int32_t>() + batch * batch_tokens_,
                    targets_.as<std::int32_t>() + batch * batch_tokens_, sum);
  });
  device_.synchronize();
  device_.download(host_sums_.data(), loss_sums_.as<double>(), loss_sums_.bytes());
  double sum = 0;
  for (int batch = 0; batch < batches_; ++batch) {
    const double batch_sum = host_sums_[static_cast<std::size_t>(batch)];
    sum += batch < whole_batches_ ? batch_sum : batch_sum / micro_batch_;
  }
  const double loss = sum / static_cast<double>(windows_ * tokens_per_window_);
  return {loss, loss / std::numbers::ln2 * tokens_per_byte_};
}

}  // namespace minichilla
