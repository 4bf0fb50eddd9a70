// What each method of the protocol does, in both eras, whatever the transport.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "services/gateway/mcp/directory.h"
#include "services/gateway/mcp/protocol.h"
#include "services/gateway/mcp/running_call.h"
#include "services/gateway/mcp/sealed_state.h"
#include "services/gateway/mcp/sessions.h"
#include "services/gateway/mcp/tasks.h"

namespace aima::gateway::mcp {

// One request on its way to an answer.
struct Request {
  Message message;
  Caller caller;
  CallContext context;
  const http::Headers& headers;
  bool modern = false;
  std::shared_ptr<Session> session;  // null if there is none
  std::string toolsets;              // the selection of tools that the client works with
  std::string label;                 // in logs and metrics
};

// An answer that was there at once: the text of a result, or an error.
struct Reply {
  std::string result;
  std::optional<RpcError> error;
  std::shared_ptr<Session> opened;  // by initialize

  static Reply Result(std::string text) { return {.result = std::move(text)}; }
  static Reply Error(int code, std::string message, json data = nullptr, int http_status = 0) {
    return {.error = RpcError{code, std::move(message), std::move(data), http_status}};
  }
};

// A method that takes its time.
struct Work {
  RunningCall::Work work;
  TaskUse tasks = TaskUse::kNever;
};

class Methods {
 public:
  Methods(Directory& directory, Sessions& sessions, Tasks& tasks)
      : directory_(directory), sessions_(sessions), tasks_(tasks) {}

  // True of the methods of either era.
  static bool Exists(const std::string& method, bool modern);

  // The answer to what needs no waiting; nullopt if Begin is to be called.
  std::optional<Reply> AnswerAtOnce(Request& request);
  // The work of a method that takes its time, or why it cannot begin.
  std::optional<RpcError> Begin(Request& request, Work& work);

  // What the client has declared and wants in this request.
  ClientTerms TermsOf(const Request& request) const;
  // The message that answers a request with an outcome.
  std::string Answer(const RunningCall& call, const Message& request, const Outcome& outcome) const;

  // Text of a result of either era: modern ones say that they are complete and who answers.
  static std::string Decorate(std::string_view result, bool modern, std::string_view meta = {},
                              std::string_view type = "complete");

 private:
  Reply Initialize(Request& request);
  Reply Discover(const Request& request);
  Reply List(const Request& request, const std::string& list);
  Reply ListTools(const Request& request);
  Reply SetLevel(const Request& request);
  Reply Unsubscribe(const Request& request);
  Reply TaskMethod(const Request& request);
  json Capabilities(bool modern) const;

  std::optional<RpcError> ReadInput(const Request& request, Input& input) const;
  std::optional<RpcError> BeginTool(Request& request, Work& work);
  std::optional<RpcError> BeginPrompt(Request& request, Work& work);
  std::optional<RpcError> BeginRead(Request& request, Work& work);
  std::optional<RpcError> BeginSubscription(Request& request, Work& work);
  std::optional<RpcError> BeginCompletion(Request& request, Work& work);

  Directory& directory_;
  Sessions& sessions_;
  Tasks& tasks_;
  const SealedState sealed_;
};

// Nothing is there at `uri`, as each era says it.
RpcError NothingAt(const std::string& uri, bool modern);

}  // namespace aima::gateway::mcp
