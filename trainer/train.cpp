#include "trainer/train.h"

#include <spdlog/logger.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>

#include "kernels/error.h"
#include "model/flops.h"
#include "trainer/attempt.h"
#include "trainer/batch_sampler.h"
#include "trainer/checkpoint.h"
#include "trainer/corpus.h"
#include "trainer/evaluate.h"
#include "trainer/files.h"
#include "trainer/interval_clock.h"
#include "trainer/metrics_log.h"
#include "trainer/numerics_id.h"
#include "trainer/run_memory.h"
#include "trainer/schedule.h"
#include "trainer/training_step.h"

namespace minichilla {
namespace {

constexpr std::int64_t kToldCheckpoints = 500;  // most of a run that its log tells of
const char* const kTakenOver = "another process has taken this run over";

Outcome outcome_of(const RunResult& result) {
  const bool done = result.status == "done";
  return {done ? Outcome::Kind::done : Outcome::Kind::diverged, result, result.reason};
}

/// For messages: "nan" and "inf" in words.
std::string in_words(double value) {
  if (std::isnan(value)) return "not a number";
  return std::isinf(value) ? "infinite" : format_number(value);
}

/// Steps whose mean loss is the run's train_loss: the last 5 %.
std::int64_t tail_steps(std::int64_t steps) {
  return (steps + 19) / 20;
}

/// The config on disk must be the one that is asked for, but for where the corpus lies, how often to
/// checkpoint and log, and what to recompute.
void check_same_config(const RunConfig& config, const std::filesystem::path& run) {
  if (!path_exists(run / "config.yaml")) return;
  const auto difference = first_difference(config, read_run_config(run));
  if (!difference) return;
  throw InputError((run / "config.yaml").string() + ": " + difference->key + ": this run has " +
                   difference->theirs + ", the given config has " + difference->ours +
                   ": give the same config, or another --output");
}

/// A run goes on from its own newest checkpoint; to begin at an older one would give up what came after it.
void check_resume_from(const std::filesystem::path& checkpoint, const std::filesystem::path& run) {
  std::error_code error;
  if (checkpoint.empty() ||
      !std::filesystem::equivalent(checkpoint.parent_path(), run / "checkpoints", error))
    return;
  throw InputError("--resume-from " + checkpoint.string() + ": found a checkpoint of " + run.string() +
                   " itself, which goes on from its newest one; expected another --output to begin there");
}

/// Attempts that made way for one with a lower learning rate.
int divergences(const std::filesystem::path& run) {
  int count = 0;
  for (const std::int64_t number : numbered_folders(run / "attempts")) {
    const auto outcome = read_outcome(run / "attempts" / std::to_string(number));
    count += outcome && outcome->cause == cause::kDiverged;
  }
  return std::min(count, kMostLowered);
}

/// The training of one attempt, from the newest checkpoint to a result or a stop.
class Training {
 public:
  /// `planned` as in the run's config.yaml; `halved`: how often its learning rate was, after divergences.
  Training(const RunConfig& planned, int halved, TrainContext& context, const std::filesystem::path& run,
           Attempt& attempt);

  /// Nothing when it diverged and shall begin again with half the learning rate.
  std::optional<Outcome> go(StopToken stop);

 private:
  std::optional<CheckpointState> find_checkpoint(const CheckpointState& origin);
  void begin_after(const CheckpointState& state, const std::string& numerics_id);
  void restore();
  void warn(const std::string& message) const;
  std::optional<Outcome> diverge();
  std::string diagnosis();
  void enqueue_step();
  bool finish_step();
  void log_step(double loss, double gradient_norm, double tokens_per_s);
  bool evaluate();
  int sequences_in_batch() const;
  void save_checkpoint();
  void pin_algorithms();
  void save_algorithms();
  void report(double loss) const;
  Outcome finish_interrupted(const std::string& why);
  Outcome publish(const std::string& status, const std::string& reason);
  RunResult result(const std::string& status, const std::string& reason) const;

  double wall_s() const { return wall_before_s_ + seconds_now() - begin_s_; }
  std::int64_t tokens() const { return state_.step * config_.train.batch_tokens; }
  double flops() const { return static_cast<double>(tokens()) * flops_.flops; }

  const RunConfig& planned_;
  const int halved_;
  const RunConfig config_;
  TrainContext& context_;
  const std::filesystem::path& run_;
  Attempt& attempt_;
  const std::int64_t steps_;
  const double begin_s_;
  const FlopsPerToken flops_;
  const LearningRateSchedule schedule_;
  const BatchSampler sampler_;
  TrainingStep step_;
  Evaluator evaluator_;
  Checkpoints checkpoints_;
  MetricsLog metrics_;
  IntervalClock evaluation_clock_, checkpoint_clock_, log_clock_;

  CheckpointState state_;
  std::int64_t first_step_ = 0;       ///< where this attempt began
  std::int64_t saved_step_ = 0;       ///< of the newest checkpoint
  std::int64_t told_step_ = 0;        ///< of the newest checkpoint that the log tells of
  double wall_before_s_ = 0;          ///< of earlier attempts
  double step_began_s_ = 0;           ///< when the oldest pending step was enqueued or the one before it done
  double smoothed_tokens_per_s_ = 0;  ///< for people
  std::string algorithms_;            ///< as the run folder has them
  std::string failure_;               ///< why a step or an evaluation came to nothing
};

RunConfig with_halved_rate(RunConfig config, int halved) {
  config.train.optimizer.learning_rate = std::ldexp(config.train.optimizer.learning_rate, -halved);
  return config;
}

Training::Training(const RunConfig& planned, int halved, TrainContext& context,
                   const std::filesystem::path& run, Attempt& attempt)
    : planned_(planned),
      halved_(halved),
      config_(with_halved_rate(planned, halved)),
      context_(context),
      run_(run),
      attempt_(attempt),
      steps_(config_.train.steps()),
      begin_s_(seconds_now()),
      flops_(flops_per_token(config_.model, context.corpus.vocabulary())),
      schedule_(config_.train.schedule, config_.train.optimizer.learning_rate, steps_),
      sampler_(context.corpus.split("train"), config_.model.context_length, config_.data.order,
               config_.train.seed),
      step_(config_, context.corpus.vocabulary(), context.device),
      evaluator_(config_, context.corpus.split("val"), step_.model(), context.device),
      checkpoints_(run, step_.model().parameters()),
      metrics_(attempt.folder() / "metrics.jsonl"),
      evaluation_clock_(config_.train.evaluate.every, steps_, begin_s_),
      checkpoint_clock_(config_.train.checkpoint.every, steps_, begin_s_),
      log_clock_(config_.train.log.every, steps_, begin_s_) {}

void Training::warn(const std::string& message) const {
  attempt_.log().warn(message);
  if (context_.on_warning) context_.on_warning(message);
}

std::optional<CheckpointState> Training::find_checkpoint(const CheckpointState& origin) {
  auto own = checkpoints_.load(origin, step_, [this](const std::string& message) { warn(message); });
  if (own) saved_step_ = own->step;
  if (own || context_.resume_from.empty()) return own;
  CheckpointState other = checkpoints_.load_from(context_.resume_from, origin, step_);
  other.attempt = 0;  // none of this run's
  return other;
}

/// Says where this attempt's rows follow on, and marks its checkpoints as its own.
void Training::begin_after(const CheckpointState& state, const std::string& numerics_id) {
  state_ = state;
  if (state.attempt)
    attempt_.begin_after({state.step, *state.attempt}, numerics_id, context_.device.numerics());
  state_.attempt = attempt_.number();
}

void Training::restore() {
  CheckpointState origin;
  origin.corpus_hash = context_.corpus.hash();
  origin.tokenizer = context_.corpus.tokenizer();
  origin.config_hash = config_hash(config_, origin.corpus_hash);
  origin.numerics_id = numerics_id(config_, origin.corpus_hash, context_.device);
  origin.attempt = 0;
  for (int halved = 0; halved < halved_; ++halved) {
    checkpoints_.abandon(config_hash(with_halved_rate(planned_, halved), origin.corpus_hash));
  }
  if (const auto found = find_checkpoint(origin)) {
    step_.begin_with_written();
    begin_after(*found, origin.numerics_id);
    if (!state_.numerics_id.ends_with(origin.numerics_id)) {
      warn("goes on under numerics " + origin.numerics_id + ", began under " + state_.numerics_id +
           ": bits may differ from an undisturbed run");
      state_.numerics_id += "+" + origin.numerics_id;
    } else {
      pin_algorithms();
    }
  } else {
    step_.initialise(config_.train.seed);
    begin_after(origin, origin.numerics_id);
  }
  first_step_ = state_.step;
  wall_before_s_ = state_.wall_s;
  attempt_.log().info("attempt {} begins after step {} of {} on {} with {} lanes, numerics {}",
                      attempt_.number(), state_.step, steps_, context_.device.name(), context_.device.lanes(),
                      state_.numerics_id);
}

std::optional<Outcome> Training::go(StopToken stop) {
  restore();
  // Not before: a run whose first checkpoint was refused has not begun, and another config may have its
  // folder.
  replace_file(run_ / "config.yaml", yaml_text(write_config(planned_)));
  while (state_.step < steps_) {
    const int signal = stop.requested();
    if (step_.pending() == 0) {
      if (attempt_.lost()) return finish_interrupted(kTakenOver);
      if (signal != 0) return finish_interrupted("stopped by signal " + std::to_string(signal));
      enqueue_step();
    }
    const std::int64_t number = state_.step + 1;
    const bool last = number == steps_;
    const bool evaluates = evaluation_clock_.due(number, seconds_now()) || last;
    const bool saves = checkpoint_clock_.due(number, seconds_now()) || last;
    // The device works on the next step while this one is written down, unless it has to stop between them.
    if (context_.device.asynchronous() && !evaluates && !saves && signal == 0) enqueue_step();
    if (!finish_step() || (evaluates && !evaluate())) return diverge();
    if (!saves) continue;
    if (attempt_.superseded()) return finish_interrupted(kTakenOver);
    save_checkpoint();
  }
  return publish("done", "");
}

std::optional<Outcome> Training::diverge() {
  if (config_.train.on_divergence == "stop" || halved_ == kMostLowered) return publish("diverged", failure_);
  metrics_.flush();
  const std::string next = format_number(config_.train.optimizer.learning_rate / 2);
  warn(failure_ + "; beginning again with learning rate " + next);
  if (!attempt_.finish("failed", failure_, cause::kDiverged)) return finish_interrupted(kTakenOver);
  return std::nullopt;
}

/// What a diverged run leaves to look at: where the trouble stands, and where it was not there yet.
std::string Training::diagnosis() {
  const std::string where = step_.first_non_finite();
  return (where.empty() ? "" : "; not finite: " + where) +
         (saved_step_ > 0 ? "; last good checkpoint: checkpoints/" + std::to_string(saved_step_)
                          : "; no checkpoint was written before");
}

int Training::sequences_in_batch() const {
  return static_cast<int>(config_.train.batch_tokens / config_.model.context_length);
}

void Training::enqueue_step() {
  if (step_.pending() == 0) step_began_s_ = seconds_now();
  const TrainingStep::Batch batch = step_.next_batch();
  sampler_.fill(state_.sequences + step_.pending() * sequences_in_batch(), sequences_in_batch(),
                batch.tokens.data(), batch.targets.data());
  const std::int64_t number = state_.step + step_.pending() + 1;
  step_.enqueue(schedule_.rate(number), number);
}

/// False when loss or gradient was not finite: then nothing was updated and the run is over.
bool Training::finish_step() {
  const std::int64_t number = state_.step + 1;
  const StepState after = step_.wait();
  const double loss = after.loss_sum / static_cast<double>(config_.train.batch_tokens);
  const double now = seconds_now(), taken_s = now - step_began_s_;
  step_began_s_ = now;
  if (!after.finite) {
    failure_ = "step " + std::to_string(number) + " of " + std::to_string(steps_) + ": loss " +
               in_words(loss) + ", gradient norm " + in_words(after.gradient_norm) + diagnosis() +
               "; the step was not taken";
    return false;
  }
  state_.step = number;
  state_.sequences += sequences_in_batch();
  state_.train_s += taken_s;
  if (number > steps_ - tail_steps(steps_)) state_.tail_loss_sum += loss;

  const double tokens_per_s = static_cast<double>(config_.train.batch_tokens) / std::max(taken_s, 1e-9);
  const double share = std::max(0.05, 1.0 / static_cast<double>(number - first_step_));
  smoothed_tokens_per_s_ += share * (tokens_per_s - smoothed_tokens_per_s_);
  if (log_clock_.due(number, now) || number == steps_) log_step(loss, after.gradient_norm, tokens_per_s);
  report(loss);
  return true;
}

void Training::log_step(double loss, double gradient_norm, double tokens_per_s) {
  MetricsRow row;
  row.step = state_.step;
  row.tokens = tokens();
  row.flops = flops();
  row.loss = loss;
  row.lr = schedule_.rate(state_.step);
  row.grad_norm = gradient_norm;
  row.tokens_per_s = tokens_per_s;
  row.wall_s = wall_s();
  metrics_.append(row);
}

/// False when the loss is not finite.
bool Training::evaluate() {
  const bool last = state_.step == steps_;
  const Evaluation evaluation = last ? evaluator_.run() : evaluator_.run_midway();
  if (!std::isfinite(evaluation.loss)) {
    failure_ = "validation after step " + std::to_string(state_.step) + " of " + std::to_string(steps_) +
               ": loss " + in_words(evaluation.loss) + diagnosis();
    return false;
  }
  state_.val_loss = evaluation.loss;
  state_.val_bits_per_byte = evaluation.bits_per_byte;
  state_.val_step = state_.step;
  MetricsRow row;
  row.step = state_.step;
  row.tokens = tokens();
  row.flops = flops();
  row.split = "val";
  row.loss = evaluation.loss;
  row.bits_per_byte = evaluation.bits_per_byte;
  if (last && evaluator_.has_midway()) row.midway_loss = evaluation.midway_loss;
  row.wall_s = wall_s();
  metrics_.append(row);
  attempt_.log().info("step {} of {}: validation loss {:.4f}", state_.step, steps_, evaluation.loss);
  return true;
}

void Training::report(double loss) const {
  if (!context_.on_progress) return;
  const double per_step = (seconds_now() - begin_s_) / static_cast<double>(state_.step - first_step_);
  context_.on_progress({state_.step, steps_, loss, smoothed_tokens_per_s_,
                        per_step * static_cast<double>(steps_ - state_.step), state_.val_loss});
}

/// What a library chose when the run began, so that it goes on with the same bits.
void Training::pin_algorithms() {
  const std::filesystem::path file = run_ / "algorithms.txt";
  if (!path_exists(file)) return;
  try {
    algorithms_ = read_file(file);
    context_.device.pin_algorithms(algorithms_);
  } catch (const InputError& error) {
    warn(file.string() + ": " + error.what() + ": bits may differ from an undisturbed run");
  }
}

void Training::save_algorithms() {
  std::string algorithms = context_.device.algorithms();
  if (algorithms == algorithms_) return;
  replace_file(run_ / "algorithms.txt", algorithms);
  algorithms_ = std::move(algorithms);
}

void Training::save_checkpoint() {
  save_algorithms();
  metrics_.sync();  // before the checkpoint: rows that it goes on from are never missing
  state_.wall_s = wall_s();
  checkpoints_.save(state_, step_);
  saved_step_ = state_.step;
  // A run of weeks checkpoints tens of thousands of times.
  if (state_.step < told_step_ + steps_ / kToldCheckpoints) return;
  told_step_ = state_.step;
  attempt_.log().info("checkpoint after step {}", state_.step);
}

Outcome Training::finish_interrupted(const std::string& why) {
  const std::string at = "after step " + std::to_string(state_.step) + " of " + std::to_string(steps_);
  if (attempt_.superseded()) {
    metrics_.flush();
  } else if (state_.step != saved_step_) {
    save_checkpoint();
  }
  attempt_.finish("interrupted", why + " " + at);
  return {Outcome::Kind::interrupted, {}, why + " " + at + "; the same command goes on from there"};
}

RunResult Training::result(const std::string& status, const std::string& reason) const {
  const ParameterTable& table = step_.model().parameters();
  RunResult result;
  result.run_id = run_id(planned_, state_.corpus_hash);
  result.status = status;
  result.reason = reason;
  result.params = table.params();
  result.params_non_embedding = table.params_non_embedding();
  result.tokens = tokens();
  result.steps = state_.step;
  result.flops = flops();
  result.flops_6nd = static_cast<double>(tokens()) * flops_.flops_6nd;
  result.flops_hoffmann = static_cast<double>(tokens()) * flops_.flops_hoffmann;
  const bool done = status == "done";
  const double none = std::numeric_limits<double>::quiet_NaN();
  result.train_loss = done ? state_.tail_loss_sum / static_cast<double>(tail_steps(steps_)) : none;
  result.val_loss = done ? state_.val_loss : none;
  result.val_bits_per_byte = done ? state_.val_bits_per_byte : none;
  result.wall_s = wall_s();
  result.tokens_per_s = state_.train_s > 0 ? static_cast<double>(tokens()) / state_.train_s : 0;
  result.epochs =
      static_cast<double>(tokens()) / static_cast<double>(context_.corpus.split("train").tokens());
  result.device = context_.device.name();
  result.numerics_id = state_.numerics_id;
  result.seed = config_.train.seed;
  result.version = MINICHILLA_VERSION;
  result.source = source_hash();
  result.learning_rate_halved = halved_;
  return result;
}

/// Only an attempt that nobody has declared lost gives the run its result.
Outcome Training::publish(const std::string& status, const std::string& reason) {
  metrics_.sync();
  const RunResult ours = result(status, reason);
  if (attempt_.superseded()) return finish_interrupted(kTakenOver);
  if (status == "done") checkpoints_.prune(1);  // nobody looks at checkpoints once there is a result
  return attempt_.publish(ours) ? outcome_of(ours) : finish_interrupted(kTakenOver);
}

}  // namespace

Outcome train(const RunConfig& config, TrainContext& context, const std::filesystem::path& run,
              StopToken stop) {
  check_same_config(config, run);
  check_resume_from(context.resume_from, run);
  if (const auto result = read_result(run)) return outcome_of(*result);
  const int vocabulary = context.corpus.vocabulary();
  const std::string refusal = memory_refusal(config, vocabulary, context.device);
  if (!refusal.empty()) throw InputError(refusal);
  std::unique_ptr<Attempt> attempt;
  try {
    for (;;) {
      attempt = std::make_unique<Attempt>(run);
      const auto outcome = Training(config, divergences(run), context, run, *attempt).go(stop);
      if (outcome) return *outcome;
      attempt.reset();
    }
  } catch (const RunEndedError&) {  // published after the look
    const auto result = read_result(run);
    if (!result) throw;
    return outcome_of(*result);
  } catch (const std::bad_alloc&) {  // somebody else took memory after the look
    const std::string message = out_of_memory_message(config, vocabulary, context.device);
    if (attempt) attempt->fail(cause::kOutOfMemory, message);
    throw std::runtime_error(message);
  } catch (const InputError& error) {
    if (attempt) attempt->fail(cause::kBadInput, error.what());
    throw;
  } catch (const IoError& error) {
    if (attempt) attempt->fail(cause::kInputOutput, error.what());
    throw;
  } catch (const std::exception& error) {
    if (attempt) attempt->fail(cause::kCrash, error.what());
    throw;
  }
}

}  // namespace minichilla
