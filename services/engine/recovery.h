// What to do about instances whose service was away: a pure function of what is stored and what is seen.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "libs/process/identity.h"
#include "services/engine/record.h"

namespace aima::engine {

// One decision about one instance.
struct Recovery {
  enum class Action {
    kAdopt,       // it lives: watch it, or go on waiting for it to be ready
    kFinishStop,  // it was being stopped: go on with that
    kBury,        // it is dead: record so, end what it left behind, give back its slot
    kFreeSlot,    // it is at rest, but its slot is still held
  };
  Action action;
  std::string instance_id;
  process::Identity root;  // for kAdopt

  bool operator==(const Recovery&) const = default;
};

// `lives` tells whether exactly this process runs; `marked` are the processes that carry our marker. Instances that
// need nothing are left out. Nothing is adopted but what is proven by its identity or by the marker of its run.
std::vector<Recovery> PlanRecovery(const std::vector<Record>& records, const std::vector<process::Marked>& marked,
                                   const std::function<bool(const process::Identity&)>& lives);

// Processes that carry our marker and that no wanted run explains.
std::vector<process::Marked> FindOrphans(const std::vector<process::Marked>& marked,
                                         const std::set<std::string>& wanted_runs);

}  // namespace aima::engine
