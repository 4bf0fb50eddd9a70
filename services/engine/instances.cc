#include "services/engine/instances.h"

#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <filesystem>

#include "libs/base/status_macros.h"

namespace aima::engine {
namespace {

constexpr std::chrono::seconds kLookAgain(1);

}  // namespace

Task<absl::Status> Instances::Recover() {
  CO_ASSIGN_OR_RETURN(const std::vector<Record> records, co_await around_.store.All(around_.background("recover")));
  for (const Record& record : records) {
    v1::EngineSpec spec;
    if (const v1::EngineSpec* known = catalogue_.Find(record.engine)) spec = *known;
    instances_[record.instance_id] = std::make_shared<Instance>(around_, record, spec);
  }
  const auto marked = std::make_shared<const std::vector<process::Marked>>(
      process::FindMarked(kHomeVariable, around_.data_dir));
  for (const auto& [id, instance] : instances_) around_.spawn(Recover(instance, marked));
  co_return absl::OkStatus();
}

Observed Instances::Look(const Record& record, const std::vector<process::Marked>& marked) const {
  using Tree = Observed::Tree;
  Observed seen;
  // Where this very process is not to be seen, nothing can be said of others.
  if (!process::ReadEntry(getpid())) return seen;
  const std::optional<process::ShimState> state =
      record.run.empty() ? std::nullopt
                         : process::ReadShimState(absl::StrCat(around_.data_dir, "/run/engines/", record.run));
  const bool ours = state && state->instance == record.run && (record.shim.pid == 0 || state->shim == record.shim);
  const auto is_of_it = [&](const process::Marked& process) {
    return process.marker == record.run && process::Lives(process.identity);
  };
  if (ours && process::Lives(state->shim)) {
    seen.tree = Tree::kAlive;
  } else if (std::any_of(marked.begin(), marked.end(), is_of_it)) {
    seen.tree = Tree::kHeadless;
  } else {
    seen.tree = ours && state->exit ? Tree::kEnded : Tree::kNone;
  }
  // It has had no chance to get anywhere in our sight.
  seen.advanced = absl::Now();
  return seen;
}

Task<void> Instances::Recover(std::shared_ptr<Instance> instance,
                              std::shared_ptr<const std::vector<process::Marked>> marked) {
  for (;;) {
    const Record& record = instance->record();
    const Observed seen = Look(record, *marked);
    const bool alive = seen.tree == Observed::Tree::kAlive;
    const bool live = record.status == v1::INSTANCE_STATUS_STARTING || record.status == v1::INSTANCE_STATUS_RUNNING;
    if (alive && live) {
      co_await Adopt(instance);
      co_return;
    }
    const Step step = Plan(record, seen, instance->policy(), absl::Now());
    switch (step.action) {
      case Step::Action::kFail: {
        const std::optional<process::ShimState> state = process::ReadShimState(instance->RunDirectory());
        co_await instance->Bury(state && state->instance == record.run ? state->exit : std::nullopt);
        co_return;
      }
      case Step::Action::kFinishStop:
        instance->Stop(around_.background("recover"), {});
        co_return;
      case Step::Action::kClear:
        co_await instance->Clear();
        break;
      case Step::Action::kLook:
        if (seen.tree != Observed::Tree::kUnknown) {
          co_await instance->KeepRunning(instance, record.generation);
          co_return;
        }
        break;
      case Step::Action::kStart:
        co_await instance->KeepRunning(instance, record.generation);
        co_return;
      default: co_return;
    }
    boost::asio::steady_timer timer(around_.loop, kLookAgain);
    co_await timer.async_wait(boost::asio::use_awaitable);
    marked = std::make_shared<const std::vector<process::Marked>>(
        process::FindMarked(kHomeVariable, around_.data_dir));
    if (instance->starting() || instance->stopping()) co_return;  // somebody has taken it in hand
  }
}

Task<void> Instances::Adopt(std::shared_ptr<Instance> instance) {
  absl::StatusOr<std::unique_ptr<process::Shim>> shim =
      co_await process::Shim::Adopt(around_.loop, instance->RunDirectory(), instance->record().run);
  if (shim.ok()) {
    instance->Adopt(*std::move(shim));
    co_return;
  }
  const std::optional<process::ShimState> state = process::ReadShimState(instance->RunDirectory());
  co_await instance->Bury(state ? state->exit : std::nullopt);  // it ended a moment ago
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
    if (!around_.in_office()) co_return ended;
    spdlog::warn("ending orphan pid={} run={}", orphan.identity.pid, orphan.marker);
    (void)co_await process::EndTree(orphan.identity, orphan.marker, SIGTERM, absl::Seconds(5), around_.in_office);
    ++ended;
  }
  suspects_ = std::move(seen);
  ForgetOldRuns();
  std::erase_if(instances_, [](const auto& item) { return item.second->forgettable(); });
  co_return ended;
}

void Instances::ForgetOldRuns() const {
  const std::set<std::string> wanted = WantedRuns();
  std::error_code error;
  std::vector<std::filesystem::path> old;
  for (const auto& entry : std::filesystem::directory_iterator(around_.data_dir + "/run/engines", error)) {
    const std::optional<process::ShimState> state = process::ReadShimState(entry.path());
    const bool lives = state && process::Lives(state->shim);
    if (wanted.contains(entry.path().filename()) || lives) continue;
    old.push_back(entry.path());
    if (state && !state->cgroup.empty()) rmdir(state->cgroup.c_str());
  }
  for (const std::filesystem::path& path : old) std::filesystem::remove_all(path, error);
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
    const bool starts = instance->record().status == v1::INSTANCE_STATUS_STARTING || instance->starting();
    if (starts) stops.push_back(instance->Stop(call, {}));
  }
  for (const std::shared_ptr<StopFeed>& stop : stops) (void)co_await stop->Result();
}

std::shared_ptr<Instance> Instances::Find(const std::string& instance_id) const {
  const auto found = instances_.find(instance_id);
  return found == instances_.end() || !found->second->begun() ? nullptr : found->second;
}

std::shared_ptr<Instance> Instances::At(const std::string& instance_id, const v1::EngineSpec& spec) {
  if (const auto found = instances_.find(instance_id); found != instances_.end()) return found->second;
  Record record;
  record.instance_id = instance_id;
  record.engine = spec.name();
  return instances_[instance_id] = std::make_shared<Instance>(around_, std::move(record), spec);
}

std::vector<std::shared_ptr<Instance>> Instances::OfEngine(const std::string& engine) const {
  std::vector<std::shared_ptr<Instance>> some;
  for (const auto& [id, instance] : instances_) {
    if (instance->record().engine == engine && instance->begun()) some.push_back(instance);
  }
  return some;
}

}  // namespace aima::engine
