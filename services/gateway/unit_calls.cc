#include "services/gateway/unit_calls.h"

#include <absl/strings/str_cat.h>

#include "aima/gateway/v1/operation.pb.h"
#include "aima/unit/v1/errors.pb.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"

namespace aima::gateway {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// The field of this name and type; null if there is none.
const FieldDescriptor* FieldOf(const Message& message, const char* name, FieldDescriptor::CppType type) {
  const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(name);
  return field && field->cpp_type() == type && !field->is_repeated() ? field : nullptr;
}

std::string TextOf(const Message& message, const char* name) {
  const FieldDescriptor* field = FieldOf(message, name, FieldDescriptor::CPPTYPE_STRING);
  return field ? message.GetReflection()->GetString(message, field) : "";
}

// The field of a stream's last message that is the unary form's output, for streams of {percent, phase, message, result}.
const FieldDescriptor* ResultOf(const UnitInfo& unit) {
  if (!unit.stream || !unit.unary) return nullptr;
  const auto& message = *unit.stream->output_type();
  const FieldDescriptor* percent = message.FindFieldByName("percent");
  const FieldDescriptor* result = message.FindFieldByName("result");
  if (!percent || percent->cpp_type() != FieldDescriptor::CPPTYPE_DOUBLE || !result) return nullptr;
  return result->message_type() == unit.unary->output_type() && !result->is_repeated() ? result : nullptr;
}

}  // namespace

bool UnitCalls::Changes(const std::string& name) const {
  const UnitInfo* unit = catalogue_.Find(name);
  return !unit || unit->command();
}

Task<absl::StatusOr<std::string>> UnitCalls::Call(CallContext call, const operations::Operation& operation, Tell tell) {
  const UnitInfo* unit = catalogue_.Find(operation.unit);
  if (!unit || !unit->unary || unit->options.access() == unit::v1::INTERNAL) {
    co_return Error(unit::v1::UNIT_NOT_FOUND, absl::StrCat("there is no unit '", operation.unit, "' any more"),
                    {{"unit", operation.unit}});
  }
  const std::unique_ptr<Message> request = catalogue_.New(*unit->unary->input_type());
  if (!request->ParseFromString(operation.input)) {
    co_return Error(unit::v1::INTERNAL_ERROR, "the recorded input cannot be read");
  }
  const FieldDescriptor* key = FieldOf(*request, "idempotency_key", FieldDescriptor::CPPTYPE_STRING);
  if (key) request->GetReflection()->SetString(request.get(), key, operation.idempotency_key);
  const bool repeatable = !unit->command() || unit->options.idempotent() || unit->options.stateless();
  if (ResultOf(*unit) && repeatable) co_return co_await Follow(call, *unit, *request, std::move(tell));
  const std::unique_ptr<Message> response = catalogue_.New(*unit->unary->output_type());
  CO_RETURN_IF_ERROR(co_await rpc_.CallUntyped(call, *request, *response));
  co_return response->SerializeAsString();
}

Task<absl::StatusOr<std::string>> UnitCalls::Follow(const CallContext& call, const UnitInfo& unit,
                                                    const Message& request, Tell tell) {
  const std::unique_ptr<rpc::Client::RawReader> reader = rpc_.StreamUntyped(call, request);
  const std::unique_ptr<Message> step = catalogue_.New(*unit.stream->output_type());
  const FieldDescriptor* percent = FieldOf(*step, "percent", FieldDescriptor::CPPTYPE_DOUBLE);
  const FieldDescriptor* result = ResultOf(unit);
  std::optional<std::string> output;
  for (;;) {
    CO_ASSIGN_OR_RETURN(const bool more, co_await reader->Next(*step));
    if (!more) break;
    v1::OperationProgress progress;
    progress.set_percent(step->GetReflection()->GetDouble(*step, percent));
    progress.set_phase(TextOf(*step, "phase"));
    progress.set_message(TextOf(*step, "message"));
    tell(progress.SerializeAsString());
    if (step->GetReflection()->HasField(*step, result)) {
      output = step->GetReflection()->GetMessage(*step, result).SerializeAsString();
    }
  }
  if (!output) co_return Error(unit::v1::INTERNAL_ERROR, absl::StrCat(unit.name, " ended without a result"));
  co_return *std::move(output);
}

}  // namespace aima::gateway
