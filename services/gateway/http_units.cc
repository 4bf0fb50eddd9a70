// The endpoints that run units and read resources (http_face.h).
#include <absl/strings/match.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>
#include <absl/strings/strip.h>

#include <nlohmann/json.hpp>

#include "aima/inference/v1/inference.pb.h"
#include "aima/unit/v1/errors.pb.h"
#include "libs/errors/errors.h"
#include "libs/http/sse.h"
#include "libs/unit/json_codec.h"
#include "libs/unit/quantity.h"
#include "services/gateway/http_face.h"
#include "services/gateway/stream_answer.h"

namespace aima::gateway {
namespace {

using nlohmann::json;

constexpr char kEvents[] = "text/event-stream";
constexpr char kLines[] = "application/x-ndjson";

// True if a list of header values, such as that of Accept, has this one; parameters do not matter.
bool Lists(std::string_view header, std::string_view value) {
  for (absl::string_view piece : absl::StrSplit(absl::string_view(header.data(), header.size()), ',')) {
    piece = absl::StripAsciiWhitespace(piece.substr(0, piece.find(';')));
    if (http::EqualsIgnoringCase({piece.data(), piece.size()}, value)) return true;
  }
  return false;
}

bool WantsLines(const http::Request& request) { return Lists(request.headers.Get("Accept"), kLines); }

bool WantsStream(const http::Request& request) {
  return WantsLines(request) || Lists(request.headers.Get("Accept"), kEvents);
}

// RFC 7240.
bool PrefersAsync(const http::Request& request) { return Lists(request.headers.Get("Prefer"), "respond-async"); }

absl::StatusOr<std::string> TextOf(const json& object, const char* key, const char* path) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return std::string();
  if (!found->is_string()) return InvalidInput(path, "must be a string");
  return found->get<std::string>();
}

absl::StatusOr<absl::Duration> TimeoutOf(const json& options) {
  const auto found = options.find("timeout");
  if (found == options.end() || found->is_null()) return absl::ZeroDuration();
  if (found->is_number()) return absl::Milliseconds(found->get<double>());
  if (found->is_string()) {
    absl::StatusOr<int64_t> parsed = ParseQuantity(found->get<std::string>(), unit::v1::MILLISECONDS);
    if (parsed.ok()) return absl::Milliseconds(*parsed);
  }
  return InvalidInput("options.timeout", "must be milliseconds, or a duration such as \"30s\"");
}

}  // namespace

absl::StatusOr<json> HttpFace::Body(Visit& visit) const {
  if (visit.request.body.empty()) return json::object();
  const std::string_view type = visit.request.headers.Get("Content-Type");
  // A form that a web page can send without asking first is not JSON, whatever it contains.
  if (!type.empty() && !absl::StartsWithIgnoreCase(absl::string_view(type.data(), type.size()), "application/json")) {
    return InvalidInput("Content-Type", "must be application/json");
  }
  return ParseJsonText(visit.request.body);
}

absl::StatusOr<HttpFace::Execution> HttpFace::ReadExecution(Visit& visit) const {
  ASSIGN_OR_RETURN(json body, Body(visit));
  if (!body.is_object()) return InvalidInput("", "the body must be an object {type, unit, input, options}");
  for (const auto& [key, value] : body.items()) {
    if (key != "type" && key != "unit" && key != "input" && key != "options") {
      return InvalidInput(key, "is not a field; there are type, unit, input, options");
    }
  }
  Execution execution;
  ASSIGN_OR_RETURN(execution.type, TextOf(body, "type", "type"));
  ASSIGN_OR_RETURN(execution.unit, TextOf(body, "unit", "unit"));
  if (execution.unit.empty()) return InvalidInput("unit", "is required");
  if (body.contains("input")) execution.input = std::move(body["input"]);
  const json options = body.value("options", json::object());
  if (options.is_null()) return execution;
  if (!options.is_object()) return InvalidInput("options", "must be an object");
  for (const auto& [key, value] : options.items()) {
    if (key != "timeout" && key != "async" && key != "trace_id" && key != "idempotency_key") {
      return InvalidInput("options." + key, "is not an option; there are timeout, async, trace_id, idempotency_key");
    }
  }
  ASSIGN_OR_RETURN(execution.options.timeout, TimeoutOf(options));
  if (execution.options.timeout < absl::ZeroDuration()) return InvalidInput("options.timeout", "must not be negative");
  ASSIGN_OR_RETURN(execution.options.idempotency_key, TextOf(options, "idempotency_key", "options.idempotency_key"));
  ASSIGN_OR_RETURN(const std::string trace, TextOf(options, "trace_id", "options.trace_id"));
  if (trace.size() > 200) return InvalidInput("options.trace_id", "has more than 200 bytes");
  if (!trace.empty()) visit.meta.trace_id = trace;
  if (options.contains("async") && !options["async"].is_boolean()) return InvalidInput("options.async", "must be true or false");
  execution.async = options.value("async", false);
  return execution;
}

Task<void> HttpFace::Execute(Visit& visit) {
  absl::StatusOr<Execution> execution = ReadExecution(visit);
  if (!execution.ok()) co_return co_await Fail(visit, execution.status());
  if (execution->type == "resource") co_return co_await Resource(visit, execution->unit);
  if (!execution->type.empty() && execution->type != "command" && execution->type != "query") {
    co_return co_await Fail(visit, InvalidInput("type", "must be one of command, query, resource"));
  }
  co_await Run(visit, *std::move(execution));
}

Task<void> HttpFace::RunNamed(Visit& visit, std::string_view kind, std::string_view unit) {
  absl::StatusOr<const UnitInfo*> found = parts_.runner.Find(unit, kind, visit.caller);
  if (!found.ok()) co_return co_await Fail(visit, found.status());
  const bool post = visit.request.method == "POST";
  absl::StatusOr<json> input = post ? Body(visit) : InputFromQuery(**found, visit.query);
  if (!input.ok()) co_return co_await Fail(visit, input.status());
  Execution execution;
  execution.type = std::string(kind);
  execution.unit = (*found)->name;
  execution.input = *std::move(input);
  if (!(*found)->unary && visit.request.method == "HEAD") {
    co_return co_await Fail(visit, InvalidInput("", absl::StrCat((*found)->name, " is a stream, of which there is nothing but the stream")));
  }
  if (!(*found)->unary || ((*found)->stream && WantsStream(visit.request) && visit.request.method != "HEAD")) {
    co_return co_await RunStream(visit, std::move(execution));
  }
  // A preference, which is ignored where it makes no sense.
  execution.async = post && PrefersAsync(visit.request) && (*found)->domain != "gateway";
  co_await Run(visit, std::move(execution));
}

Task<void> HttpFace::Run(Visit& visit, Execution execution) {
  absl::StatusOr<const UnitInfo*> unit = parts_.runner.Find(execution.unit, execution.type, visit.caller);
  if (!unit.ok()) co_return co_await Fail(visit, unit.status());
  visit.unit = (*unit)->name;
  if (execution.options.idempotency_key.empty()) {
    execution.options.idempotency_key = std::string(visit.request.headers.Get("Idempotency-Key"));
  }
  CallContext call = CallOf(visit);
  if (execution.async) {
    call.deadline = absl::Now() + absl::Milliseconds(parts_.config.gateway().request_timeout());  // to be accepted
    const absl::StatusOr<v1::Operation> operation =
        co_await parts_.operations.Begin(call, **unit, execution.input, execution.options);
    if (!operation.ok()) co_return co_await Fail(visit, operation.status());
    http::Response response = SuccessResponse({JsonOf(*operation), {}}, visit.meta, 202);
    response.headers.Add("Location", "/api/v2/operations/" + operation->id());
    if (PrefersAsync(visit.request)) response.headers.Add("Preference-Applied", "respond-async");
    co_return co_await Answer(visit, std::move(response));
  }
  const absl::StatusOr<Output> output = co_await parts_.runner.Run(call, **unit, execution.input, execution.options);
  if (!output.ok()) co_return co_await Fail(visit, output.status());
  co_await Succeed(visit, *output, *unit);
}

Task<void> HttpFace::Stream(Visit& visit) {
  absl::StatusOr<Execution> execution = ReadExecution(visit);
  if (!execution.ok()) co_return co_await Fail(visit, execution.status());
  co_await RunStream(visit, *std::move(execution));
}

Task<void> HttpFace::RunStream(Visit& visit, Execution execution) {
  absl::StatusOr<const UnitInfo*> unit = parts_.runner.Find(execution.unit, execution.type, visit.caller);
  if (!unit.ok()) co_return co_await Fail(visit, unit.status());
  visit.unit = (*unit)->name;
  if (execution.options.idempotency_key.empty()) {
    execution.options.idempotency_key = std::string(visit.request.headers.Get("Idempotency-Key"));
  }
  if (!(*unit)->unary) visit.exchange.EndOnDrain();  // such streams go on for as long as their readers like
  CallContext call = CallOf(visit);
  const bool lines = WantsLines(visit.request);
  const auto piece = [lines](const char* name, const std::string& json) {
    return lines ? absl::StrCat("{\"", name, "\":", json, "}\n") : http::FormatSse(name, json);
  };
  StreamAnswer answer(visit.exchange, HeadersOfStream(visit, lines ? kLines : kEvents));
  const UnitRunner::Sink sink = [&](const std::string& json) -> Task<absl::Status> {
    co_return co_await answer.Write(piece("data", json));
  };
  const absl::Status status = co_await parts_.runner.Stream(call, **unit, execution.input, execution.options, sink);
  if (!status.ok()) visit.outcome = DetailsOf(status).reason;
  if (!answer.begun() && !status.ok()) co_return co_await Fail(visit, status);
  co_await answer.End(status.ok() ? piece("done", "{}") : piece("error", ErrorJson(status)));
}

http::Headers HttpFace::HeadersOfStream(const Visit& visit, const char* type) const {
  http::Headers headers = StreamHeaders(type);
  headers.Add("X-Request-Id", visit.meta.request_id);
  parts_.edge.AllowOrigin(visit.request, headers);
  return headers;
}

// A message of this program as JSON. What is inside of it may be of a type that only the catalogue knows.
std::string HttpFace::JsonOf(const google::protobuf::Message& message) const {
  const auto* type = parts_.catalogue.pool().FindMessageTypeByName(message.GetDescriptor()->full_name());
  const std::unique_ptr<google::protobuf::Message> same = parts_.catalogue.New(*type);
  same->ParseFromString(message.SerializeAsString());
  return ToJson(*same, &parts_.catalogue.factory());
}

// The fields of a query string as JSON of the types that the unit's request declares.
absl::StatusOr<json> HttpFace::InputFromQuery(const UnitInfo& unit, std::string_view query) const {
  std::vector<std::pair<std::string, std::string>> fields;
  if (!http::ParseQuery(query, fields)) return InvalidInput("query", "is not properly encoded");
  json input = json::object();
  for (const auto& [name, text] : fields) {
    const auto* field = unit.method().input_type()->FindFieldByName(name);
    json value = text;
    using google::protobuf::FieldDescriptor;
    if (field && field->cpp_type() != FieldDescriptor::CPPTYPE_STRING && field->cpp_type() != FieldDescriptor::CPPTYPE_ENUM) {
      absl::StatusOr<json> parsed = ParseJsonText(text);
      if (parsed.ok()) value = *std::move(parsed);
    }
    if (field && field->is_repeated() && !field->is_map()) {
      input[name].push_back(std::move(value));
    } else {
      input[name] = std::move(value);
    }
  }
  return input;
}

Task<void> HttpFace::Resource(Visit& visit, std::string_view uri) {
  absl::StatusOr<std::pair<const ViewInfo*, json>> resolved = parts_.runner.Resolve(uri);
  if (!resolved.ok()) co_return co_await Fail(visit, resolved.status());
  const UnitInfo& unit = *resolved->first->unit;
  visit.unit = unit.name;
  if (absl::Status denied = Access::Check(visit.caller, unit.options.access(), unit.name); !denied.ok()) {
    co_return co_await Fail(visit, denied);
  }
  CallContext call = CallOf(visit);
  const absl::StatusOr<Output> output = co_await parts_.runner.Run(call, unit, resolved->second, {});
  if (!output.ok()) co_return co_await Fail(visit, output.status());
  co_await Succeed(visit, *output, &unit);
}

Task<void> HttpFace::WatchResource(Visit& visit, std::string_view uri) {
  absl::StatusOr<std::pair<const ViewInfo*, json>> resolved = parts_.runner.Resolve(uri);
  if (!resolved.ok()) co_return co_await Fail(visit, resolved.status());
  const UnitInfo& unit = *resolved->first->unit;
  visit.unit = unit.name;
  if (absl::Status denied = Access::Check(visit.caller, unit.options.access(), unit.name); !denied.ok()) {
    co_return co_await Fail(visit, denied);
  }
  visit.exchange.EndOnDrain();
  StreamAnswer answer(visit.exchange, HeadersOfStream(visit, kEvents));
  const ResourceWatch::Sink sink = [&](const std::string& value, int64_t cursor) -> Task<absl::Status> {
    co_return co_await answer.Write(http::FormatSse("update", value, absl::StrCat(cursor)));
  };
  const absl::Status status = co_await parts_.watch.Watch(CallOf(visit), *resolved->first, resolved->second, sink);
  visit.outcome = DetailsOf(status).reason;
  if (!answer.begun()) co_return co_await Fail(visit, status);
  co_await answer.End(http::FormatSse("error", ErrorJson(status)));
}

// The inference service speaks OpenAI's interface; its answers, errors included, are passed on byte by byte.
Task<void> HttpFace::OpenAi(Visit& visit) {
  visit.unit = "openai";
  const bool models = absl::StartsWith(visit.path, "/v1/models");
  absl::Status allowed = Access::Check(visit.caller, models ? unit::v1::READ : unit::v1::OPERATE, visit.path);
  if (!allowed.ok()) co_return co_await Fail(visit, allowed);
  inference::v1::ForwardRequest request;
  request.set_path(visit.request.target);
  request.set_method(visit.request.method);
  for (const auto& [name, value] : visit.request.headers) {
    if (!http::EqualsIgnoringCase(name, "content-type") && !http::EqualsIgnoringCase(name, "accept")) continue;
    auto* header = request.add_headers();
    header->set_name(name);
    header->set_value(value);
  }
  request.set_body(std::move(visit.request.body));
  CallContext call = CallOf(visit);
  call.deadline = absl::Now() + absl::Minutes(10);
  const auto reader = parts_.rpc.StreamUntyped(call, request);
  inference::v1::ForwardChunk chunk;
  bool begun = false;
  for (;;) {
    const absl::StatusOr<bool> more = co_await reader->Next(chunk);
    if (!more.ok()) {
      visit.outcome = DetailsOf(more.status()).reason;
      // Once bytes are out, breaking off is the only way to say that the answer is not whole.
      if (!begun) co_await Fail(visit, more.status());
      co_return;
    }
    if (!*more) break;
    if (!begun) {
      begun = true;
      http::Headers headers;
      for (const auto& header : chunk.headers()) headers.Add(header.name(), header.value());
      headers.Add("X-Request-Id", visit.meta.request_id);
      parts_.edge.AllowOrigin(visit.request, headers);
      if (chunk.status() >= 400) visit.outcome = absl::StrCat("HTTP_", chunk.status());
      if (!(co_await visit.exchange.StartStream(chunk.status(), std::move(headers))).ok()) co_return;
    }
    // Tokens are many and small: no coroutine for each.
    if (!visit.exchange.WriteNow(chunk.body()) && !(co_await visit.exchange.Flush()).ok()) co_return;
  }
  if (!begun) {
    co_return co_await Fail(visit, Error(unit::v1::UNAVAILABLE, "the inference service ended its answer before it began"));
  }
  (co_await visit.exchange.Finish()).IgnoreError();
}

}  // namespace aima::gateway
