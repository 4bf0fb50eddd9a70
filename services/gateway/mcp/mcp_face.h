// MCP over HTTP: /mcp, /mcp/x/<toolsets> and /mcp/readonly.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "aima/config/v1/config.pb.h"
#include "libs/http/server.h"
#include "services/gateway/edge.h"
#include "services/gateway/mcp/methods.h"

namespace aima::gateway::mcp {

// One HTTP request, and what the log is to say about it.
struct Visit {
  http::Exchange& exchange;
  http::Request& request;
  std::string path;  // decoded, without query
  Caller caller;
  CallContext context;
  std::string unit = "mcp";  // label of logs and metrics
  std::string outcome = "OK";
};

// Used on the loop.
class McpFace {
 public:
  // `sources` outlive the face.
  McpFace(Loop& loop, const config::v1::Config& config, const Edge& edge, std::vector<Source*> sources);

  // True of paths that are this face's.
  static bool Owns(std::string_view path);

  // Answers one request; the caller has been admitted.
  Task<void> Handle(Visit& visit);

  // What a request for /mcp gets that is refused before it comes here: the error in the form of this face.
  http::Response Refused(const http::Request& request, const absl::Status& status, int http_status) const;

  // Ends all calls, sessions and watches; returns when none is left.
  Task<void> Shutdown();

 private:
  Task<void> Post(Visit& visit);
  Task<void> Get(Visit& visit);
  Task<void> Delete(Visit& visit);
  Task<void> Metadata(Visit& visit);

  Task<void> Answer(Visit& visit, Request& request);
  Task<void> Run(Visit& visit, Request& request);
  Task<void> Listen(Visit& visit, Request& request);
  // Hands out the messages of an outbox from number `from` on: as one JSON text if the answer is the first of them, else
  // as a stream. `json_status` is the HTTP status of the former; without it, it is a stream in any case. `stream` is its
  // number in the session, by which it can be taken up again; 0 is none, and what was delivered is forgotten. Ends when
  // somebody else begins to read.
  Task<void> Deliver(Visit& visit, Outbox& outbox, size_t from, int64_t stream, std::function<int()> json_status,
                     bool prime);
  Task<absl::Status> Begin(Visit& visit);
  // Takes a notification or an answer of a client.
  void Take(const Message& message, const std::shared_ptr<Session>& session);

  // The session that the request names. `missing` if it names one that is not there.
  std::shared_ptr<Session> SessionOf(const Visit& visit, bool& missing);
  absl::StatusOr<std::string> ToolsetsOf(const Visit& visit) const;
  std::string BaseUrl(const http::Request& request) const;

  Task<void> Send(Visit& visit, int status, std::string body, http::Headers headers = {});
  Task<void> SendError(Visit& visit, const json& id, const RpcError& error);
  Task<void> NotAllowed(Visit& visit, const char* allow);

  Loop& loop_;
  const bool tls_;
  const Edge& edge_;
  Directory directory_;
  Sessions sessions_;
  Tasks tasks_;
  Methods methods_;
  std::vector<std::weak_ptr<RunningCall>> calls_;  // those that run, and some that are over
  size_t sweep_at_ = 64;
};

}  // namespace aima::gateway::mcp
