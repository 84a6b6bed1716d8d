#include "model/activation_plan.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>

namespace minichilla {
namespace {

constexpr std::size_t kAlignment = 64;

std::size_t aligned(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

bool meet(const ActivationPlan::Tensor& a, const ActivationPlan::Tensor& b) {
  return a.first_use <= b.last_use && b.first_use <= a.last_use;
}

}  // namespace

ActivationPlan::Id ActivationPlan::declare(std::string name, std::size_t bytes, int first_use, int last_use) {
  if (first_use > last_use)
    throw std::logic_error("activation " + name + " is last used before it is first used");
  tensors_.push_back({std::move(name), bytes, first_use, last_use, 0});
  return static_cast<Id>(tensors_.size()) - 1;
}

void ActivationPlan::assign() {
  std::vector<Tensor*> order;
  for (Tensor& tensor : tensors_) order.push_back(&tensor);
  std::stable_sort(order.begin(), order.end(),
                   [](const Tensor* a, const Tensor* b) { return a->bytes > b->bytes; });

  bytes_ = 0;
  std::vector<const Tensor*> placed;  // by offset
  for (Tensor* tensor : order) {
    std::size_t offset = 0;
    for (const Tensor* other : placed) {
      if (!meet(*tensor, *other)) continue;
      if (offset + tensor->bytes <= other->offset) break;
      offset = std::max(offset, aligned(other->offset + other->bytes));
    }
    tensor->offset = offset;
    const auto place =
        std::upper_bound(placed.begin(), placed.end(), offset,
                         [](std::size_t at, const Tensor* other) { return at < other->offset; });
    placed.insert(place, tensor);
    bytes_ = std::max(bytes_, aligned(offset + tensor->bytes));
  }
}

std::size_t ActivationPlan::bytes_without_sharing() const {
  return std::accumulate(tensors_.begin(), tensors_.end(), std::size_t{0},
                         [](std::size_t sum, const Tensor& tensor) { return sum + aligned(tensor.bytes); });
}

}  // namespace minichilla
