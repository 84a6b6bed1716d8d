// Whether a sweep's results come out again: a sample of its runs is trained once more and compared.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "sweeps/local_executor.h"

namespace minichilla {

struct VerifyOptions {
  ExecutorOptions executor;  ///< of the sweep to verify
  int runs = 2;              ///< of its finished runs, drawn by `seed`
  std::uint64_t seed = 1;
  double tolerance = 0.02;  ///< of the validation loss in nats per token, where bits need not agree
};

struct VerifiedRun {
  std::string run_id;
  bool same_numerics = false;  ///< then the bits of losses and weights have to agree
  bool agrees = false;
  double val_loss = 0, val_loss_again = 0;
  std::string message;  ///< what differs, in one line; empty when it agrees
};

struct Verification {
  std::vector<VerifiedRun> runs;
  bool interrupted = false;
  std::string kept;  ///< the folder of the runs that were trained again, when something differs
  bool agrees() const;
};

/// Trains into SWEEP/verify, which is removed when all agree. InputError: no sweep, or no finished run in it.
Verification verify_sweep(const VerifyOptions& options, const ExecutorEvents& events);

std::string verification_text(const Verification& verification);
nlohmann::ordered_json verification_json(const Verification& verification);

}  // namespace minichilla
