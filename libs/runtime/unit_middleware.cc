#include "libs/runtime/unit_middleware.h"

#include <absl/cleanup/cleanup.h>
#include <absl/strings/str_cat.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>
#include <optional>

#include "aima/unit/v1/errors.pb.h"
#include "libs/errors/errors.h"
#include "libs/events/events.h"

namespace aima::runtime {

namespace asio = boost::asio;
using google::protobuf::Message;

namespace {

// Tells two commands with the same key apart: the same bytes are the same command. FNV-1a, which is the same in
// every process and release.
std::string FingerprintOf(const Message& request) {
  std::string bytes;
  {
    // Maps in a fixed order: a command that is repeated after a restart must be the same bytes.
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream out(&stream);
    out.SetSerializationDeterministic(true);
    request.SerializeToCodedStream(&out);
  }
  uint64_t hash = 14695981039346656037u;
  for (unsigned char byte : bytes) hash = (hash ^ byte) * 1099511628211u;
  return absl::StrCat(absl::Hex(hash, absl::kZeroPad16), "-", bytes.size());
}

}  // namespace

UnitMiddleware::UnitMiddleware(Loop& loop, prometheus::Registry& registry, pg::Database& db)
    : loop_(loop), db_(db), metrics_(registry) {}

Task<absl::Status> UnitMiddleware::operator()(CallContext& call, const Method& method, const Message& request,
                                              Message* response, std::function<Task<absl::Status>()> next) {
  const absl::Time start = absl::Now();
  metrics_.SetInFlight(++in_flight_);
  std::optional<absl::Status> status;
  // Also when the handler is cancelled, which leaves by an exception.
  absl::Cleanup end = [&] {
    metrics_.SetInFlight(--in_flight_);
    const absl::Duration duration = absl::Now() - start;
    if (!status) status = absl::CancelledError("the caller has gone");
    metrics_.Count(call.unit, status->ok() ? "OK" : DetailsOf(*status).reason, duration);
    Log(call, *status, duration);
  };
  const bool keyed = method.options.kind() == unit::v1::COMMAND && response && !call.idempotency_key.empty();
  if (keyed) {
    call.fingerprint = FingerprintOf(request);
    status = co_await Once(call, request, *response, std::move(next));
  } else {
    status = co_await next();
  }
  co_return absl::Status(*status);  // a copy: `end` still reads it
}

Task<absl::Status> UnitMiddleware::Once(CallContext& call, const Message& request, Message& response,
                                        std::function<Task<absl::Status>()> next) {
  const std::string name = absl::StrCat(call.principal, "\n", call.unit, "\n", call.idempotency_key);
  while (keys_.count(name)) {
    const std::shared_ptr<asio::steady_timer> first = keys_[name];
    co_await first->async_wait(asio::as_tuple(asio::use_awaitable));
  }
  auto& mine = keys_[name];
  mine = std::make_shared<asio::steady_timer>(loop_, asio::steady_timer::time_point::max());
  absl::Cleanup done = [this, name] {
    keys_[name]->cancel();
    keys_.erase(name);
  };
  CO_ASSIGN_OR_RETURN(const bool replayed, co_await Replay(call, response));
  if (replayed) co_return absl::OkStatus();
  absl::Status status = co_await next();
  if (status.ok()) {
    // Most handlers have committed their reply with their change; for the others it is kept now.
    co_await events::KeepReply(db_, call, response);
  } else if (pg::SqlState(status) == pg::kUniqueViolation) {
    // Another process may have committed this very command in between.
    CO_ASSIGN_OR_RETURN(const bool found, co_await Replay(call, response));
    if (found) co_return absl::OkStatus();
  }
  co_return status;
}

Task<absl::StatusOr<bool>> UnitMiddleware::Replay(CallContext& call, Message& response) {
  CO_ASSIGN_OR_RETURN(const std::optional<events::StoredReply> reply, co_await events::FindReply(db_, call));
  if (!reply) co_return false;
  if (reply->fingerprint != call.fingerprint) {
    co_return Error(unit::v1::IDEMPOTENCY_KEY_REUSED,
                    absl::StrCat("the key '", call.idempotency_key, "' was used for another ", call.unit));
  }
  if (!response.ParseFromString(reply->response)) co_return absl::InternalError("the stored reply cannot be read");
  co_return true;
}

void UnitMiddleware::Log(const CallContext& call, const absl::Status& status, absl::Duration duration) {
  if (status.ok()) {
    spdlog::info("call unit={} code=OK ms={:.2f} request={} trace={} principal={}", call.unit,
                 absl::ToDoubleMilliseconds(duration), call.request_id, call.trace_id, call.principal);
    return;
  }
  const ErrorDetails details = DetailsOf(status);
  const bool ours = status.code() == absl::StatusCode::kInternal || status.code() == absl::StatusCode::kUnknown;
  // That a caller leaves is how endless streams end.
  const bool ordinary = status.code() == absl::StatusCode::kCancelled;
  spdlog::log(ours ? spdlog::level::err : ordinary ? spdlog::level::info : spdlog::level::warn,
              "call unit={} code={} ms={:.2f} request={} trace={} principal={} error={}", call.unit, details.reason,
              absl::ToDoubleMilliseconds(duration), call.request_id, call.trace_id, call.principal, details.message);
}

}  // namespace aima::runtime
