#include "trainer/run_memory.h"

#include <algorithm>
#include <functional>

#include "kernels/precision.h"
#include "model/transformer.h"
#include "trainer/evaluate.h"
#include "trainer/progress_line.h"
#include "trainer/training_step.h"

namespace minichilla {
namespace {

constexpr std::size_t kLargestShown = 3;

/// Measured at the peak of runs with checkpoints, beyond what they allocate: 14 to 16 MiB for any model.
constexpr std::size_t kProgramBytes = std::size_t{16} << 20;

bool shares_memory_with_program(const Device& device) {
  return device.name() == "cpu";
}

/// "moments 2.0 GiB, weights 1.0 GiB, activations 312 MiB, 40 MiB of other things"
std::string largest_parts(const RunMemory& memory) {
  std::vector<MemoryPart> parts = memory.parts;
  std::ranges::stable_sort(parts, std::ranges::greater{}, &MemoryPart::bytes);
  parts.resize(std::min(parts.size(), kLargestShown));
  std::string text;
  std::size_t rest = memory.total();
  for (const MemoryPart& part : parts) {
    text += std::string(part.words) + " " + format_bytes(part.bytes) + ", ";
    rest -= part.bytes;
  }
  return text + format_bytes(rest) + " of other things";
}

/// What the activations lose by recomputing all that can be.
std::size_t saved_by_recomputing(const RunConfig& config, int vocabulary, const Device& device) {
  RunConfig again = config;
  again.train.recompute = {"norms", "mlp"};
  const std::size_t now = run_memory(config, vocabulary, device).total(),
                    then = run_memory(again, vocabulary, device).total();
  return now > then ? now - then : 0;
}

/// "lower train.micro_batch (4), model.context_length (1024); train.recompute: [norms, mlp] saves 1.2 GiB"
std::string advice(const RunConfig& config, int vocabulary, const Device& device) {
  std::string text = "lower ";
  const auto lower = [&](const std::string& what, int from) {
    if (from > 1) text += what + " (" + std::to_string(from) + "), ";
  };
  lower("train.micro_batch", config.train.micro_batch);
  lower("train.gradient_slots", config.train.gradient_slots);
  lower("--threads", device.lanes());
  text += "model.context_length (" + std::to_string(config.model.context_length) + ") or the model's size";
  if (const std::size_t saved = saved_by_recomputing(config, vocabulary, device); saved > 0)
    text += "; train.recompute: [norms, mlp] saves " + format_bytes(saved);
  if (!shares_memory_with_program(device) && config.train.precision != name_of(Precision::bf16))
    text += "; train.precision: bf16 halves activations";
  return text;
}

std::string message(const std::string& found, const RunMemory& memory, const RunConfig& config,
                    int vocabulary, const Device& device) {
  return found + ", expected the run's " + format_bytes(memory.total()) + ": " + largest_parts(memory) +
         "; " + advice(config, vocabulary, device);
}

}  // namespace

std::size_t RunMemory::total() const {
  std::size_t sum = 0;
  for (const MemoryPart& part : parts) sum += part.bytes;
  return sum;
}

std::size_t program_bytes(const Device& device) {
  return shares_memory_with_program(device) ? kProgramBytes : 0;
}

RunMemory run_memory(const RunConfig& config, int vocabulary, const Device& device) {
  const TrainConfig& train = config.train;
  const ModelMemory model = model_memory(config.model, vocabulary, train.micro_batch, train.gradient_slots,
                                         device.lanes(), device, recompute_of(train.recompute));
  const ParameterTable table(config.model, vocabulary);
  const TrainingStepMemory step = training_step_memory(config, table.flat_size());
  const EvaluatorMemory evaluator =
      evaluator_memory(train.evaluate.tokens / config.model.context_length, config);
  return {{{"weights", "weights", model.weights},
           {"compute_weights", "rounded weights", model.compute_weights},
           {"gradients", "gradients", model.gradients},
           {"moments", "moments", 2 * step.moment},
           {"activations", "activations", model.activations},
           {"workspace", "workspace of matrix products", device.workspace_bytes()},
           {"batch", "tokens of a batch", step.batch},
           {"evaluation", "evaluation tokens", 2 * evaluator.windows},
           {"rest", "loss sums, norm, state and decay mask",
            model.losses + step.decayed + step.partials + step.state + evaluator.loss_sums},
           {"program", "the program and its copy of a batch",
            program_bytes(device) + (shares_memory_with_program(device) ? step.transfer : 0)}}};
}

std::optional<std::uint64_t> memory_for_run(const Device& device) {
  const std::optional<std::uint64_t> free = device.free_memory();
  return free ? std::optional(*free + device.workspace_bytes() + program_bytes(device)) : std::nullopt;
}

std::string memory_refusal(const RunConfig& config, int vocabulary, const Device& device) {
  const std::optional<std::uint64_t> available = memory_for_run(device);
  const RunMemory memory = run_memory(config, vocabulary, device);
  if (!available || memory.total() <= *available) return "";
  return message("memory: found " + format_bytes(*available) + " free on " + device.name(), memory, config,
                 vocabulary, device);
}

std::string out_of_memory_message(const RunConfig& config, int vocabulary, const Device& device) {
  const std::optional<std::uint64_t> available = memory_for_run(device);
  const std::string free = available ? " (" + format_bytes(*available) + " free now)" : "";
  return message("out of memory on " + device.name() + free, run_memory(config, vocabulary, device), config,
                 vocabulary, device);
}

}  // namespace minichilla
