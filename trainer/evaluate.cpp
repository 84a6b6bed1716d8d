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
  const std::int64_t midway_tokens = config.train.evaluate.midway_tokens;
  if (midway_tokens > 0 && midway_tokens <= (whole_batches_ - 1) * batch_tokens_) {
    midway_batches_ = static_cast<int>((midway_tokens + batch_tokens_ - 1) / batch_tokens_);
    midway_stride_ = whole_batches_ / midway_batches_;
  }
  tokens_ = device.allocate(memory.windows);
  targets_ = device.allocate(memory.windows);

  std::vector<std::int32_t> tokens(static_cast<std::size_t>(batch_tokens_)), targets(tokens.size());
  for (int batch = 0; batch < batches_; ++batch) {
    if (batch < whole_batches_) {
      windows.fill(std::int64_t{batch} * micro_batch_, micro_batch_, tokens.data(), targets.data());
    } else {
      const std::int64_t left_over = std::int64_t{whole_batches_} * micro_batch_ + batch - whole_batches_;
      for (std::int64_t at = 0; at < batch_tokens_; at += tokens_per_window_)
        windows.fill(left_over, 1, tokens.data() + at, targets.data() + at);
    }
    const std::int64_t begin = batch * batch_tokens_;
    device.upload(tokens_.as<std::int32_t>() + begin, tokens.data(), tokens.size() * sizeof tokens[0]);
    device.upload(targets_.as<std::int32_t>() + begin, targets.data(), targets.size() * sizeof targets[0]);
  }
  host_sums_.resize(static_cast<std::size_t>(batches_));
  loss_sums_ = device.allocate(memory.loss_sums);
}

void Evaluator::sum_losses(int batches, int stride) {
  device_.for_each_task(batches, [this, stride](Lane& lane, int task) {
    const int batch = task * stride;
    double* sum = loss_sums_.as<double>() + batch;
    device_.operations().clear(lane, sum, sizeof *sum);
    model_.evaluate(lane, tokens_.as<std::int32_t>() + batch * batch_tokens_,
                    targets_.as<std::int32_t>() + batch * batch_tokens_, sum);
  });
  device_.synchronize();
  device_.download(host_sums_.data(), loss_sums_.as<double>(), loss_sums_.bytes());
}

double Evaluator::midway_loss() const {
  double sum = 0;
  for (int i = 0; i < midway_batches_; ++i) sum += host_sums_[static_cast<std::size_t>(i * midway_stride_)];
  return sum / static_cast<double>(midway_batches_ * batch_tokens_);
}

Evaluation Evaluator::evaluation(double loss, double midway_loss) const {
  return {loss, loss / std::numbers::ln2 * tokens_per_byte_, midway_loss};
}

Evaluation Evaluator::run_midway() {
  if (!has_midway()) return run();
  sum_losses(midway_batches_, midway_stride_);
  return evaluation(midway_loss(), midway_loss());
}

Evaluation Evaluator::run() {
  sum_losses(batches_, 1);
  double sum = 0;
  for (int batch = 0; batch < batches_; ++batch) {
    const double batch_sum = host_sums_[static_cast<std::size_t>(batch)];
    sum += batch < whole_batches_ ? batch_sum : batch_sum / micro_batch_;
  }
  const double loss = sum / static_cast<double>(windows_ * tokens_per_window_);
  return evaluation(loss, has_midway() ? midway_loss() : loss);
}

}  // namespace minichilla
