#include "trainer/evaluate.h"

#include <algorithm>
#include <numbers>

#include "kernels/ops.h"
#include "trainer/batch_sampler.h"

namespace minichilla {

// The model takes B windows at a time. Those that are left over get a batch each that repeats them B times; a
// B-th of its loss counts.
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
  whole_batches_ = static_cast<int>(windows_ / micro_batch_);
  const int left_over = static_cast<int>(windows_ % micro_batch_);
  batches_ = whole_batches_ + left_over;

  std::vector<std::int32_t> tokens(static_cast<std::size_t>(batches_ * batch_tokens_)),
      targets(tokens.size());
  windows.fill(0, whole_batches_ * micro_batch_, tokens.data(), targets.data());
  for (int i = 0; i < left_over; ++i) {
    for (int copy = 0; copy < micro_batch_; ++copy) {
      const std::int64_t at = (whole_batches_ + i) * batch_tokens_ + copy * tokens_per_window_;
      windows.fill(whole_batches_ * micro_batch_ + i, 1, tokens.data() + at, targets.data() + at);
    }
  }
  const std::size_t bytes = tokens.size() * sizeof(std::int32_t);
  tokens_ = device.allocate(bytes);
  targets_ = device.allocate(bytes);
  device.upload(tokens_.as<std::int32_t>(), tokens.data(), bytes);
  device.upload(targets_.as<std::int32_t>(), targets.data(), bytes);
  host_sums_.resize(static_cast<std::size_t>(batches_));
  loss_sums_ = device.allocate(host_sums_.size() * sizeof(double));
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
