#include "services/gateway/mcp/tasks.h"

#include <absl/time/clock.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>
#include <vector>

#include "aima/unit/v1/errors.pb.h"
#include "libs/base/ids.h"
#include "libs/errors/errors.h"

namespace aima::gateway::mcp {
namespace {

namespace asio = boost::asio;

constexpr size_t kMaxTasks = 1000;
constexpr absl::Duration kLifetime = absl::Hours(24);
constexpr int kPollMs = 1000;

std::string TimeText(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", time, absl::UTCTimeZone());
}

const char* StatusOf(const Tasks::Task& task) {
  if (task.call->cancelled()) return "cancelled";
  if (!task.call->done()) return task.pending.empty() ? "working" : "input_required";
  return task.call->outcome().kind == Outcome::kFailure ? "failed" : "completed";
}

}  // namespace

bool Tasks::IsOver(const Task& task) { return task.call->done() || task.call->cancelled(); }

void Tasks::Forget() {
  const absl::Time now = absl::Now();
  tasks_.remove_if([&](const Task& task) { return IsOver(task) && now - task.created > kLifetime; });
}

bool Tasks::ForgetOldest(const std::string* principal) {
  const auto oldest = std::find_if(tasks_.begin(), tasks_.end(), [&](const Task& task) {
    return IsOver(task) && (!principal || task.principal == *principal);
  });
  if (oldest == tasks_.end()) return false;
  tasks_.erase(oldest);
  return true;
}

Tasks::Task* Tasks::Create(const std::string& principal, std::shared_ptr<RunningCall> call) {
  Forget();
  const auto own = std::count_if(tasks_.begin(), tasks_.end(), [&](const Task& task) { return task.principal == principal; });
  if (static_cast<size_t>(own) >= kMaxOfPrincipal && !ForgetOldest(&principal)) return nullptr;
  if (tasks_.size() >= kMaxTasks && !ForgetOldest(nullptr)) return nullptr;
  Task& task = tasks_.emplace_back();
  task.id = "task_" + RandomHex(16);
  task.principal = principal;
  task.call = std::move(call);
  task.call->Mute();
  task.wake = std::make_shared<asio::steady_timer>(loop_);
  return &task;
}

Tasks::Task* Tasks::Find(const std::string& id, const std::string& principal) {
  const auto found = std::find_if(tasks_.begin(), tasks_.end(),
                                  [&](const Task& task) { return task.id == id && task.principal == principal; });
  return found == tasks_.end() ? nullptr : &*found;
}

aima::Task<absl::StatusOr<json>> Tasks::Ask(std::string id, json requests) {
  // Looked up again after each wait: one that was cancelled may be forgotten meanwhile.
  const auto find = [&]() -> Task* {
    const auto entry = std::find_if(tasks_.begin(), tasks_.end(), [&](const Task& task) { return task.id == id; });
    return entry == tasks_.end() ? nullptr : &*entry;
  };
  Task* task = find();
  if (!task) co_return Error(unit::v1::CANCELLED, "the task is forgotten");
  task->pending = std::move(requests);
  task->answers = json::object();
  task->call->Touch();
  const auto wake = task->wake;
  wake->expires_after(absl::ToChronoSeconds(kLifetime));
  while (!task->pending.empty()) {
    const auto [error] = co_await wake->async_wait(asio::as_tuple(asio::use_awaitable));
    if (!error) co_return Error(unit::v1::DEADLINE_EXCEEDED, "the client has not answered");
    task = find();
    if (!task) co_return Error(unit::v1::CANCELLED, "the task is forgotten");
  }
  co_return std::move(task->answers);
}

void Tasks::Trim(const RunningCall& ended) {
  std::vector<std::list<Task>::iterator> earlier;
  size_t bytes = ended.bytes();
  for (auto task = tasks_.begin(); task != tasks_.end(); ++task) {
    if (task->principal != ended.caller().principal || task->call.get() == &ended || !task->call->done()) continue;
    earlier.push_back(task);
    bytes += task->call->bytes();
  }
  std::sort(earlier.begin(), earlier.end(),
            [](const auto& a, const auto& b) { return a->call->changed() < b->call->changed(); });
  for (const auto& task : earlier) {
    if (bytes <= kMaxBytesOfPrincipal) return;
    bytes -= task->call->bytes();
    tasks_.erase(task);
  }
}

void Tasks::Update(Task& task, const json& responses) {
  for (const auto& [key, response] : responses.items()) {
    if (task.pending.erase(key) == 0) continue;
    task.answers[key] = response;
    task.call->Touch();
  }
  if (task.pending.empty()) task.wake->cancel();
}

void Tasks::Clear() {
  for (Task& task : tasks_) task.call->Cancel();
}

json Tasks::ToJson(const Task& task, bool detailed) {
  const RunningCall& call = *task.call;
  json result = {{"taskId", task.id},
                 {"status", StatusOf(task)},
                 {"createdAt", TimeText(task.created)},
                 {"lastUpdatedAt", TimeText(call.changed())},
                 {"ttlMs", absl::ToInt64Milliseconds(kLifetime)},
                 {"pollIntervalMs", kPollMs}};
  if (!call.news().empty()) result["statusMessage"] = call.news();
  if (!detailed) return result;
  if (!task.pending.empty() && !call.done()) result["inputRequests"] = task.pending;
  if (!call.done() || call.cancelled()) return result;
  const Outcome& outcome = call.outcome();
  if (outcome.kind == Outcome::kFailure) {
    result["error"] = {{"code", outcome.error.code}, {"message", outcome.error.message}};
    if (!outcome.error.data.is_null()) result["error"]["data"] = outcome.error.data;
  } else {
    result["result"] = json::parse(outcome.result, nullptr, false);
    if (!outcome.meta.empty()) result["result"]["_meta"] = json::parse("{" + outcome.meta + "}", nullptr, false);
  }
  return result;
}

}  // namespace aima::gateway::mcp
