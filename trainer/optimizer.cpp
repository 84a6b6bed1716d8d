#include "trainer/optimizer.h"

#include <algorithm>

namespace minichilla {

static_assert(ParameterTable::kTensorAlignment % Operations::kDecayBlock == 0,
              "a block is decayed as a whole");

AdamWSettings adamw_settings(const OptimizerConfig& config) {
  return {static_cast<float>(config.beta1), static_cast<float>(config.beta2),
          static_cast<float>(config.epsilon), static_cast<float>(config.weight_decay)};
}

std::vector<std::uint8_t> decay_mask(const ParameterTable& table) {
  std::vector<std::uint8_t> mask(static_cast<std::size_t>(table.flat_size() / Operations::kDecayBlock));
  for (const ParameterTensor& tensor : table.tensors()) {
    const std::int64_t blocks = (tensor.count() + Operations::kDecayBlock - 1) / Operations::kDecayBlock;
    std::fill_n(mask.begin() + tensor.offset / Operations::kDecayBlock, blocks, tensor.decayed ? 1 : 0);
  }
  return mask;
}

std::vector<ElementRange> chunks(std::int64_t elements, std::int64_t elements_per_task) {
  std::vector<ElementRange> ranges;
  for (std::int64_t begin = 0; begin < elements; begin += elements_per_task) {
    ranges.push_back({begin, std::min(begin + elements_per_task, elements)});
  }
  return ranges;
}

}  // namespace minichilla
