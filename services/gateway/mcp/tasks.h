// Calls that go on after their answer: the extension io.modelcontextprotocol/tasks.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <list>
#include <memory>
#include <string>

#include "services/gateway/mcp/running_call.h"

namespace aima::gateway::mcp {

inline constexpr char kTasksExtension[] = "io.modelcontextprotocol/tasks";

// In memory: tasks end with this process, as the calls do that they stand for. Used on the loop.
class Tasks {
 public:
  explicit Tasks(Loop& loop) : loop_(loop) {}

  struct Task {
    std::string id;
    std::string principal;
    std::shared_ptr<RunningCall> call;
    absl::Time created = absl::Now();
    json pending = json::object();  // requests that the client has not answered
    json answers = json::object();
    std::shared_ptr<boost::asio::steady_timer> wake;
  };

  // Of one principal; of all there are at most kMaxTasks.
  static constexpr size_t kMaxOfPrincipal = 200;
  static constexpr size_t kMaxBytesOfPrincipal = 64 << 20;

  // Who has too many loses the oldest that is done; null if none is.
  Task* Create(const std::string& principal, std::shared_ptr<RunningCall> call);
  // For when a call has ended: forgets the results of its principal that came first until the rest has at most
  // kMaxBytesOfPrincipal. What has just come stays in any case, so that its client can have it.
  void Trim(const RunningCall& ended);
  // Null if there is none of this id for this principal.
  Task* Find(const std::string& id, const std::string& principal);

  // Waits until the client has answered all requests through Update.
  aima::Task<absl::StatusOr<json>> Ask(std::string id, json requests);
  void Update(Task& task, const json& responses);
  void Clear();

  // Members of the task itself; `detailed` adds the result, the error or the requests that are open.
  static json ToJson(const Task& task, bool detailed);

 private:
  static bool IsOver(const Task& task);
  void Forget();
  // Forgets the oldest task that is done, of this principal or, without one, of all. False if there is none.
  bool ForgetOldest(const std::string* principal);

  Loop& loop_;
  std::list<Task> tasks_;  // oldest first
};

}  // namespace aima::gateway::mcp
