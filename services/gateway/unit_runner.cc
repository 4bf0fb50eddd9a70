#include "services/gateway/unit_runner.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "aima/unit/v1/errors.pb.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "libs/unit/json_codec.h"
#include "libs/unit/rules.h"

namespace aima::gateway {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::MethodDescriptor;

constexpr absl::Duration kLongestTimeout = absl::Hours(24);

// The value of an integer field of this name; -1 if there is none.
int64_t NumberOf(const Message& message, const char* name) {
  const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(name);
  if (!field || field->is_repeated()) return -1;
  const auto& reflection = *message.GetReflection();
  if (field->has_presence() && !reflection.HasField(message, field)) return -1;
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_INT64) return reflection.GetInt64(message, field);
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_INT32) return reflection.GetInt32(message, field);
  return -1;
}

Pagination PaginationOf(const Message& request, const Message& response) {
  Pagination page;
  const FieldDescriptor* token = response.GetDescriptor()->FindFieldByName("next_page_token");
  const bool has_token = token && token->cpp_type() == FieldDescriptor::CPPTYPE_STRING && !token->is_repeated();
  page.total = NumberOf(response, "total");
  page.present = (page.total >= 0 || has_token) && request.GetDescriptor()->FindFieldByName("limit");
  if (!page.present) return page;
  page.limit = NumberOf(request, "limit");
  page.offset = NumberOf(request, "offset");
  if (has_token) page.next_page_token = response.GetReflection()->GetString(response, token);
  return page;
}

}  // namespace

absl::StatusOr<const UnitInfo*> UnitRunner::Find(std::string_view name, std::string_view kind,
                                                 const Caller& caller) const {
  const UnitInfo* unit = catalogue_.Find(name);
  const absl::string_view shown(name.data(), std::min<size_t>(name.size(), 200));
  if (!unit || unit->options.access() == unit::v1::INTERNAL) {
    const std::vector<std::string> nearest = catalogue_.Nearest(name);
    return Error(unit::v1::UNIT_NOT_FOUND,
                 absl::StrCat("there is no unit '", shown, "'",
                              nearest.empty() ? "" : absl::StrCat("; did you mean ", absl::StrJoin(nearest, " or "), "?")),
                 {{"unit", std::string(shown)}});
  }
  RETURN_IF_ERROR(Access::Check(caller, unit->options.access(), unit->name));
  const char* actual = unit->command() ? "command" : "query";
  if (!kind.empty() && kind != actual) return InvalidInput("type", absl::StrCat(unit->name, " is a ", actual));
  return unit;
}

absl::StatusOr<std::unique_ptr<Message>> UnitRunner::Read(const MethodDescriptor& method, const nlohmann::json& input,
                                                          const RunOptions& options, bool check) const {
  std::unique_ptr<Message> request = catalogue_.New(*method.input_type());
  if (!input.is_null()) RETURN_IF_ERROR(ParseJson(input, *request));
  const FieldDescriptor* key = request->GetDescriptor()->FindFieldByName("idempotency_key");
  if (key && !options.idempotency_key.empty() && request->GetReflection()->GetString(*request, key).empty()) {
    request->GetReflection()->SetString(request.get(), key, options.idempotency_key);
  }
  if (check) {
    // On a copy: with its defaults written out it would be another request to the service.
    const std::unique_ptr<Message> whole(request->New());
    whole->CopyFrom(*request);
    ApplyDefaults(*whole);
    if (std::vector<FieldViolation> broken = BrokenRules(*whole); !broken.empty()) return InvalidInput(std::move(broken));
  }
  return request;
}

void UnitRunner::SetDeadline(CallContext& call, const UnitInfo& unit, const RunOptions& options) {
  const absl::Duration timeout =
      options.timeout > absl::ZeroDuration() ? options.timeout : absl::Milliseconds(unit.timeout_ms());
  call.deadline = absl::Now() + std::min(timeout, kLongestTimeout);
}

Task<absl::StatusOr<Output>> UnitRunner::Run(CallContext& call, const UnitInfo& unit, const nlohmann::json& input,
                                             const RunOptions& options) {
  if (!unit.unary) {
    co_return InvalidInput("unit", absl::StrCat(unit.name, " streams: use the streaming endpoint"));
  }
  call.unit = unit.name;
  SetDeadline(call, unit, options);
  CO_ASSIGN_OR_RETURN(const std::unique_ptr<Message> request, Read(*unit.unary, input, options));
  const std::unique_ptr<Message> response = catalogue_.New(*unit.unary->output_type());
  CO_RETURN_IF_ERROR(co_await rpc_.CallUntyped(call, *request, *response));
  Output output;
  AppendJson(*response, output.json, &catalogue_.factory());
  output.pagination = PaginationOf(*request, *response);
  co_return output;
}

Task<absl::Status> UnitRunner::Stream(CallContext& call, const UnitInfo& unit, const nlohmann::json& input,
                                      const RunOptions& options, Sink sink) {
  if (!unit.stream) co_return InvalidInput("unit", absl::StrCat(unit.name, " does not stream"));
  call.unit = unit.name;
  SetDeadline(call, unit, options);
  CO_ASSIGN_OR_RETURN(const std::unique_ptr<Message> request, Read(*unit.stream, input, options));
  const std::unique_ptr<rpc::Client::RawReader> reader = rpc_.StreamUntyped(call, *request);
  const std::unique_ptr<Message> message = catalogue_.New(*unit.stream->output_type());
  std::string json;
  for (;;) {
    CO_ASSIGN_OR_RETURN(const bool more, co_await reader->Next(*message));
    if (!more) co_return absl::OkStatus();
    json.clear();
    AppendJson(*message, json, &catalogue_.factory());
    CO_RETURN_IF_ERROR(co_await sink(json));
  }
}

absl::StatusOr<std::pair<const ViewInfo*, nlohmann::json>> UnitRunner::Resolve(std::string_view uri) const {
  const Catalogue::Match match = catalogue_.FindView(uri);
  if (!match.view) {
    return Error(unit::v1::RESOURCE_NOT_FOUND,
                 absl::StrCat("there is no resource at ", absl::string_view(uri.data(), std::min<size_t>(uri.size(), 200))));
  }
  nlohmann::json input = nlohmann::json::object();
  for (const auto& [name, value] : match.variables) input[name] = value;
  return std::make_pair(match.view, std::move(input));
}

}  // namespace aima::gateway
