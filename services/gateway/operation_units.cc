#include "services/gateway/operation_units.h"

#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "aima/unit/v1/errors.pb.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "libs/unit/json_codec.h"
#include "services/gateway/envelope.h"

namespace aima::gateway {
namespace {

using nlohmann::json;
using operations::State;

constexpr absl::Duration kLongestTimeout = absl::Hours(24);

// The same bytes for the same message, so that a repeated start is recognized.
std::string Serialize(const google::protobuf::Message& message) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream out(&stream);
  out.SetSerializationDeterministic(true);
  message.SerializeToCodedStream(&out);
  out.Trim();
  return bytes;
}

void SetTime(const absl::Time& time, google::protobuf::Timestamp& timestamp) {
  const int64_t micros = absl::ToUnixMicros(time);
  timestamp.set_seconds(micros / 1'000'000);
  timestamp.set_nanos(static_cast<int>(micros % 1'000'000) * 1000);
}

v1::OperationStatus StatusOf(State state) {
  switch (state) {
    case State::kPending: return v1::OPERATION_STATUS_PENDING;
    case State::kRunning: return v1::OPERATION_STATUS_RUNNING;
    case State::kSucceeded: return v1::OPERATION_STATUS_SUCCEEDED;
    case State::kFailed: return v1::OPERATION_STATUS_FAILED;
    case State::kCancelled: return v1::OPERATION_STATUS_CANCELLED;
    case State::kUnknown: return v1::OPERATION_STATUS_UNKNOWN;
  }
  return v1::OPERATION_STATUS_UNSPECIFIED;
}

std::optional<State> StateOf(v1::OperationStatus status) {
  for (State state : {State::kPending, State::kRunning, State::kSucceeded, State::kFailed, State::kCancelled, State::kUnknown}) {
    if (StatusOf(state) == status) return state;
  }
  return std::nullopt;
}

absl::Status NoSuchOperation(const std::string& id) {
  return Error(v1::OPERATION_NOT_FOUND, absl::StrCat("there is no operation '", id, "'"), {{"operation_id", id}});
}

}  // namespace

absl::StatusOr<operations::Operations*> OperationUnits::Library() const {
  if (parts_.operations) return parts_.operations;
  return Error(unit::v1::UNAVAILABLE, "operations are kept in PostgreSQL, and database.url is empty");
}

Caller OperationUnits::CallerOf(const CallContext& call) const {
  return parts_.keys.Named(call.principal);
}

v1::Operation OperationUnits::ToMessage(const operations::Operation& operation) const {
  v1::Operation message;
  message.set_id(operation.id);
  message.set_unit(operation.unit);
  message.set_status(StatusOf(operation.state));
  const UnitInfo* unit = parts_.catalogue.Find(operation.unit);
  if (operation.state == State::kSucceeded && unit && unit->unary) {
    message.mutable_result()->set_type_url("type.googleapis.com/" + unit->unary->output_type()->full_name());
    message.mutable_result()->set_value(operation.result);
  }
  if (!operation.error.ok()) {
    const ErrorDetails details = DetailsOf(operation.error);
    message.mutable_error()->set_code(details.reason);
    message.mutable_error()->set_message(details.message);
    const json error = json::parse(ErrorJson(operation.error), nullptr, /*allow_exceptions=*/false);
    if (error.is_object()) ParseJson(error["details"], *message.mutable_error()->mutable_details()).IgnoreError();
  }
  if (!operation.progress.empty()) message.mutable_progress()->ParseFromString(operation.progress);
  message.set_principal(operation.principal);
  message.set_trace_id(operation.trace_id);
  message.set_idempotency_key(operation.idempotency_key);
  message.set_attempts(operation.attempts);
  message.set_cancel_requested(operation.cancel_requested);
  SetTime(operation.created, *message.mutable_create_time());
  if (operation.started) SetTime(*operation.started, *message.mutable_start_time());
  if (operation.finished) SetTime(*operation.finished, *message.mutable_finish_time());
  SetTime(operation.deadline, *message.mutable_deadline());
  return message;
}

Task<absl::StatusOr<v1::Operation>> OperationUnits::Begin(const CallContext& call, const UnitInfo& unit,
                                                          const json& input, RunOptions options) {
  CO_ASSIGN_OR_RETURN(const operations::Operation operation, co_await Record(call, unit, input, std::move(options)));
  co_return ToMessage(operation);
}

Task<absl::StatusOr<operations::Operation>> OperationUnits::Record(const CallContext& call, const UnitInfo& unit,
                                                                   const json& input, RunOptions options) {
  if (!unit.unary) co_return InvalidInput("unit", absl::StrCat(unit.name, " streams, so it cannot be an operation"));
  if (unit.domain == "gateway") co_return InvalidInput("unit", absl::StrCat(unit.name, " is about operations and is none"));
  CO_ASSIGN_OR_RETURN(operations::Operations* const library, Library());
  if (options.idempotency_key.size() > 200) co_return InvalidInput("idempotency_key", "has more than 200 bytes");
  CO_ASSIGN_OR_RETURN(const std::unique_ptr<google::protobuf::Message> request,
                      parts_.runner.Read(*unit.unary, input, options, /*check=*/true));
  const auto* key = request->GetDescriptor()->FindFieldByName("idempotency_key");
  const absl::Duration own = std::max(timeout_, absl::Milliseconds(unit.timeout_ms()));
  operations::Operation order;
  order.unit = unit.name;
  order.input = Serialize(*request);
  order.principal = call.principal;
  order.role = call.role;
  order.trace_id = call.trace_id;
  order.idempotency_key = key ? request->GetReflection()->GetString(*request, key) : options.idempotency_key;
  order.deadline =
      absl::Now() + std::min(options.timeout > absl::ZeroDuration() ? options.timeout : own, kLongestTimeout);
  co_return co_await library->Start(call, std::move(order));
}

Task<absl::StatusOr<v1::Operation>> OperationUnits::Start(CallContext& call, const v1::StartRequest& request) {
  const Caller caller = CallerOf(call);
  CO_ASSIGN_OR_RETURN(const UnitInfo* unit, parts_.runner.Find(request.unit(), "", caller));
  CallContext traced = call;
  traced.role = RoleName(caller.role);
  if (!request.trace_id().empty()) traced.trace_id = request.trace_id();
  RunOptions options;
  options.timeout = absl::Milliseconds(request.timeout());
  options.idempotency_key = request.idempotency_key();
  const json input = json::parse(ToJson(request.input()), nullptr, /*allow_exceptions=*/false);
  co_return co_await Begin(traced, *unit, input, std::move(options));
}

Task<absl::StatusOr<operations::Operation>> OperationUnits::FindFor(const CallContext& call, const std::string& id,
                                                                    bool with_result) {
  CO_ASSIGN_OR_RETURN(operations::Operations* const library, Library());
  CO_ASSIGN_OR_RETURN(std::optional<operations::Operation> operation, co_await library->Find(call, id, with_result));
  // Somebody else's operation is nobody's business, and an admin's.
  const bool sees = operation && (operation->principal == call.principal || CallerOf(call).role == Role::kAdmin);
  if (!sees) co_return NoSuchOperation(id);
  co_return *std::move(operation);
}

Task<absl::StatusOr<v1::Operation>> OperationUnits::Get(CallContext& call, const v1::GetRequest& request) {
  CO_ASSIGN_OR_RETURN(const operations::Operation operation, co_await FindFor(call, request.operation_id()));
  co_return ToMessage(operation);
}

Task<absl::StatusOr<v1::ListResponse>> OperationUnits::List(CallContext& call, const v1::ListRequest& request) {
  CO_ASSIGN_OR_RETURN(operations::Operations* const library, Library());
  operations::Filter filter;
  if (CallerOf(call).role != Role::kAdmin) filter.principal = call.principal;
  filter.state = StateOf(request.status());
  filter.unit = request.unit();
  filter.after = request.page_token();
  filter.limit = request.limit() + 1;  // one more tells whether there are more
  CO_ASSIGN_OR_RETURN(const std::vector<operations::Operation> found, co_await library->List(call, filter));
  v1::ListResponse response;
  const size_t size = std::min(found.size(), static_cast<size_t>(request.limit()));
  for (size_t i = 0; i < size; ++i) {
    *response.add_operations() = ToMessage(found[i]);
    response.mutable_operations()->rbegin()->clear_result();
  }
  if (found.size() > size) response.set_next_page_token(found[size - 1].id);
  co_return response;
}

Task<absl::StatusOr<v1::DeleteResponse>> OperationUnits::Delete(CallContext& call, const v1::DeleteRequest& request) {
  const std::string& id = request.operation_id();
  CO_ASSIGN_OR_RETURN(const operations::Operation found, co_await FindFor(call, id, /*with_result=*/false));
  if (!found.ended()) CO_RETURN_IF_ERROR((co_await parts_.operations->Cancel(call, id)).status());
  CO_ASSIGN_OR_RETURN(const std::optional<operations::Operation> removed, co_await parts_.operations->Remove(call, id));
  if (!removed) {
    // Somebody else was faster, or its end is on its way.
    CO_RETURN_IF_ERROR((co_await FindFor(call, id, /*with_result=*/false)).status());
    co_return Error(unit::v1::UNAVAILABLE, absl::StrCat("operation '", id, "' has not ended yet; try again"));
  }
  if (parts_.clean_up) co_await parts_.clean_up(call, *removed);
  v1::DeleteResponse response;
  response.set_id(id);
  co_return response;
}

Task<absl::StatusOr<v1::Operation>> OperationUnits::Cancel(CallContext& call, const v1::CancelRequest& request) {
  CO_RETURN_IF_ERROR((co_await FindFor(call, request.operation_id(), /*with_result=*/false)).status());
  CO_ASSIGN_OR_RETURN(const std::optional<operations::Operation> operation,
                      co_await parts_.operations->Cancel(call, request.operation_id()));
  if (!operation) co_return NoSuchOperation(request.operation_id());
  co_return ToMessage(*operation);
}

Task<absl::StatusOr<v1::Operation>> OperationUnits::Wait(CallContext& call, const v1::WaitRequest& request) {
  const absl::Time until = std::min(absl::Now() + absl::Milliseconds(request.timeout()), call.deadline);
  CO_ASSIGN_OR_RETURN(operations::Operation seen, co_await FindFor(call, request.operation_id()));
  while (!seen.ended() && absl::Now() < until) {
    CO_ASSIGN_OR_RETURN(std::optional<operations::Operation> next, co_await parts_.operations->Change(call, seen, until));
    if (!next) co_return NoSuchOperation(request.operation_id());
    seen = *std::move(next);
  }
  co_return ToMessage(seen);
}

Task<absl::Status> OperationUnits::WaitStream(CallContext& call, const v1::WaitRequest& request,
                                              StreamWriter<v1::Operation>& out) {
  const absl::Time until = std::min(absl::Now() + absl::Milliseconds(request.timeout()), call.deadline);
  CO_ASSIGN_OR_RETURN(operations::Operation seen, co_await FindFor(call, request.operation_id()));
  CO_RETURN_IF_ERROR(co_await out.Write(ToMessage(seen)));
  while (!seen.ended() && absl::Now() < until) {
    CO_ASSIGN_OR_RETURN(std::optional<operations::Operation> next, co_await parts_.operations->Change(call, seen, until));
    if (!next) co_return NoSuchOperation(request.operation_id());
    seen = *std::move(next);
    CO_RETURN_IF_ERROR(co_await out.Write(ToMessage(seen)));
  }
  co_return absl::OkStatus();
}

}  // namespace aima::gateway
