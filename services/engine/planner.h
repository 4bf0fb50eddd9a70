// What to do next about an instance: a pure function of what is stored, what is seen, and the time.
#pragma once

#include <absl/time/time.h>

#include <set>
#include <string>
#include <vector>

#include "libs/process/identity.h"
#include "services/engine/record.h"

namespace aima::engine {

// How patient one is with an instance.
struct Policy {
  bool restart = true;           // what has once been ready is started again when it ends by itself
  absl::Duration stall;          // without progress while it starts
  absl::Duration start;          // for a start, progress or not
  absl::Duration hung;           // without an answer while it runs
  absl::Duration stable;         // after running for so long, earlier ends by itself are forgotten
  absl::Duration first_backoff;  // between an end and the next start, doubled each time
  absl::Duration last_backoff;
};

// What is seen of an instance at some moment.
struct Observed {
  enum class Tree {
    kUnknown,   // it could not be looked at
    kNone,      // nothing of it is there
    kAlive,     // its shim lives, and with it the engine
    kEnded,     // it has ended, and its shim has told how
    kHeadless,  // something of it lives that no shim looks after
  };
  Tree tree = Tree::kUnknown;
  bool ready = false;                                  // it answers, on a port that is in its own hands
  absl::Time advanced = absl::InfinitePast();          // when it last got anywhere, while it starts
  absl::Time silent_since = absl::InfiniteFuture();    // since when it does not answer, while it runs
};

struct Step {
  enum class Action {
    kRest,        // all is as it should be
    kLook,        // nothing to do but to look again, at `at` at the latest
    kAnnounce,    // it is ready: tell everybody
    kFail,        // end what is left of it, record why, give back its slot
    kFinishStop,  // end it and record that it is stopped
    kClear,       // it is at rest, but something of it is left, or its slot is held: end that, give it back
    kStart,       // start it again
  };
  enum class Why { kNone, kEnded, kStalled, kTooSlow, kHung };
  Action action;
  Why why = Why::kNone;
  absl::Time at = absl::InfiniteFuture();

  bool operator==(const Step&) const = default;
};

// Nothing is ended, started or given back on the strength of what could not be seen.
Step Plan(const Record& record, const Observed& seen, const Policy& policy, absl::Time now);

// When an instance that has ended by itself is started again.
struct Retry {
  int crashes;  // in a row, this one included
  absl::Time at;

  bool operator==(const Retry&) const = default;
};

// `jitter` from 0 to 1 spreads instances that ended together. An end of the machine is not the instance's own.
Retry PlanRetry(const Record& record, bool machine_ended, const Policy& policy, absl::Time now, double jitter);

// Processes that carry our marker and that no wanted run explains.
std::vector<process::Marked> FindOrphans(const std::vector<process::Marked>& marked,
                                         const std::set<std::string>& wanted_runs);

}  // namespace aima::engine
