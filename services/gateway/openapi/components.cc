#include "services/gateway/openapi/components.h"

#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>

namespace aima::gateway::openapi {
namespace {

using google::protobuf::Descriptor;

void AddWithInner(const Descriptor& message, absl::flat_hash_set<const Descriptor*>& all) {
  if (HasOwnJsonForm(message) || !all.insert(&message).second) return;
  for (int i = 0; i < message.field_count(); ++i) {
    if (const Descriptor* inner = message.field(i)->message_type()) AddWithInner(*inner, all);
  }
}

ordered_json Text(const char* description) { return {{"type", "string"}, {"description", description}}; }
ordered_json Whole(const char* description) { return {{"type", "integer"}, {"description", description}}; }
ordered_json Flag(const char* description) { return {{"type", "boolean"}, {"description", description}}; }

ordered_json MetaSchema() {
  return {{"type", "object"},
          {"description", "About the call that is answered."},
          {"properties",
           {{"request_id", Text("Names this call in logs; also the header X-Request-Id.")},
            {"duration_ms", Whole("How long it took, in milliseconds.")},
            {"trace_id", Text("Names the caller's whole request over all services.")},
            {"pagination", RefTo("schemas", "Pagination")}}},
          {"required", {"request_id", "duration_ms", "trace_id"}}};
}

ordered_json PaginationSchema() {
  return {{"type", "object"},
          {"description", "Where a page of a list is; only what the unit tells."},
          {"properties",
           {{"total", Whole("Number of entries in all.")},
            {"limit", Whole("Greatest number of entries on a page.")},
            {"offset", Whole("Number of entries before this page.")},
            {"next_page_token", Text("Give it as page_token to get the next page.")}}}};
}

ordered_json ProblemSchema() {
  const ordered_json field = {{"type", "object"},
                              {"properties",
                               {{"field", Text("Path of the field, such as messages[2].role.")},
                                {"description", Text("What is wrong with it.")}}},
                              {"required", {"field", "description"}}};
  const ordered_json details = {
      {"type", "object"},
      {"description", "What else is known, by name. The values that the unit adds are texts."},
      {"properties",
       {{"remedy", Text("What to do about it.")},
        {"retryable", Flag("The same call may succeed later, unchanged.")},
        {"fields", {{"type", "array"}, {"description", "Every wrong field of the input."}, {"items", field}}}}},
      {"required", {"remedy", "retryable"}}};
  return {{"type", "object"},
          {"description",
           "Why a call failed: problem details (RFC 9457) with the members `success`, `error` and `meta`, which are the "
           "same envelope that answers have."},
          {"properties",
           {{"type", {{"type", "string"}, {"format", "uri-reference"}, {"description", "Where the reason is described."}}},
            {"title", Text("The reason in words.")},
            {"status", Whole("The HTTP status.")},
            {"detail", Text("What happened this time.")},
            {"success", {{"type", "boolean"}, {"const", false}}},
            {"error",
             {{"type", "object"},
              {"properties",
               {{"code", Text("The declared reason, such as MODEL_NOT_FOUND: what programs look at.")},
                {"message", Text("What happened this time.")},
                {"details", details}}},
              {"required", {"code", "message", "details"}}}},
            {"meta", RefTo("schemas", "Meta")}}},
          {"required", {"type", "title", "status", "detail", "success", "error", "meta"}}};
}

ordered_json ExecutionSchema() {
  const ordered_json options = {
      {"type", "object"},
      {"properties",
       {{"timeout",
         {{"type", {"integer", "string"}},
          {"description", "Give up after this long: milliseconds, or a duration such as \"30s\". Without it, the unit's own."}}},
        {"async", Flag("Do not wait: the answer is 202 and an operation.")},
        {"trace_id", {{"type", "string"}, {"maxLength", 200}, {"description", "Trace id to use in place of a new one."}}},
        {"idempotency_key",
         {{"type", "string"}, {"maxLength", 200}, {"description", "Any text of the caller's own: a command repeated with the same key within 48 hours takes effect once."}}}}},
      {"additionalProperties", false}};
  return {{"type", "object"},
          {"description", "A call of any unit."},
          {"properties",
           {{"type",
             {{"type", "string"},
              {"enum", {"command", "query", "resource"}},
              {"description", "Refuse a unit of another kind; with `resource`, `unit` is an asms:// address."}}},
            {"unit", Text("Name of the unit, such as model.list.")},
            {"input", {{"type", "object"}, {"description", "The unit's input."}}},
            {"options", options}}},
          {"required", {"unit"}},
          {"additionalProperties", false}};
}

}  // namespace

Components::Components(const Catalogue& catalogue) {
  for (const UnitInfo& unit : catalogue.units()) {
    if (unit.options.access() == unit::v1::INTERNAL) continue;
    if (unit.unary) AddWithInner(*unit.unary->output_type(), answered_);
    if (unit.stream) AddWithInner(*unit.stream->output_type(), answered_);
  }
}

std::string Components::NameOf(const Descriptor& message, SchemaUse use) const {
  std::vector<std::string> parts = absl::StrSplit(message.full_name(), '.');
  // aima.<domain>.v1.Message
  if (parts.size() > 3) parts.erase(parts.begin() + 2);
  parts.erase(parts.begin());
  if (use == SchemaUse::kInput && answered_.contains(&message)) parts.push_back("Input");
  return absl::StrJoin(parts, ".");
}

ordered_json Components::Ref(const Descriptor& message, SchemaUse use) {
  if (HasOwnJsonForm(message)) return SchemaOf(message, use);
  Schema(message, use);
  return RefTo("schemas", NameOf(message, use));
}

const ordered_json& Components::Schema(const Descriptor& message, SchemaUse use) {
  auto [entry, is_new] = schemas_.try_emplace(NameOf(message, use));
  if (!is_new) return entry->second;
  ordered_json schema = SharedSchemaOf(message, use, [&](const Descriptor& inner) {
    Schema(inner, use);
    return absl::StrCat("#/components/schemas/", NameOf(inner, use));
  });
  const std::string comment = CommentOf(message);
  if (!comment.empty()) schema["description"] = comment;
  return entry->second = std::move(schema);
}

void AddFixedSchemas(ordered_json& schemas) {
  schemas["Execution"] = ExecutionSchema();
  schemas["Meta"] = MetaSchema();
  schemas["Pagination"] = PaginationSchema();
  schemas["Problem"] = ProblemSchema();
}

ordered_json RefTo(const char* kind, const std::string& name) {
  return {{"$ref", absl::StrCat("#/components/", kind, "/", name)}};
}

ordered_json Enveloped(ordered_json data) {
  return {{"type", "object"},
          {"properties",
           {{"success", {{"type", "boolean"}, {"const", true}}},
            {"data", std::move(data)},
            {"meta", RefTo("schemas", "Meta")}}},
          {"required", {"success", "data", "meta"}}};
}

}  // namespace aima::gateway::openapi
