// Errors are declared reasons: enum values of a proto that carry (aima.unit.v1.reason). A reason travels inside
// absl::Status as google.rpc.ErrorInfo and comes out as gRPC status details, HTTP status and JSON.
#pragma once

#include <absl/status/status.h>
#include <absl/strings/string_view.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/generated_enum_reflection.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "aima/unit/v1/errors.pb.h"

namespace aima {

using Metadata = std::map<std::string, std::string>;

// One wrong field of an input.
struct FieldViolation {
  std::string field;        // path, such as messages[2].role
  std::string description;  // what is wrong with it
};

// Of one input at most so many are told, and looked for: a caller can send millions of them.
inline constexpr size_t kMaxViolations = 20;

// An error with the declared reason `value`. `message` says what happened and names the thing; the reason's
// declared remedy is appended when the error is shown.
absl::Status ErrorOf(const google::protobuf::EnumValueDescriptor* value, absl::string_view message,
                     Metadata metadata = {});

// The same, spelled with the reason itself: Error(v1::MODEL_NOT_FOUND, "no model 'x'", {{"model_id", "x"}}).
template <class Enum>
absl::Status Error(Enum reason, absl::string_view message, Metadata metadata = {}) {
  return ErrorOf(google::protobuf::GetEnumDescriptor<Enum>()->FindValueByNumber(reason), message,
                 std::move(metadata));
}

// INVALID_INPUT with every wrong field.
absl::Status InvalidInput(std::vector<FieldViolation> violations);

// INVALID_INPUT for one field.
absl::Status InvalidInput(absl::string_view field, absl::string_view description);

// What an error says, however it was made. A status without a declared reason reports the common reason that
// fits its code.
struct ErrorDetails {
  std::string reason;   // MODEL_NOT_FOUND
  std::string message;
  std::string remedy;   // empty if none is declared
  bool retryable = false;
  Metadata metadata;
  std::vector<FieldViolation> violations;
};
ErrorDetails DetailsOf(const absl::Status& status);

// True if `status` carries the declared reason.
template <class Enum>
bool HasReason(const absl::Status& status, Enum reason) {
  return !status.ok() &&
         DetailsOf(status).reason == google::protobuf::GetEnumDescriptor<Enum>()->FindValueByNumber(reason)->name();
}

// The HTTP status that fits an error, as google.rpc.Code maps it.
int HttpStatusOf(const absl::Status& status);

// To and from the bytes of `grpc-status-details-bin`.
std::string SerializeDetails(const absl::Status& status);
absl::Status StatusFromWire(int code, absl::string_view message, absl::string_view details);

}  // namespace aima
