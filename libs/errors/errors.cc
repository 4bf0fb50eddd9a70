#include "libs/errors/errors.h"

#include <absl/strings/cord.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include <optional>

#include "aima/unit/v1/unit.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "libs/base/utf8.h"

namespace aima {
namespace {

namespace v1 = unit::v1;
using google::protobuf::EnumValueDescriptor;

constexpr char kErrorInfoUrl[] = "type.googleapis.com/google.rpc.ErrorInfo";
constexpr char kBadRequestUrl[] = "type.googleapis.com/google.rpc.BadRequest";
constexpr char kReasonUrl[] = "type.googleapis.com/aima.unit.v1.Reason";

// Metadata of an error about the method of an HTTP request: the methods that the address takes.
constexpr char kAllow[] = "allow";

template <class Message>
std::optional<Message> PayloadOf(const absl::Status& status, const char* url) {
  auto payload = status.GetPayload(url);  // absl::optional: Debian builds abseil as C++14
  Message message;
  if (!payload || !message.ParseFromString(std::string(*payload))) return std::nullopt;
  return message;
}

v1::CommonReason CommonReasonOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kCancelled: return v1::CANCELLED;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange: return v1::INVALID_INPUT;
    case absl::StatusCode::kDeadlineExceeded: return v1::DEADLINE_EXCEEDED;
    case absl::StatusCode::kUnimplemented: return v1::UNIT_NOT_FOUND;
    case absl::StatusCode::kNotFound: return v1::RESOURCE_NOT_FOUND;
    case absl::StatusCode::kPermissionDenied: return v1::PERMISSION_DENIED;
    case absl::StatusCode::kUnauthenticated: return v1::UNAUTHENTICATED;
    case absl::StatusCode::kResourceExhausted: return v1::OVERLOADED;
    case absl::StatusCode::kUnavailable: return v1::UNAVAILABLE;
    default: return v1::INTERNAL_ERROR;
  }
}

}  // namespace

absl::Status ErrorOf(const EnumValueDescriptor* value, absl::string_view message, Metadata metadata) {
  const v1::Reason& reason = value->options().GetExtension(v1::reason);
  // What it says may come from anywhere, and must not make the whole unreadable.
  absl::Status status(static_cast<absl::StatusCode>(reason.code()), ValidUtf8(std::string(message)));
  google::rpc::ErrorInfo info;
  info.set_reason(value->name());
  info.set_domain("aima");
  for (auto& [key, text] : metadata) (*info.mutable_metadata())[ValidUtf8(key)] = ValidUtf8(text);
  status.SetPayload(kErrorInfoUrl, absl::Cord(info.SerializeAsString()));
  // The remedy travels too, because a caller in another process does not have this domain's descriptors.
  status.SetPayload(kReasonUrl, absl::Cord(reason.SerializeAsString()));
  return status;
}

absl::Status InvalidInput(std::vector<FieldViolation> violations) {
  google::rpc::BadRequest bad;
  std::vector<std::string> texts;
  for (const FieldViolation& violation : violations) {
    auto* added = bad.add_field_violations();
    added->set_field(ValidUtf8(violation.field));
    added->set_description(ValidUtf8(violation.description));
    texts.push_back(violation.field.empty() ? violation.description
                                            : absl::StrCat(violation.field, ": ", violation.description));
  }
  absl::Status status = Error(v1::INVALID_INPUT, absl::StrJoin(texts, "; "));
  status.SetPayload(kBadRequestUrl, absl::Cord(bad.SerializeAsString()));
  return status;
}

absl::Status InvalidInput(absl::string_view field, absl::string_view description) {
  return InvalidInput({{std::string(field), std::string(description)}});
}

ErrorDetails DetailsOf(const absl::Status& status) {
  ErrorDetails details;
  details.message = std::string(status.message());
  v1::Reason reason;
  if (std::optional<google::rpc::ErrorInfo> info = PayloadOf<google::rpc::ErrorInfo>(status, kErrorInfoUrl)) {
    details.reason = info->reason();
    details.metadata.insert(info->metadata().begin(), info->metadata().end());
    reason = PayloadOf<v1::Reason>(status, kReasonUrl).value_or(v1::Reason());
  } else {
    const EnumValueDescriptor* common = v1::CommonReason_descriptor()->FindValueByNumber(CommonReasonOf(status.code()));
    details.reason = common->name();
    reason = common->options().GetExtension(v1::reason);
  }
  details.remedy = reason.remedy();
  details.retryable = reason.retryable();
  if (details.metadata.contains(kAllow)) details.remedy = "Ask with a method that `Allow` names.";
  if (std::optional<google::rpc::BadRequest> bad = PayloadOf<google::rpc::BadRequest>(status, kBadRequestUrl)) {
    for (const auto& violation : bad->field_violations()) {
      details.violations.push_back({violation.field(), violation.description()});
    }
  }
  return details;
}

int HttpStatusOf(const absl::Status& status) {
  const ErrorDetails details = DetailsOf(status);
  if (details.reason == "TOO_LARGE") return 413;
  if (details.metadata.contains(kAllow)) return 405;
  switch (status.code()) {
    case absl::StatusCode::kOk: return 200;
    case absl::StatusCode::kCancelled: return 499;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange: return 400;
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kAborted: return 409;
    case absl::StatusCode::kNotFound: return 404;
    case absl::StatusCode::kPermissionDenied: return 403;
    case absl::StatusCode::kUnauthenticated: return 401;
    case absl::StatusCode::kResourceExhausted: return 429;
    case absl::StatusCode::kUnimplemented: return 501;
    case absl::StatusCode::kUnavailable: return 503;
    case absl::StatusCode::kDeadlineExceeded: return 504;
    default: return 500;
  }
}

std::string SerializeDetails(const absl::Status& status) {
  google::rpc::Status wire;
  wire.set_code(static_cast<int>(status.code()));
  wire.set_message(ValidUtf8(std::string(status.message())));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    auto* any = wire.add_details();
    any->set_type_url(std::string(url));
    any->set_value(std::string(payload));
  });
  return wire.SerializeAsString();
}

absl::Status StatusFromWire(int code, absl::string_view message, absl::string_view details) {
  if (code == 0) return absl::OkStatus();
  absl::Status status(static_cast<absl::StatusCode>(code), message);
  google::rpc::Status wire;
  if (!details.empty() && wire.ParseFromArray(details.data(), static_cast<int>(details.size()))) {
    for (const auto& any : wire.details()) status.SetPayload(any.type_url(), absl::Cord(any.value()));
  }
  return status;
}

}  // namespace aima
