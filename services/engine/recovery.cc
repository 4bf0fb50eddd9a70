#include "services/engine/recovery.h"

namespace aima::engine {
namespace {

// The process from which the run began: the recorded one, or, if the service died before it could record one, the
// oldest of its run.
std::optional<process::Identity> RootOf(const Record& record, const std::vector<process::Marked>& marked,
                                        const std::function<bool(const process::Identity&)>& lives) {
  if (record.process.pid != 0) {
    return lives(record.process) ? std::optional<process::Identity>(record.process) : std::nullopt;
  }
  std::optional<process::Identity> oldest;
  for (const process::Marked& process : marked) {
    if (process.marker != record.run) continue;
    if (!oldest || process.identity.start_time < oldest->start_time) oldest = process.identity;
  }
  return oldest;
}

}  // namespace

std::vector<Recovery> PlanRecovery(const std::vector<Record>& records, const std::vector<process::Marked>& marked,
                                   const std::function<bool(const process::Identity&)>& lives) {
  std::vector<Recovery> plan;
  for (const Record& record : records) {
    if (!record.Live()) {
      if (!record.slot_id.empty()) plan.push_back({Recovery::Action::kFreeSlot, record.instance_id, {}});
      continue;
    }
    if (record.status == v1::INSTANCE_STATUS_STOPPING) {
      plan.push_back({Recovery::Action::kFinishStop, record.instance_id, {}});
      continue;
    }
    const std::optional<process::Identity> root = RootOf(record, marked, lives);
    if (root) {
      plan.push_back({Recovery::Action::kAdopt, record.instance_id, *root});
    } else {
      plan.push_back({Recovery::Action::kBury, record.instance_id, {}});
    }
  }
  return plan;
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
