// What every unit call gets, whatever the domain: a log line, metrics, and commands applied once per key.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <prometheus/registry.h>

#include <memory>
#include <string>

#include "libs/pg/database.h"
#include "libs/runtime/method.h"
#include "libs/telemetry/call_metrics.h"

namespace aima::runtime {

// Used on the loop.
class UnitMiddleware {
 public:
  // `db` holds the replies of earlier commands.
  UnitMiddleware(Loop& loop, prometheus::Registry& registry, pg::Database& db);

  Task<absl::Status> operator()(CallContext& call, const Method& method, const google::protobuf::Message& request,
                                google::protobuf::Message* response, std::function<Task<absl::Status>()> next);

 private:
  // Runs a command that carries a key: replays its reply if there is one, else runs it and keeps the reply.
  Task<absl::Status> Once(CallContext& call, const google::protobuf::Message& request,
                          google::protobuf::Message& response, std::function<Task<absl::Status>()> next);
  Task<absl::StatusOr<bool>> Replay(CallContext& call, google::protobuf::Message& response);
  void Log(const CallContext& call, const absl::Status& status, absl::Duration duration);

  Loop& loop_;
  pg::Database& db_;
  CallMetrics metrics_;
  int in_flight_ = 0;
  // Commands being served, by unit and key; a second one with the same key waits for the first.
  absl::flat_hash_map<std::string, std::shared_ptr<boost::asio::steady_timer>> keys_;
};

}  // namespace aima::runtime
