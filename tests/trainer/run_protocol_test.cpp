// Every interleaving of workers that run trainer/run_protocol.h on the simulated file system, and proof that
// the search finds mistakes.
#include "trainer/run_protocol.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <deque>
#include <iostream>
#include <unordered_set>

#include "tests/trainer/protocol_model.h"

namespace minichilla::protocol_model {
namespace {

/// A step is trained and logged together with what comes before: nobody else looks at it meanwhile.
enum class Stage : std::uint8_t { claim, load, save, finish, gone };

struct Worker {
  Stage stage = Stage::claim;
  std::int64_t attempt = 0, step = 0;
  Answers answers;                    ///< of this stage so far
  std::vector<std::int64_t> replies;  ///< what came of them

  void go_to(Stage next) {
    stage = next;
    answers.clear();
    replies.clear();
  }
};

struct State {
  Server server;
  std::vector<Worker> workers;
  int crashes = 0;
};

std::string key_of(const State& state) {
  std::string key;
  const auto add = [&](std::int64_t number) { key += static_cast<char>(number + 1); };
  for (const AttemptState& attempt : state.server.attempts) {
    add(attempt.owner);
    add(static_cast<std::int64_t>(attempt.fate));
    add(attempt.origin.step);
    add(attempt.origin.attempt);
    add(attempt.logged);
  }
  add(99);
  for (const auto& [step, file] : state.server.checkpoints) {
    add(step);
    add(file.attempt);
  }
  add(99);
  add(state.server.result);
  add(state.server.newest_checkpoint);
  add(state.crashes);
  for (const Worker& worker : state.workers) {
    add(static_cast<std::int64_t>(worker.stage));
    add(worker.attempt);
    add(worker.step);
    add(static_cast<std::int64_t>(worker.replies.size()));
    for (const std::int64_t reply : worker.replies) add(reply);
  }
  return key;
}

/// More attempts than the search looks at.
struct Beyond {};

class Search {
 public:
  Search(const Bounds& bounds, Mistake mistake) : bounds_(bounds), mistake_(mistake) {
    State first;
    first.workers.resize(static_cast<std::size_t>(bounds.workers));
    visit(first);
    while (!open_.empty() && fault_.empty()) {
      const State state = std::move(open_.front());
      open_.pop_front();
      expand(state);
    }
  }

  const std::string& fault() const { return fault_; }  ///< of the first bad state; empty: there is none
  std::size_t states() const { return seen_.size(); }
  std::size_t ends() const { return ends_; }  ///< states in which every worker knows that the run has ended

 private:
  void visit(const State& state) {
    if (!seen_.insert(key_of(state)).second) return;
    fault_ = fault_of(state);
    open_.push_back(state);
  }

  void expand(const State& state) {
    bool working = false;
    for (std::size_t worker = 0; worker < state.workers.size() && fault_.empty(); ++worker) {
      if (state.workers[worker].stage == Stage::gone) continue;
      working = true;
      advance(state, worker);
      const Worker& now = state.workers[worker];
      const bool fresh = now.stage == Stage::claim && now.answers.empty();
      if (state.crashes < bounds_.crashes && !fresh) {
        State crashed = state;
        ++crashed.crashes;
        crashed.workers[worker] = Worker();  // another process takes its place
        visit(crashed);
      }
    }
    ends_ += !working;
  }

  /// One more call of one worker, in all ways in which it may come out.
  void advance(const State& state, std::size_t worker) {
    int choices = 1;
    try {
      State probe = state;
      run(probe, worker);
      return visit(probe);  // a stage without calls
    } catch (const NeedsAnswer& needs) {
      choices = needs.choices;
    }
    for (int choice = 0; choice < choices && fault_.empty(); ++choice) {
      State next = state;
      next.workers[worker].answers.push_back(choice);
      try {
        run(next, worker);
      } catch (const NeedsAnswer&) {  // the call was made; the stage goes on with another
      } catch (const Beyond&) {
        continue;
      } catch (const std::logic_error& error) {
        fault_ = error.what();
        return;
      }
      visit(next);
    }
  }

  /// Runs the worker's stage as far as its answers go.
  void run(State& state, std::size_t index) {
    Worker& worker = state.workers[index];
    SimulatedFiles files(state.server, static_cast<int>(index), worker.attempt, mistake_, worker.answers,
                         worker.replies);
    switch (worker.stage) {
      case Stage::claim:
        return claim(files, worker, state.server);
      case Stage::load:
        return load(files, worker, state.server);
      case Stage::save:
        return save(files, worker, state.server);
      case Stage::finish:
        return finish(files, worker);
      case Stage::gone:
        return;
    }
  }

  static AttemptState& attempt_of(Server& server, const Worker& worker) {
    return server.attempts[static_cast<std::size_t>(worker.attempt - 1)];
  }

  void claim(SimulatedFiles& files, Worker& worker, const Server& server) {
    RunClaim claim(files);
    const RunClaim::Answer answer = claim.look();
    if (server.attempts.size() > bounds_.attempts) throw Beyond{};
    if (answer == RunClaim::Answer::ended) {
      if (server.result == 0) throw std::logic_error("told that the run has ended, without a result");
      return worker.go_to(Stage::gone);
    }
    if (answer != RunClaim::Answer::taken) return worker.go_to(Stage::claim);
    worker.attempt = claim.number();
    worker.go_to(Stage::load);
  }

  void load(SimulatedFiles& files, Worker& worker, Server& server) {
    const std::vector<std::int64_t> steps = files.steps();
    AttemptOrigin origin;
    for (auto step = steps.rbegin(); step != steps.rend() && origin.attempt == 0; ++step) {
      if (const std::int64_t attempt = files.read_checkpoint(*step); attempt != 0) origin = {*step, attempt};
    }
    attempt_of(server, worker).origin = origin;
    worker.step = origin.step;
    train(worker, server);
  }

  void train(Worker& worker, Server& server) {
    if (worker.step == bounds_.steps) return worker.go_to(Stage::finish);
    attempt_of(server, worker).logged = ++worker.step;
    worker.go_to(Stage::save);
  }

  void save(SimulatedFiles& files, Worker& worker, Server& server) {
    if (files.final(worker.attempt)) return quit(worker);
    place_checkpoint(files, worker.step);
    prune_checkpoints(files, {}, 1);
    if (mistake_ == Mistake::newest_are_removed) {
      for (const std::int64_t step : files.steps()) {
        if (step > worker.step) files.remove(step);
      }
    }
    train(worker, server);
  }

  void finish(SimulatedFiles& files, Worker& worker) {
    if (files.final(worker.attempt)) return quit(worker);
    const bool counts = finish_attempt(files, worker.attempt, {true, ""});
    if (!counts && mistake_ == Mistake::losing_the_ending_is_ignored) files.publish(worker.attempt);
    quit(worker);
  }

  static void quit(Worker& worker) { worker = Worker(); }

  std::string fault_of(const State& state) const {
    const Server& server = state.server;
    if (std::ranges::count(server.attempts, Fate::final, &AttemptState::fate) > 1)
      return "two attempts ended with a result";
    const bool kept = server.newest_checkpoint == 0 || server.checkpoints.contains(server.newest_checkpoint);
    if (!kept) return "the newest checkpoint is gone";
    if (server.result == 0) return "";
    const std::set<std::int64_t> steps =
        mistake_ == Mistake::the_log_is_joined_by_number ? joined_by_number(server) : joined(server);
    if (static_cast<std::int64_t>(steps.size()) != bounds_.steps) return "the result's log lacks a step";
    if (server.attempts[static_cast<std::size_t>(server.result - 1)].fate != Fate::final)
      return "the result is of an attempt that was declared lost";
    return "";
  }

  /// The steps of the log that led to the result, as read_metrics() joins it.
  std::set<std::int64_t> joined(const Server& server) const {
    std::set<std::int64_t> steps;
    std::int64_t last = bounds_.steps;
    for (std::int64_t number = server.result; number != 0;) {
      const AttemptState& attempt = server.attempts[static_cast<std::size_t>(number - 1)];
      for (std::int64_t step = attempt.origin.step + 1; step <= std::min(last, attempt.logged); ++step)
        steps.insert(step);
      last = attempt.origin.step;
      number = attempt.origin.attempt;
    }
    return steps;
  }

  std::set<std::int64_t> joined_by_number(const Server& server) const {
    std::set<std::int64_t> steps;
    for (const AttemptState& attempt : server.attempts) {
      if (attempt.logged <= attempt.origin.step) continue;
      std::erase_if(steps, [&](std::int64_t step) { return step > attempt.origin.step; });
      for (std::int64_t step = attempt.origin.step + 1; step <= attempt.logged; ++step) steps.insert(step);
    }
    return steps;
  }

  Bounds bounds_;
  Mistake mistake_;
  std::unordered_set<std::string> seen_;
  std::deque<State> open_;
  std::string fault_;
  std::size_t ends_ = 0;
};

void expect_no_fault(const Bounds& bounds) {
  const Search search(bounds, Mistake::none);
  EXPECT_EQ(search.fault(), "");
  EXPECT_GT(search.ends(), 0u);
  std::cout << search.states() << " states\n";
}

TEST(RunProtocol, HoldsForTwoWorkersWithACrash) {
  expect_no_fault({.workers = 2, .crashes = 1, .steps = 2, .attempts = 2});
}

TEST(RunProtocol, HoldsForTwoWorkersAndManyTakeovers) {
  expect_no_fault({.workers = 2, .crashes = 0, .steps = 2, .attempts = 3});
}

TEST(RunProtocol, HoldsForThreeWorkers) {
  expect_no_fault({.workers = 3, .crashes = 0, .steps = 1, .attempts = 2});
}

TEST(RunProtocol, HoldsInALongSearch) {
  if (!std::getenv("MINICHILLA_LONG_PROTOCOL")) GTEST_SKIP() << "minutes: set MINICHILLA_LONG_PROTOCOL=1";
  expect_no_fault({.workers = 2, .crashes = 1, .steps = 2, .attempts = 3});
  expect_no_fault({.workers = 3, .crashes = 0, .steps = 1, .attempts = 3});
}

struct Mistaken {
  Mistake mistake;
  const char* fault;
};
class RunProtocolMistakes : public testing::TestWithParam<Mistaken> {};

TEST_P(RunProtocolMistakes, AreFound) {
  const Bounds bounds{.workers = 2, .crashes = 1, .steps = 2, .attempts = 3};
  EXPECT_EQ(Search(bounds, GetParam().mistake).fault(), GetParam().fault);
}

INSTANTIATE_TEST_SUITE_P(
    All, RunProtocolMistakes,
    testing::Values(
        Mistaken{Mistake::attempts_are_not_exclusive, "two owners of attempt 1"},
        Mistaken{Mistake::endings_are_not_exclusive, "the result is of an attempt that was declared lost"},
        Mistaken{Mistake::takers_end_nothing, "two attempts ended with a result"},
        Mistaken{Mistake::losing_the_ending_is_ignored, "the result is of an attempt that was declared lost"},
        Mistaken{Mistake::newest_are_removed, "the newest checkpoint is gone"},
        Mistaken{Mistake::whole_ones_are_replaced, "the newest checkpoint is gone"},
        Mistaken{Mistake::the_log_is_joined_by_number, "the result's log lacks a step"}));

}  // namespace
}  // namespace minichilla::protocol_model
