// Paths that are no unit, and what all paths share (paths.h).
#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>

#include <set>

#include "aima/gateway/v1/operation.pb.h"
#include "aima/unit/v1/errors.pb.h"
#include "libs/errors/errors.h"
#include "services/gateway/envelope.h"
#include "services/gateway/openapi/paths.h"

namespace aima::gateway::openapi {
namespace {

constexpr char kJson[] = "application/json";

ordered_json ProblemContent(std::initializer_list<const char*> reasons) {
  ordered_json examples = ordered_json::object();
  for (const char* reason : reasons) examples[reason] = RefTo("examples", reason);
  ordered_json media = {{"schema", RefTo("schemas", "Problem")}};
  if (!examples.empty()) media["examples"] = std::move(examples);
  return {{"application/problem+json", std::move(media)}};
}

ordered_json Operation(const char* id, const char* tag, const char* summary, const char* description,
                       ordered_json answer) {
  ordered_json responses = {{"200", std::move(answer)},
                            {"400", RefTo("responses", "InvalidInput")},
                            {"401", RefTo("responses", "Unauthenticated")},
                            {"403", RefTo("responses", "PermissionDenied")},
                            {"default", RefTo("responses", "Problem")}};
  return {{"operationId", id},
          {"summary", summary},
          {"description", description},
          {"tags", {tag}},
          {"responses", std::move(responses)}};
}

ordered_json Answer(const char* description, const char* type, ordered_json schema) {
  return {{"description", description}, {"content", {{type, {{"schema", std::move(schema)}}}}}};
}

ordered_json AnyObject() { return {{"type", "object"}}; }

ordered_json PathParameter(const char* name, const char* description, const char* example) {
  return {{"name", name},
          {"in", "path"},
          {"required", true},
          {"description", description},
          {"schema", {{"type", "string"}}},
          {"example", example}};
}

ordered_json Body(const ordered_json& examples) {
  return {{"required", true},
          {"content", {{kJson, {{"schema", RefTo("schemas", "Execution")}, {"examples", examples}}}}}};
}

ordered_json Example(const char* summary, ordered_json value) {
  return {{"summary", summary}, {"value", std::move(value)}};
}

ordered_json HeaderParameter(const char* name, const char* description, ordered_json schema) {
  return {{"name", name}, {"in", "header"}, {"description", description}, {"schema", std::move(schema)}};
}

}  // namespace

void AddFixedPaths(const Catalogue& catalogue, Components& components, std::map<std::string, ordered_json>& paths) {
  ordered_json execute =
      Operation("execute", "calls", "Calls any unit by its name",
                "What the path of a unit does, with options: a timeout, a trace id, and not to wait.",
                Answer("What the unit answers.", kJson, Enveloped(ordered_json::object())));
  execute["requestBody"] =
      Body({{"list-models", Example("List models", {{"unit", "model.list"}, {"input", {{"limit", 10}}}})},
            {"do-not-wait", Example("Do not wait", {{"unit", "device.detect"}, {"options", {{"async", true}}}})},
            {"a-resource", Example("Read a resource", {{"type", "resource"}, {"unit", "asms://device/cpu/info"}})}});
  execute["responses"]["202"] = RefTo("responses", "Accepted");
  execute["parameters"] = ordered_json::array({RefTo("parameters", "Idempotency-Key")});
  paths["/api/v2/execute"] = {{"post", std::move(execute)}};

  ordered_json stream =
      Operation("stream", "calls", "Streams what a unit tells as it goes on",
                "Server-sent events: `data` with each message, then `done`, or `error` with why it ended early. With "
                "`Accept: application/x-ndjson` the same as lines of JSON.",
                {{"description", "The stream."},
                 {"content",
                  {{"text/event-stream", {{"schema", AnyObject()}}},
                   {"application/x-ndjson", {{"schema", AnyObject()}}}}}});
  const ordered_json follow = {{"unit", "event.subscribe"}, {"input", {{"domain", "engine"}}}};
  stream["requestBody"] = Body({{"follow-events", Example("Follow what happens", follow)}});
  paths["/api/v2/stream"] = {{"post", std::move(stream)}};

  ordered_json resource = Operation("resource", "resources", "Reads an asms:// address",
                                    "For addresses that a program has in hand; those of `resources` have paths of their "
                                    "own. Behind `/watch` the answer is a stream.",
                                    Answer("What is there.", kJson, Enveloped(ordered_json::object())));
  resource["responses"]["404"] = RefTo("responses", "NotFound");
  resource["responses"]["304"] = RefTo("responses", "NotModified");
  resource["parameters"] = ordered_json::array(
      {PathParameter("uri", "The whole address, percent-encoded as one segment.", "asms://device/cpu/info")});
  paths["/api/v2/resource/{uri}"] = {{"get", std::move(resource)}};

  paths["/api/v2/units"] = {{"get", Operation("units", "catalogue", "Lists units, resources, events and errors",
                                              "With schemas, examples and descriptions, in our own form.",
                                              Answer("What there is.", kJson, Enveloped(AnyObject())))}};
  const ordered_json unit_parameter =
      ordered_json::array({PathParameter("unit", "Name of the unit.", "model.list")});
  ordered_json one = Operation("unit", "catalogue", "Describes one unit", "As /api/v2/units does.",
                               Answer("The unit.", kJson, Enveloped(AnyObject())));
  one["responses"]["404"] = RefTo("responses", "NotFound");
  one["parameters"] = unit_parameter;
  paths["/api/v2/units/{unit}"] = {{"get", std::move(one)}};
  ordered_json schema = Operation("schema", "catalogue", "JSON Schema of one unit",
                                  "One JSON Schema (2020-12) with `$defs` input, output and, if the unit streams, stream. "
                                  "The schema itself is that of the input.",
                                  Answer("The schema.", "application/schema+json", AnyObject()));
  schema["responses"]["404"] = RefTo("responses", "NotFound");
  schema["responses"]["304"] = RefTo("responses", "NotModified");
  schema["parameters"] = unit_parameter;
  paths["/api/v2/schema/{unit}"] = {{"get", std::move(schema)}};

  ordered_json health = Operation("health", "cluster", "Whether every service takes calls", "Anybody may ask.",
                                  Answer("All of them do.", kJson, Enveloped(AnyObject())));
  health["responses"]["503"] = Answer("Some do not; `data.services` tells which.", kJson, Enveloped(AnyObject()));
  paths["/api/v2/health"] = {{"get", std::move(health)}};
  paths["/api/v2/metrics"] = {{"get", Operation("metrics", "cluster", "Metrics for Prometheus",
                                                "Of the gateway and of every service; also at /metrics.",
                                                Answer("Prometheus' text format.", "text/plain", {{"type", "string"}}))}};
  ordered_json document = Operation("openapi", "catalogue", "This document", "As the key that asks may know it.",
                                    Answer("OpenAPI 3.1.", kJson, AnyObject()));
  document["responses"]["304"] = RefTo("responses", "NotModified");
  paths["/openapi.json"] = {{"get", std::move(document)}};

  // The units of operations by addresses of their own. What is not in the address is a query.
  const auto add = [&](const char* method, const char* path, const char* name, const char* summary, const char* unit_name) {
    const UnitInfo* unit = catalogue.Find(unit_name);
    if (!unit) return;
    const bool get = std::string_view(method) == "get", events = absl::EndsWith(path, "/events");
    const ordered_json operation = components.Ref(*unit->method().output_type(), SchemaUse::kOutput);
    const std::string description = absl::StrCat("`", unit_name, "` by an address of its own.");
    ordered_json item = Operation(name, "operation", summary, description.c_str(),
                                  events ? Answer("The operation, each time that it changes.", "text/event-stream", operation)
                                         : Answer(unit->description.c_str(), kJson, Enveloped(operation)));
    ordered_json parameters = ordered_json::array();
    if (absl::StrContains(path, "{")) {
      parameters.push_back(PathParameter("operation_id", "Id of the operation.", "op_01jd6v00000000000000000000"));
      item["responses"]["404"] = RefTo("responses", "NotFound");
    }
    const google::protobuf::Descriptor& input = *unit->method().input_type();
    for (int i = 0; get && i < input.field_count(); ++i) {
      if (input.field(i)->name() != "operation_id") parameters.push_back(ParameterOf(*input.field(i), "query", components));
    }
    if (get && !events) {
      parameters.push_back(RefTo("parameters", "If-None-Match"));
      item["responses"]["304"] = RefTo("responses", "NotModified");
    }
    if (!parameters.empty()) item["parameters"] = std::move(parameters);
    paths[path][method] = std::move(item);
  };
  add("get", "/api/v2/operations", "operations.list", "Lists operations, the newest first", "operation.list");
  add("get", "/api/v2/operations/{operation_id}", "operations.get", "Returns one operation", "operation.get");
  add("get", "/api/v2/operations/{operation_id}/wait", "operations.wait", "Waits for the end of an operation", "operation.wait");
  add("get", "/api/v2/operations/{operation_id}/events", "operations.events", "Follows an operation to its end", "operation.wait");
  add("post", "/api/v2/operations/{operation_id}/cancel", "operations.cancel", "Ends an operation", "operation.cancel");
  add("delete", "/api/v2/operations/{operation_id}", "operations.delete", "Forgets an operation", "operation.delete");
}

ordered_json FixedParameters() {
  return {{"Idempotency-Key",
           HeaderParameter("Idempotency-Key",
                           "Any text of the caller's own: a command repeated with the same key within 48 hours takes effect "
                           "once. Another input under the same key is IDEMPOTENCY_KEY_REUSED.",
                           {{"type", "string"}, {"maxLength", 200}})},
          {"Prefer", HeaderParameter("Prefer", "`respond-async`: do not wait; the answer is 202 and an operation.",
                                     {{"type", "string"}, {"examples", ordered_json::array({"respond-async"})}})},
          {"If-None-Match", HeaderParameter("If-None-Match", "ETag of the answer in hand: 304 if it is still so.",
                                            {{"type", "string"}})}};
}

namespace {

// With its comments, which only the catalogue has.
const google::protobuf::Descriptor& OperationOf(const Catalogue& catalogue) {
  const UnitInfo* unit = catalogue.Find("operation.get");
  return unit ? *unit->method().output_type() : *v1::Operation::descriptor();
}

}  // namespace

ordered_json FixedResponses(Components& components, const Catalogue& catalogue) {
  const auto problem = [](const char* description, std::initializer_list<const char*> reasons) {
    return ordered_json{{"description", description}, {"content", ProblemContent(reasons)}};
  };
  ordered_json accepted = Answer("The call goes on without its caller: an operation.", kJson,
                                 Enveloped(components.Ref(OperationOf(catalogue), SchemaUse::kOutput)));
  accepted["headers"] = {{"Location", RefTo("headers", "Location")}};
  ordered_json overloaded = problem("More calls than are accepted.", {"OVERLOADED"});
  overloaded["headers"] = {{"Retry-After", RefTo("headers", "Retry-After")}};
  return {{"Accepted", std::move(accepted)},
          {"NotModified",
           {{"description", "What the caller has is still so."}, {"headers", {{"ETag", RefTo("headers", "ETag")}}}}},
          {"InvalidInput",
           problem("`INVALID_INPUT`: a field is missing, malformed or out of range; `error.details.fields` names each.",
                   {"INVALID_INPUT"})},
          {"Unauthenticated", problem("`UNAUTHENTICATED`: there is no key, or not a valid one.", {"UNAUTHENTICATED"})},
          {"PermissionDenied", problem("`PERMISSION_DENIED`: the key does not allow this.", {"PERMISSION_DENIED"})},
          {"NotFound", problem("There is no such thing.", {"UNIT_NOT_FOUND", "RESOURCE_NOT_FOUND"})},
          {"Overloaded", std::move(overloaded)},
          {"Problem", problem("Any other problem, of the gateway or of a service.",
                              {"UNAVAILABLE", "DEADLINE_EXCEEDED", "OUTCOME_UNKNOWN", "IDEMPOTENCY_KEY_REUSED", "TOO_LARGE",
                               "INTERNAL_ERROR"})}};
}

ordered_json FixedHeaders() {
  const auto header = [](const char* description, const char* type) {
    return ordered_json{{"description", description}, {"schema", {{"type", type}}}};
  };
  return {{"ETag", header("Names this state of the answer, for If-None-Match.", "string")},
          {"Location", header("Address of the operation.", "string")},
          {"Retry-After", header("Seconds to wait before the next try.", "integer")},
          {"X-Request-Id", header("Names this call in logs.", "string")}};
}

ordered_json SecuritySchemes() {
  return {{"bearer",
           {{"type", "http"},
            {"scheme", "bearer"},
            {"description", "A key of `aima key create`: `Authorization: Bearer aima_…`."}}},
          {"key",
           {{"type", "apiKey"},
            {"in", "header"},
            {"name", "X-API-Key"},
            {"description", "The same key in a header of its own."}}}};
}

ordered_json ProblemExamples(const Catalogue& catalogue, const std::map<std::string, ordered_json>& paths) {
  std::set<std::string> used;
  const auto* common = unit::v1::CommonReason_descriptor();
  for (int i = 1; i < common->value_count(); ++i) used.insert(common->value(i)->name());
  used.erase("CANCELLED");  // nobody is there to read it
  for (const auto& [path, item] : paths) {
    const auto unit = item.find("x-aima-unit");
    if (unit == item.end()) continue;
    for (const ordered_json& reason : (*unit)["errors"]) used.insert(reason.get<std::string>());
  }
  ordered_json examples = ordered_json::object();
  const Meta meta = {"req_01jd6v00000000000000000000", "req_01jd6v00000000000000000000", absl::Now()};
  for (const auto* file : catalogue.files()) {
    for (int i = 0; i < file->enum_type_count(); ++i) {
      for (int j = 0; j < file->enum_type(i)->value_count(); ++j) {
        const auto& reason = *file->enum_type(i)->value(j);
        if (!used.contains(reason.name()) || !reason.options().HasExtension(unit::v1::reason)) continue;
        const std::string text = CommentOf(reason);
        ordered_json problem = ordered_json::parse(ErrorEnvelope(ErrorOf(&reason, text), meta));
        problem["meta"]["duration_ms"] = 1;  // the document is the same whenever it is made
        examples[reason.name()] = {{"summary", text}, {"value", std::move(problem)}};
      }
    }
  }
  return examples;
}

}  // namespace aima::gateway::openapi
