#include "services/inference/dispatcher.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <utility>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "libs/http/unsent.h"

namespace aima::inference {
namespace {

constexpr int kServiceUnavailable = 503;
constexpr absl::Duration kFirstPause = absl::Milliseconds(50);
constexpr absl::Duration kLongestPause = absl::Seconds(1);
// An engine that has listed itself as running and yet loads for longer than this is not worth waiting for.
constexpr absl::Duration kLoadsFor = absl::Minutes(2);
constexpr absl::Duration kTellFor = absl::Seconds(10);

http::Endpoint AddressOf(const Endpoint& engine) {
  http::Endpoint address;
  address.host = engine.host;
  address.port = engine.port;
  return address;
}

http::Request ToHttp(EngineRequest request, const Endpoint& engine) {
  http::Request message;
  message.method = std::move(request.method);
  message.target = std::move(request.path);
  if (!request.body.empty()) message.headers.Add("Content-Type", std::move(request.content_type));
  if (!engine.api_key.empty()) message.headers.Add("Authorization", absl::StrCat("Bearer ", engine.api_key));
  message.body = std::move(request.body);
  return message;
}

}  // namespace

RequestLog::RequestLog(events::Outbox& outbox, const CallContext& call, std::string model, const char* type)
    : outbox_(outbox), call_(call), model_(std::move(model)), type_(type) {}

RequestLog::~RequestLog() {
  if (!ended_) Failed(Error(unit::v1::CANCELLED, "the caller left")).IgnoreError();
}

void RequestLog::Started(const ModelRecord& model, const Endpoint& engine) {
  queued_ = age();
  model_ = model.id;
  v1::RequestStarted event;
  event.set_request_id(call_.request_id);
  event.set_model(model_);
  event.set_type(type_);
  event.set_instance_id(engine.instance_id);
  outbox_.Tell(call_, event);
}

void RequestLog::Completed(int64_t tokens) {
  ended_ = true;
  const absl::Duration duration = age();
  v1::RequestCompleted event;
  event.set_request_id(call_.request_id);
  event.mutable_duration()->set_seconds(absl::ToInt64Seconds(duration));
  event.mutable_duration()->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(duration) % 1'000'000'000));
  event.set_tokens(tokens);
  event.set_model(model_);
  event.set_type(type_);
  outbox_.Tell(call_, event);
}

absl::Status RequestLog::Failed(absl::Status status) {
  if (std::exchange(ended_, true)) return status;
  const ErrorDetails details = DetailsOf(status);
  v1::RequestFailed event;
  event.set_request_id(call_.request_id);
  event.set_error(details.message);
  event.set_reason(details.reason);
  event.set_model(model_);
  event.set_type(type_);
  outbox_.Tell(call_, event);
  return status;
}

Task<absl::Status> Dispatched::Broken(absl::Status cause) {
  co_await StopIfCancelled();
  if (!absl::IsUnavailable(cause)) co_return cause;
  const Endpoint& engine = lease.endpoint();
  const absl::Status status = Error(
      v1::INFERENCE_ENGINE_LOST,
      absl::StrCat("engine '", engine.instance_id, "' went away in the middle of its answer: ", cause.message()),
      {{"instance_id", engine.instance_id}, {"model", engine.model_id}});
  lease.MarkLost();
  co_return status;
}

Task<absl::StatusOr<Dispatched>> Dispatcher::Send(const CallContext& call, const Wanted& wanted, Ask ask, RequestLog& log,
                                                  const Make& make) {
  // What goes on at the engine without its caller is asked for once: another job would be nobody's.
  const bool once = ask == Ask::kGenerateVideo;
  bool told = false;
  absl::Duration pause = kFirstPause;
  int failures = 0;
  while (true) {
    Dispatched dispatched;
    CO_ASSIGN_OR_RETURN(dispatched.lease, co_await router_.Acquire(call, wanted, ask));
    const Endpoint& engine = dispatched.engine();
    if (!std::exchange(told, true)) log.Started(dispatched.lease.model(), engine);
    const absl::Time give_up = std::min(call.deadline, absl::Now() + kLoadsFor);
    while (true) {
      CO_ASSIGN_OR_RETURN(EngineRequest request, make(engine));
      http::Request message = ToHttp(std::move(request), engine);
      if (once) message.headers.Add("Connection", "close");
      dispatched.sent = absl::Now();
      absl::StatusOr<std::unique_ptr<http::ResponseStream>> answer =
          co_await http_.Open(AddressOf(engine), std::move(message), call.deadline);
      if (!answer.ok()) {
        co_await StopIfCancelled();
        if (!absl::IsUnavailable(answer.status())) co_return answer.status();
        const bool may_run = once && !http::NothingWasSent(answer.status());
        if (++failures == kMaxAttempts || may_run) co_return co_await dispatched.Broken(answer.status());
        dispatched.lease.MarkLost();
        break;  // elsewhere, or there again if the engine service still lists it
      }
      dispatched.answer = *std::move(answer);
      // An engine listens before it has loaded its model.
      if (dispatched.answer->status() != kServiceUnavailable || absl::Now() + pause >= give_up)
        co_return dispatched;
      dispatched.answer.reset();
      co_await Pause(pause);
      pause = std::min(pause * 2, kLongestPause);
    }
    dispatched.lease.Release();
    co_await Pause(pause);
    pause = std::min(pause * 2, kLongestPause);
  }
}

Task<absl::Status> Dispatcher::Again(Dispatched& dispatched, EngineRequest request, absl::Time deadline) {
  dispatched.answer.reset();
  absl::StatusOr<std::unique_ptr<http::ResponseStream>> answer =
      co_await http_.Open(AddressOf(dispatched.engine()), ToHttp(std::move(request), dispatched.engine()), deadline);
  if (!answer.ok()) co_return co_await dispatched.Broken(answer.status());
  dispatched.answer = *std::move(answer);
  co_return absl::OkStatus();
}

void Dispatcher::Tell(const Endpoint& engine, EngineRequest request) {
  const auto send = [](http::Client& http, http::Endpoint address, http::Request message) -> Task<absl::Status> {
    co_return (co_await http.Send(std::move(address), std::move(message), absl::Now() + kTellFor)).status();
  };
  Flight::Launch(loop_, send(http_, AddressOf(engine), ToHttp(std::move(request), engine)));
}

Task<void> Dispatcher::Pause(absl::Duration duration) {
  Waiter waiter(loop_);
  co_await waiter.Wait(absl::Now() + duration);
}

Task<absl::StatusOr<std::string>> ReadAll(http::ResponseStream& answer, size_t limit) {
  std::string body;
  while (true) {
    CO_ASSIGN_OR_RETURN(const std::optional<std::string> bytes, co_await answer.Next());
    if (!bytes) co_return body;
    if (body.size() + bytes->size() > limit) {
      co_return Error(v1::INFERENCE_ENGINE_FAILED,
                      absl::StrCat("the engine's answer is larger than ", limit, " bytes"));
    }
    body += *bytes;
  }
}

}  // namespace aima::inference
