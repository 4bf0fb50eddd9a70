#include "services/engine/planner.h"

#include <algorithm>

namespace aima::engine {
namespace {

using Action = Step::Action;
using Tree = Observed::Tree;
using Why = Step::Why;

// At which something has taken too long.
absl::Time Deadline(absl::Time since, absl::Duration patience) { return since + patience; }

Step PlanStarting(const Record& record, const Observed& seen, const Policy& policy, absl::Time now) {
  if (seen.tree != Tree::kAlive) return {Action::kFail, Why::kEnded};
  if (seen.ready) return {Action::kAnnounce};
  const absl::Time begun = record.started_at.value_or(now);
  const absl::Time stalled = Deadline(std::max(begun, seen.advanced), policy.stall);
  const absl::Time too_slow = Deadline(begun, policy.start);
  if (now >= stalled) return {Action::kFail, Why::kStalled};
  if (now >= too_slow) return {Action::kFail, Why::kTooSlow};
  return {Action::kLook, Why::kNone, std::min(stalled, too_slow)};
}

Step PlanRunning(const Observed& seen, const Policy& policy, absl::Time now) {
  if (seen.tree != Tree::kAlive) return {Action::kFail, Why::kEnded};
  const absl::Time hung = Deadline(seen.silent_since, policy.hung);
  if (now >= hung) return {Action::kFail, Why::kHung};
  return {Action::kLook, Why::kNone, hung};
}

Step PlanAtRest(const Record& record, const Observed& seen, const Policy& policy, absl::Time now) {
  const bool gone = seen.tree == Tree::kNone || seen.tree == Tree::kEnded;
  if (!gone || !record.slot_id.empty()) return {Action::kClear};
  if (record.status != v1::INSTANCE_STATUS_FAILED || !record.wanted || !policy.restart) return {Action::kRest};
  const absl::Time due = record.next_start_at.value_or(now);
  if (now < due) return {Action::kLook, Why::kNone, due};
  return {Action::kStart};
}

}  // namespace

Step Plan(const Record& record, const Observed& seen, const Policy& policy, absl::Time now) {
  if (seen.tree == Tree::kUnknown) return {Action::kLook, Why::kNone, now};
  switch (record.status) {
    case v1::INSTANCE_STATUS_STARTING: return PlanStarting(record, seen, policy, now);
    case v1::INSTANCE_STATUS_RUNNING: return PlanRunning(seen, policy, now);
    case v1::INSTANCE_STATUS_STOPPING: return {Action::kFinishStop};
    default: return PlanAtRest(record, seen, policy, now);
  }
}

Retry PlanRetry(const Record& record, bool machine_ended, const Policy& policy, absl::Time now, double jitter) {
  if (machine_ended) return {record.crashes, now};
  const bool was_stable = record.running_since && now - *record.running_since >= policy.stable;
  const int crashes = was_stable ? 1 : record.crashes + 1;
  absl::Duration backoff = policy.first_backoff;
  for (int i = 1; i < crashes && backoff < policy.last_backoff; ++i) backoff *= 2;
  return {crashes, now + std::min(policy.last_backoff, backoff * (1 + jitter / 4))};
}

std::vector<process::Marked> FindOrphans(const std::vector<process::Marked>& marked,
                                         const std::set<std::string>& wanted_runs) {
  std::vector<process::Marked> orphans;
  for (const process::Marked& process : marked) {
    if (!wanted_runs.contains(process.marker)) orphans.push_back(process);
  }
  return orphans;
}

}  // namespace aima::engine
