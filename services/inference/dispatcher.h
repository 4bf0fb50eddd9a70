// Brings a request to an engine.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <memory>
#include <string>

#include "libs/events/outbox.h"
#include "libs/http/client.h"
#include "services/inference/dialect.h"
#include "services/inference/router.h"

namespace aima::inference {

// Tells the events of one request: started when an engine has it, then completed or failed. A request that is
// neither completed nor failed when this is destroyed was cancelled.
class RequestLog {
 public:
  // `call` must outlive it.
  RequestLog(events::Outbox& outbox, const CallContext& call, std::string model, const char* type);
  ~RequestLog();
  RequestLog(const RequestLog&) = delete;
  RequestLog& operator=(const RequestLog&) = delete;

  void Started(const ModelRecord& model, const Endpoint& engine);
  void Completed(int64_t tokens);
  // Returns the status, for `return log.Failed(status)`.
  absl::Status Failed(absl::Status status);

  absl::Duration age() const { return absl::Now() - began_; }
  // Until an engine was free.
  absl::Duration queued() const { return queued_; }

 private:
  events::Outbox& outbox_;
  const CallContext& call_;
  std::string model_;
  const char* const type_;
  const absl::Time began_ = absl::Now();
  absl::Duration queued_;
  bool ended_ = false;
};

// An engine's answer and the place that the request holds there.
struct Dispatched {
  Router::Lease lease;  // outlives the answer: the place is free when the engine has stopped working
  std::unique_ptr<http::ResponseStream> answer;
  absl::Time sent;

  const Endpoint& engine() const { return lease.endpoint(); }
  // What an answer that broke off means; takes the engine out of the routing table if it is gone.
  Task<absl::Status> Broken(absl::Status cause);
};

class Dispatcher {
 public:
  // An engine gets a request again after at most this many failures to reach one.
  static constexpr int kMaxAttempts = 3;

  Dispatcher(Loop& loop, Router& router, http::Client& http) : loop_(loop), router_(router), http_(http) {}
  virtual ~Dispatcher() = default;

  // Sends what `make` makes for the chosen engine, within the call's deadline, and returns when the engine begins
  // to answer. Tries other engines, or the same one anew, while none has begun; waits for one that still loads.
  using Make = std::function<absl::StatusOr<EngineRequest>(const Endpoint&)>;
  Task<absl::StatusOr<Dispatched>> Send(const CallContext& call, const Wanted& wanted, Ask ask, RequestLog& log,
                                        const Make& make);

  // Asks the engine that already has the request something more about it; the answer replaces the one before.
  Task<absl::Status> Again(Dispatched& dispatched, EngineRequest request, absl::Time deadline);
  // Tells an engine something, whoever has left and whatever it answers.
  void Tell(const Endpoint& engine, EngineRequest request);
  // A fuzzer has no time to let pass.
  virtual Task<void> Pause(absl::Duration duration);

 private:
  Loop& loop_;
  Router& router_;
  http::Client& http_;
};

// The whole rest of an answer, up to `limit` bytes.
Task<absl::StatusOr<std::string>> ReadAll(http::ResponseStream& answer, size_t limit);

}  // namespace aima::inference
