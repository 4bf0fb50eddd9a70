#include "services/engine/instances.h"

#include <signal.h>
#include <spdlog/spdlog.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "libs/base/status_macros.h"

namespace aima::engine {

Task<absl::Status> Instances::Recover() {
  CO_ASSIGN_OR_RETURN(const std::vector<Record> records, co_await around_.store.All(around_.background("recover")));
  for (const Record& record : records) {
    v1::EngineSpec spec;
    if (const v1::EngineSpec* known = catalogue_.Find(record.engine)) spec = *known;
    instances_[record.instance_id] = std::make_shared<Instance>(around_, record, spec);
  }
  const std::vector<process::Marked> marked = process::FindMarked(kHomeVariable, around_.data_dir);
  for (const Recovery& recovery : PlanRecovery(records, marked, process::Lives)) around_.spawn(Carry(recovery));
  co_return absl::OkStatus();
}

Task<void> Instances::Carry(Recovery recovery) {
  const std::shared_ptr<Instance> instance = instances_.at(recovery.instance_id);
  switch (recovery.action) {
    case Recovery::Action::kAdopt: {
      absl::StatusOr<std::unique_ptr<process::Process>> process =
          process::Process::Adopt(around_.loop, recovery.root, instance->record().run);
      if (process.ok()) {
        instance->Adopt(*std::move(process));
      } else {
        co_await instance->Bury();  // it ended a moment ago
      }
      break;
    }
    case Recovery::Action::kFinishStop:
      instance->Stop(around_.background("recover"), false, std::nullopt);
      break;
    case Recovery::Action::kBury: co_await instance->Bury(); break;
    case Recovery::Action::kFreeSlot: co_await instance->FreeSlot(); break;
  }
}

std::set<std::string> Instances::WantedRuns() const {
  std::set<std::string> runs = around_.other_runs();
  for (const auto& [id, instance] : instances_) {
    if (instance->record().Live()) runs.insert(instance->record().run);
  }
  return runs;
}

Task<int> Instances::Sweep() {
  const std::vector<process::Marked> orphans =
      FindOrphans(process::FindMarked(kHomeVariable, around_.data_dir), WantedRuns());
  std::set<std::string> seen;
  int ended = 0;
  for (const process::Marked& orphan : orphans) {
    seen.insert(orphan.marker);
    if (!suspects_.contains(orphan.marker)) continue;
    spdlog::warn("ending orphan pid={} run={}", orphan.identity.pid, orphan.marker);
    (void)co_await process::EndTree(orphan.identity, orphan.marker, SIGTERM, absl::Seconds(5));
    ++ended;
  }
  suspects_ = std::move(seen);
  co_return ended;
}

Task<void> Instances::SweepForever(absl::Duration interval) {
  for (;;) {
    boost::asio::steady_timer timer(around_.loop, absl::ToChronoNanoseconds(interval));
    co_await timer.async_wait(boost::asio::use_awaitable);
    co_await Sweep();
  }
}

Task<void> Instances::Drain() {
  around_.draining = true;
  const CallContext call = around_.background("drain");
  std::vector<std::shared_ptr<StopFeed>> stops;
  for (const auto& [id, instance] : instances_) {
    if (instance->record().status == v1::INSTANCE_STATUS_STARTING) stops.push_back(instance->Stop(call, false, std::nullopt));
  }
  for (const std::shared_ptr<StopFeed>& stop : stops) (void)co_await stop->Result();
}

std::shared_ptr<Instance> Instances::Find(const std::string& instance_id) const {
  const auto found = instances_.find(instance_id);
  return found == instances_.end() ? nullptr : found->second;
}

std::shared_ptr<Instance> Instances::At(const std::string& instance_id, const v1::EngineSpec& spec) {
  if (std::shared_ptr<Instance> found = Find(instance_id)) return found;
  Record record;
  record.instance_id = instance_id;
  record.engine = spec.name();
  return instances_[instance_id] = std::make_shared<Instance>(around_, std::move(record), spec);
}

std::vector<std::shared_ptr<Instance>> Instances::OfEngine(const std::string& engine) const {
  std::vector<std::shared_ptr<Instance>> some;
  for (const auto& [id, instance] : instances_) {
    if (instance->record().engine == engine) some.push_back(instance);
  }
  return some;
}

}  // namespace aima::engine
