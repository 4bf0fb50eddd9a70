// Paths of units and of the resources that they back (paths.h).
#include <absl/strings/ascii.h>
#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include <algorithm>

#include "libs/errors/errors.h"
#include "libs/unit/json_codec.h"
#include "services/gateway/openapi/paths.h"

namespace aima::gateway::openapi {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

constexpr char kJson[] = "application/json";

const ReasonInfo* FindReason(const Catalogue& catalogue, const std::string& name) {
  const auto found = std::find_if(catalogue.reasons().begin(), catalogue.reasons().end(),
                                  [&](const ReasonInfo& reason) { return reason.name == name; });
  return found == catalogue.reasons().end() ? nullptr : &*found;
}

std::string Slug(const std::string& title) {
  std::string slug;
  for (const char c : title) {
    if (absl::ascii_isalnum(c)) {
      slug += absl::ascii_tolower(c);
    } else if (!slug.empty() && slug.back() != '-') {
      slug += '-';
    }
  }
  while (!slug.empty() && slug.back() == '-') slug.pop_back();
  return slug.empty() ? "example" : slug;
}

// True if the values of this field can be written into an address.
bool FitsAddress(const FieldDescriptor& field) {
  if (field.is_map()) return false;
  if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) return true;
  const std::string& name = field.message_type()->full_name();
  return name == "google.protobuf.Timestamp" || name == "google.protobuf.Duration";
}

// Units of operations are none themselves.
bool CanBeOperation(const UnitInfo& unit) { return unit.unary && unit.domain != "gateway"; }

// Adds what may go wrong: the reasons that a unit declares, one response per status, and those that all units share.
void AddProblems(const Catalogue& catalogue, const UnitInfo& unit, ordered_json& responses) {
  std::map<int, std::vector<std::string>> by_status;
  for (const std::string& name : unit.options.errors()) {
    if (const ReasonInfo* reason = FindReason(catalogue, name)) {
      by_status[HttpStatusOf(absl::Status(static_cast<absl::StatusCode>(reason->options.code()), ""))].push_back(name);
    }
  }
  std::map<int, ordered_json> problems = {{400, RefTo("responses", "InvalidInput")},
                                          {401, RefTo("responses", "Unauthenticated")},
                                          {403, RefTo("responses", "PermissionDenied")},
                                          {429, RefTo("responses", "Overloaded")}};
  const std::map<int, const char*> common = {
      {400, "INVALID_INPUT"}, {401, "UNAUTHENTICATED"}, {403, "PERMISSION_DENIED"}, {429, "OVERLOADED"}};
  for (auto& [status, names] : by_status) {
    const auto shared = common.find(status);
    if (shared != common.end() && std::find(names.begin(), names.end(), shared->second) == names.end()) {
      names.insert(names.begin(), shared->second);
    }
    std::vector<std::string> texts;
    ordered_json examples = ordered_json::object();
    for (const std::string& name : names) {
      texts.push_back(absl::StrCat("`", name, "`: ", FindReason(catalogue, name)->description));
      examples[name] = RefTo("examples", name);
    }
    problems[status] = {
        {"description", absl::StrJoin(texts, "\n\n")},
        {"content",
         {{"application/problem+json", {{"schema", RefTo("schemas", "Problem")}, {"examples", std::move(examples)}}}}}};
  }
  for (auto& [status, problem] : problems) responses[absl::StrCat(status)] = std::move(problem);
  responses["default"] = RefTo("responses", "Problem");
}

// An example in the form that the schema describes: units also take a single value for a list of one.
ordered_json InSchemaForm(ordered_json value, const Descriptor& message) {
  if (!value.is_object() || HasOwnJsonForm(message)) return value;
  for (auto& [name, inner] : value.items()) {
    const FieldDescriptor* field = message.FindFieldByName(name);
    if (!field || field->is_map()) continue;
    if (field->is_repeated() && !inner.is_array()) inner = ordered_json::array({inner});
    if (!field->message_type()) continue;
    if (!field->is_repeated()) {
      inner = InSchemaForm(inner, *field->message_type());
    } else {
      for (ordered_json& item : inner) item = InSchemaForm(item, *field->message_type());
    }
  }
  return value;
}

ordered_json StreamContent(const ordered_json& message) {
  ordered_json line = {{"type", "object"},
                       {"description", "One line: a message, or how the stream ended."},
                       {"properties",
                        {{"data", message},
                         {"done", {{"type", "object"}, {"description", "The last line of a stream that is whole."}}},
                         {"error", {{"type", "object"}, {"description", "Why it ended early: code, message, details."}}}}}};
  return {{"text/event-stream", {{"schema", message}}}, {"application/x-ndjson", {{"schema", std::move(line)}}}};
}

ordered_json AnswerOf(const UnitInfo& unit, bool get, Components& components) {
  ordered_json answer = {{"description", "What the unit answers."}};
  ordered_json headers = {{"X-Request-Id", RefTo("headers", "X-Request-Id")}};
  if (get) headers["ETag"] = RefTo("headers", "ETag");
  answer["headers"] = std::move(headers);
  ordered_json content = ordered_json::object();
  if (unit.unary) {
    content[kJson] = {{"schema", Enveloped(components.Ref(*unit.unary->output_type(), SchemaUse::kOutput))}};
  }
  if (unit.stream) content.update(StreamContent(components.Ref(*unit.stream->output_type(), SchemaUse::kOutput)));
  answer["content"] = std::move(content);
  return answer;
}

std::string DescriptionOf(const UnitInfo& unit) {
  std::string text = unit.description;
  if (!unit.unary) {
    absl::StrAppend(&text, "\n\nAnswers with a stream: server-sent events `data`, then `done` or `error`; as lines of JSON with ",
                    "`Accept: application/x-ndjson`.");
  } else if (unit.stream) {
    absl::StrAppend(&text, "\n\nWith `Accept: text/event-stream` the answer is a stream of server-sent events `data`, then ",
                    "`done` or `error`; with `Accept: application/x-ndjson` lines of JSON.");
  }
  return text;
}

ordered_json OperationOf(const Catalogue& catalogue, const UnitInfo& unit, bool get, Components& components) {
  const Descriptor& input = *unit.method().input_type();
  ordered_json operation = {{"operationId", get ? unit.name + ".get" : unit.name},
                            {"summary", FirstSentence(unit.description)},
                            {"description", DescriptionOf(unit)},
                            {"tags", {unit.name.substr(0, unit.name.find('.'))}}};
  ordered_json parameters = ordered_json::array();
  if (get) {
    for (int i = 0; i < input.field_count(); ++i) parameters.push_back(ParameterOf(*input.field(i), "query", components));
    parameters.push_back(RefTo("parameters", "If-None-Match"));
  } else {
    if (input.FindFieldByName("idempotency_key")) parameters.push_back(RefTo("parameters", "Idempotency-Key"));
    if (CanBeOperation(unit)) parameters.push_back(RefTo("parameters", "Prefer"));
  }
  if (!parameters.empty()) operation["parameters"] = std::move(parameters);
  if (!get) {
    const ordered_json& schema = components.Schema(input, SchemaUse::kInput);
    ordered_json body = {{"schema", components.Ref(input, SchemaUse::kInput)}};
    for (const auto& example : unit.options.examples()) {
      body["examples"][Slug(example.title())] = {{"summary", example.title()},
                                                 {"value", InSchemaForm(ordered_json::parse(example.input(), nullptr, false), input)}};
    }
    operation["requestBody"] = {{"required", schema.contains("required")}, {"content", {{kJson, std::move(body)}}}};
  }
  ordered_json responses = {{"200", AnswerOf(unit, get, components)}};
  if (!get && CanBeOperation(unit)) responses["202"] = RefTo("responses", "Accepted");
  if (get) responses["304"] = RefTo("responses", "NotModified");
  AddProblems(catalogue, unit, responses);
  operation["responses"] = std::move(responses);
  if (unit.options.access() == unit::v1::ADMIN) {
    operation["security"] = {{{"bearer", ordered_json::array()}}, {{"key", ordered_json::array()}}};
  }
  return operation;
}

// What programs of ours read, such as the reference page.
ordered_json Extension(const UnitInfo& unit) {
  ordered_json text = {{"name", unit.name},
                       {"kind", unit.command() ? "command" : "query"},
                       {"access", EnumText(*unit::v1::Access_descriptor()->FindValueByNumber(unit.options.access()))},
                       {"streaming", unit.stream != nullptr},
                       {"streaming_only", unit.unary == nullptr},
                       {"idempotent", !unit.command() || unit.options.idempotent()},
                       {"timeout_ms", unit.timeout_ms()},
                       {"rpc", unit.method().full_name()}};
  text["errors"] = std::vector<std::string>(unit.options.errors().begin(), unit.options.errors().end());
  text["resources"] = ordered_json::array();
  for (const auto& view : unit.options.views()) text["resources"].push_back(view.uri());
  return text;
}

// Reading and watching what backs an asms:// address.
void AddResource(const Catalogue& catalogue, const ViewInfo& view, Components& components,
                 std::map<std::string, ordered_json>& paths) {
  const UnitInfo& unit = *view.unit;
  const Descriptor& input = *unit.method().input_type();
  ordered_json parameters = ordered_json::array();
  std::vector<std::string> words;
  for (const std::string& segment : view.segments) {
    if (segment.front() != '{') {
      words.push_back(segment);
    } else if (const FieldDescriptor* field = input.FindFieldByName(segment.substr(1, segment.size() - 2))) {
      parameters.push_back(ParameterOf(*field, "path", components));
    }
  }
  const std::string id = absl::StrCat("resource.", absl::StrJoin(words, "."), parameters.empty() ? "" : ".one");
  const ordered_json value = components.Ref(*unit.method().output_type(), SchemaUse::kOutput);
  ordered_json get = {{"operationId", id},
                      {"summary", absl::StrCat("Reads ", view.uri)},
                      {"description", absl::StrCat("What `", unit.name, "` answers: ", unit.description)},
                      {"tags", {"resources"}}};
  ordered_json responses = {{"200", AnswerOf(unit, true, components)}, {"304", RefTo("responses", "NotModified")}};
  responses["200"]["content"] = {{kJson, {{"schema", Enveloped(value)}}}};
  AddProblems(catalogue, unit, responses);
  get["responses"] = responses;
  get["parameters"] = ordered_json::array({RefTo("parameters", "If-None-Match")});
  const std::string path = absl::StrCat("/api/v2/resource/", absl::StrJoin(view.segments, "/"));
  ordered_json watch = {{"operationId", id + ".watch"},
                        {"summary", absl::StrCat("Follows ", view.uri)},
                        {"description",
                         "A stream of server-sent events: `update` with what the resource is, now and after each change; "
                         "`error` if it cannot go on."},
                        {"tags", {"resources"}}};
  responses.erase("304");
  responses["200"] = {{"description", "The resource, each time that it changes."},
                      {"content", {{"text/event-stream", {{"schema", value}}}}}};
  watch["responses"] = std::move(responses);
  ordered_json item = ordered_json::object();
  if (!parameters.empty()) item["parameters"] = parameters;
  ordered_json watch_item = item;
  item["get"] = std::move(get);
  watch_item["get"] = std::move(watch);
  paths[path] = std::move(item);
  paths[path + "/watch"] = std::move(watch_item);
}

}  // namespace

ordered_json ParameterOf(const FieldDescriptor& field, const char* place, Components& components) {
  ordered_json schema = components.Schema(*field.containing_type(), SchemaUse::kInput)["properties"][field.name()];
  ordered_json parameter = {{"name", field.name()}, {"in", place}};
  if (schema.contains("description")) {
    parameter["description"] = schema["description"];
    schema.erase("description");
  }
  const bool path = std::string_view(place) == "path";
  if (path || RulesOf(field).required()) parameter["required"] = true;
  // In an address there is nothing but the value, and an empty one is no segment.
  if (path) schema.erase("default");
  parameter["schema"] = std::move(schema);
  return parameter;
}

bool IsOffered(const UnitInfo& unit, Role role) {
  return unit.options.access() != unit::v1::INTERNAL &&
         Access::Check(Caller{"", role}, unit.options.access(), unit.name).ok();
}

std::string FirstSentence(const std::string& text) {
  const size_t end = std::min({text.find(". "), text.find(": "), text.find('\n'), text.size()});
  std::string sentence = text.substr(0, end);
  while (!sentence.empty() && (sentence.back() == '.' || sentence.back() == ':')) sentence.pop_back();
  return sentence;
}

void AddUnitPaths(const Catalogue& catalogue, const UnitInfo& unit, Components& components,
                  std::map<std::string, ordered_json>& paths) {
  const Descriptor& input = *unit.method().input_type();
  ordered_json item = {{"x-aima-unit", Extension(unit)}};
  bool fits = !unit.command();
  for (int i = 0; i < input.field_count(); ++i) fits = fits && FitsAddress(*input.field(i));
  if (fits) item["get"] = OperationOf(catalogue, unit, /*get=*/true, components);
  item["post"] = OperationOf(catalogue, unit, /*get=*/false, components);
  paths[absl::StrCat("/api/v2/", unit.command() ? "command/" : "query/", unit.name)] = std::move(item);
  for (const ViewInfo& view : catalogue.views()) {
    if (view.unit == &unit) AddResource(catalogue, view, components, paths);
  }
}

}  // namespace aima::gateway::openapi
