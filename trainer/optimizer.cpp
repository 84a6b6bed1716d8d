#include "trainer/optimizer.h"

#include <algorithm>

namespace minichilla {
namespace {

struct Group {
  bool decayed;
  ElementRange range;
};

std::vector<Group> merged_groups(const ParameterTable& table) {
  std::vector<Group> groups;
  const std::vector<ParameterTensor>& tensors = table.tensors();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::int64_t end = i + 1 < tensors.size() ? tensors[i + 1].offset : table.flat_size();
    if (!groups.empty() && groups.back().decayed == tensors[i].decayed) {
      groups.back().range.end = end;
    } else {
      groups.push_back({tensors[i].decayed, {tensors[i].offset, end}});
    }
  }
  return groups;
}

template <class Append>
void cut(ElementRange range, std::int64_t length, const Append& append) {
  for (std::int64_t begin = range.begin; begin < range.end; begin += length) {
    append(ElementRange{begin, std::min(begin + length, range.end)});
  }
}

}  // namespace

std::vector<OptimizerTask> optimizer_tasks(const OptimizerConfig& config, const ParameterTable& table,
                                           std::int64_t elements_per_task) {
  std::vector<OptimizerTask> tasks;
  for (const Group& group : merged_groups(table)) {
    const AdamWSettings settings{static_cast<float>(config.beta1), static_cast<float>(config.beta2),
                                 static_cast<float>(config.epsilon),
                                 group.decayed ? static_cast<float>(config.weight_decay) : 0.0f};
    cut(group.range, elements_per_task, [&](ElementRange range) { tasks.push_back({settings, range}); });
  }
  return tasks;
}

std::vector<ElementRange> chunks(std::int64_t elements, std::int64_t elements_per_task) {
  std::vector<ElementRange> ranges;
  cut({0, elements}, elements_per_task, [&](ElementRange range) { ranges.push_back(range); });
  return ranges;
}

}  // namespace minichilla
