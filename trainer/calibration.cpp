#include "trainer/calibration.h"

#include <algorithm>
#include <limits>
#include <new>
#include <random>
#include <stdexcept>
#include <vector>

#include "trainer/interval_clock.h"
#include "trainer/run_memory.h"
#include "trainer/training_step.h"

namespace minichilla {
namespace {

std::vector<std::int32_t> random_tokens(std::int64_t count, int vocabulary, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(count));
  for (std::int32_t& token : tokens)
    token = static_cast<std::int32_t>(random() % static_cast<unsigned>(vocabulary));
  return tokens;
}

double measured(const RunConfig& config, int vocabulary, Device& device, double seconds) {
  TrainingStep step(config, vocabulary, device);
  step.initialise(config.train.seed);
  const std::vector<std::int32_t> tokens = random_tokens(config.train.batch_tokens, vocabulary, 1);
  const std::vector<std::int32_t> targets = random_tokens(config.train.batch_tokens, vocabulary, 2);
  // A rate of zero keeps the weights where they are, so that no number of repetitions can diverge.
  const auto timed_step = [&] {
    const double begin = seconds_now();
    step.run(tokens, targets, 0.0, 1);
    return seconds_now() - begin;
  };
  const double begin = seconds_now();
  do {
    timed_step();
  } while (seconds_now() - begin < 0.2 * seconds);
  double fastest = std::numeric_limits<double>::infinity();
  do {
    fastest = std::min(fastest, timed_step());
  } while (seconds_now() - begin < seconds);
  return static_cast<double>(config.train.batch_tokens) / std::max(fastest, 1e-9);
}

}  // namespace

double measure_tokens_per_s(const RunConfig& config, int vocabulary, Device& device, double seconds) {
  try {
    return measured(config, vocabulary, device, seconds);
  } catch (const std::bad_alloc&) {
    throw std::runtime_error(out_of_memory_message(config, vocabulary, device));
  }
}

}  // namespace minichilla
