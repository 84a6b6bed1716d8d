#include "trainer/run_protocol.h"

#include <algorithm>

namespace minichilla {

RunClaim::Answer RunClaim::look() {
  if (files_.has_result()) return Answer::ended;
  newest_ = std::max(newest_, files_.newest_attempt());
  if (newest_ > 0) {
    std::optional<bool> final = files_.final(newest_);
    if (!final) {
      const OwnerState owner = files_.owner(newest_);
      if (owner == OwnerState::alive) return Answer::busy;
      if (owner != OwnerState::dead) return Answer::undecided;
      // Only its ending makes way for the next attempt. Whoever was faster may have ended it finally.
      if (!files_.end_attempt(newest_, files_.lost(newest_))) return Answer::undecided;
      final = false;
    }
    if (*final) {
      files_.publish(newest_);  // its owner may have died before it could
      return Answer::ended;
    }
  }
  if (files_.create_attempt(newest_ + 1)) {
    number_ = newest_ + 1;
    return Answer::taken;
  }
  ++newest_;  // it is there, though a look may not show it yet
  return Answer::undecided;
}

bool finish_attempt(OwnershipFiles& files, std::int64_t attempt, const Ending& ending) {
  if (!files.end_attempt(attempt, ending)) return false;
  if (ending.final) files.publish(attempt);
  return true;
}

void place_checkpoint(CheckpointFiles& files, std::int64_t step) {
  while (!files.place(step)) {
    if (files.is_whole(step)) return;
    files.remove(step);
  }
}

void prune_checkpoints(CheckpointFiles& files, const std::set<std::int64_t>& broken, std::size_t kept) {
  const std::vector<std::int64_t> steps = files.steps();
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    if (kept == 0) {
      files.remove(*step);
    } else if (!broken.contains(*step) && files.is_complete(*step)) {
      --kept;
    }
  }
}

}  // namespace minichilla
