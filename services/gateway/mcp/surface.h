// What MCP shows of the gateway: tools, resources and prompts, and where they come from. The faces of both protocol eras
// work on these, and know neither units nor files.
#pragma once

#include <absl/status/status.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/call_context.h"
#include "libs/base/task.h"
#include "services/gateway/access.h"
#include "services/gateway/mcp/message.h"

namespace aima::gateway::mcp {

// When a call becomes a task for a client that knows tasks.
enum class TaskUse {
  kNever,
  kWhenSlow,    // once it has taken a moment
  kAlways,      // at once
  kAfterInput,  // at once after the input that it asked for has come
  kRequired,    // at once; clients that know no tasks cannot call it
};

// A property of a tool's input that clients repeat in a header, Mcp-Param-<header>, for load balancers.
struct HeaderParameter {
  std::string property;
  std::string header;
};

struct Tool {
  std::string name;
  std::vector<std::string> aliases;  // accepted in calls, never listed
  std::string label;                 // in logs and metrics, and in toolsets
  std::string domain;                // the toolset that it is in
  unit::v1::Access access = unit::v1::READ;
  bool read_only = false;
  TaskUse tasks = TaskUse::kNever;
  std::vector<HeaderParameter> headers;
  std::string entry;  // its entry in tools/list, JSON text
};

struct Resource {
  std::string uri;  // with {variables} if it is a template
  bool is_template = false;
  unit::v1::Access access = unit::v1::READ;
  std::string entry;
};

struct Prompt {
  std::string name;
  unit::v1::Access access = unit::v1::READ;
  std::string entry;
};

// What a call brings, and what it was given when it asked for more.
struct Input {
  json arguments = json::object();
  json responses = json::object();  // the client's answers, by the keys of the requests
  std::string state;                // what the outcome before held
};

// How a call went.
struct Outcome {
  enum Kind { kResult, kInputRequired, kFailure };

  Kind kind = kResult;
  std::string result;  // kResult: a JSON object
  std::string meta;    // members of its _meta, JSON text without braces; may be empty
  json requests;       // kInputRequired: {key: {"method": …, "params": …}}
  std::string state;   // kInputRequired: what the next round needs
  RpcError error;      // kFailure

  static Outcome Result(std::string result) { return {.result = std::move(result)}; }
  static Outcome Ask(json requests, std::string state = "") {
    return {.kind = kInputRequired, .requests = std::move(requests), .state = std::move(state)};
  }
  static Outcome Failure(int code, std::string message, json data = nullptr) {
    return {.kind = kFailure, .error = {code, std::move(message), std::move(data)}};
  }
};

// Levels of log messages, the mildest first.
inline constexpr std::string_view kLogLevels[] = {"debug", "info",     "notice", "warning",
                                                  "error", "critical", "alert",  "emergency"};

// A call while it runs.
class Call {
 public:
  virtual ~Call() = default;

  virtual const CallContext& context() const = 0;
  virtual const Caller& caller() const = 0;

  // True if the client wants to hear how far the call is.
  virtual bool wants_progress() const = 0;
  // Tells it; what does not exceed the progress before is left out. `total` 0 is not known.
  virtual void Progress(double progress, double total, std::string_view message) = 0;
  // Sends a log message if the client wants this level.
  virtual void Log(std::string_view level, const json& data) = 0;
  // Ends the connection that the answer goes to, and keeps the answer for when the client comes back.
  virtual void Disconnect() {}
};

// Answers to completion/complete.
struct Completion {
  std::vector<std::string> values;
};

// Where tools, resources and prompts come from. The lists stay as they are unless `version` grows.
class Source {
 public:
  virtual ~Source() = default;

  virtual const std::vector<Tool>& tools() const { return none<Tool>(); }
  virtual const std::vector<Resource>& resources() const { return none<Resource>(); }
  virtual const std::vector<Prompt>& prompts() const { return none<Prompt>(); }

  // True if the lists may change; `on_change` is called with tools, prompts or resources when one has.
  virtual bool lists_change() const { return false; }
  virtual void OnChange(std::function<void(std::string_view list)> on_change) {}

  virtual Task<Outcome> CallTool(Call& call, const Tool& tool, const Input& input);
  virtual Task<Outcome> GetPrompt(Call& call, const Prompt& prompt, const Input& input);

  // True if the address is one of this source's.
  virtual bool Owns(std::string_view uri) const { return false; }
  // A result with contents; RESOURCE_NOT_FOUND and NOT_FOUND in general mean that there is nothing there.
  virtual Task<absl::StatusOr<std::string>> Read(Call& call, const std::string& uri);
  // OK if the caller may read and watch the address.
  virtual absl::Status MayRead(const Caller& caller, const std::string& uri) const { return absl::OkStatus(); }
  // Calls `ready` once it knows what there is now, and `changed` after each change from then on, until that fails or the
  // caller is cancelled.
  virtual Task<absl::Status> Watch(CallContext call, std::string uri, std::function<void()> ready,
                                   std::function<Task<absl::Status>()> changed);

  // Values that begin with `begun` for a variable of a resource template or an argument of a prompt.
  virtual Task<Completion> CompleteVariable(Call& call, const Resource& resource, const std::string& name,
                                            const std::string& begun);
  virtual Task<Completion> CompleteArgument(Call& call, const Prompt& prompt, const std::string& name,
                                            const std::string& begun);

 private:
  template <class T>
  static const std::vector<T>& none() {
    static const std::vector<T>* empty = new std::vector<T>();
    return *empty;
  }
};

// A result of tools/call that is one text; `is_error` tells the model that the call failed, and why.
Outcome TextResult(std::string_view text, bool is_error = false);

}  // namespace aima::gateway::mcp
