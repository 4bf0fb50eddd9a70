#include "services/gateway/mcp/unit_source.h"

#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>

#include "aima/unit/v1/errors.pb.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "libs/unit/json_codec.h"
#include "libs/unit/json_schema.h"
#include "services/gateway/envelope.h"
#include "services/gateway/mcp/field_values.h"
#include "services/gateway/mcp/stream_fold.h"

namespace aima::gateway::mcp {
namespace {

using nlohmann::ordered_json;

// A unit that only streams is gathered for at most this long, and up to this many messages.
constexpr absl::Duration kGatherTime = absl::Seconds(30);
constexpr size_t kGatherMessages = 100;
// Calls that may take longer than this can become tasks.
constexpr int kLongMs = 60'000;
// Those of calls that may take longer than this say how to call them without waiting: few clients wait so long.
constexpr int kVeryLongMs = 600'000;
constexpr absl::Duration kProgressInterval = absl::Milliseconds(100);

std::vector<std::string> OfferedNames(const Catalogue& catalogue) {
  std::vector<std::string> names;
  for (const UnitInfo& unit : catalogue.units()) {
    if (unit.options.access() != unit::v1::INTERNAL) names.push_back(unit.name);
  }
  return names;
}

// "Returns one model: its files, …" of the first paragraph, as a title: "Model get" says less than the name itself.
std::string TitleOf(const UnitInfo& unit) {
  std::vector<std::string> words = absl::StrSplit(unit.name, absl::ByAnyChar("._"));
  std::string title = absl::StrJoin(words, " ");
  if (!title.empty()) title[0] = absl::ascii_toupper(title[0]);
  return title;
}

std::string DescriptionOf(const UnitInfo& unit) {
  std::string text = unit.description;
  if (!unit.unary) {
    absl::StrAppend(&text, "\n\nGathers what comes within ", absl::ToInt64Seconds(kGatherTime), " seconds, at most ",
                    kGatherMessages, " messages.");
  }
  if (unit.command() && unit.unary && unit.timeout_ms() >= kVeryLongMs) {
    absl::StrAppend(&text, "\n\nMay take minutes: `operation.start` calls it without waiting, `operation.wait` tells how far "
                           "it is and what came of it.");
  }
  if (unit.options.examples_size() > 0) {
    absl::StrAppend(&text, "\n\nExample: ", unit.options.examples(0).input());
  }
  return text;
}

// A word that says that something ends or goes: such commands are destructive, and what a unit does not say by its
// name is assumed to be harmless only if it may be repeated.
bool IsDestructive(const UnitInfo& unit) {
  if (!unit.command()) return false;
  if (unit.options.access() == unit::v1::ADMIN) return true;
  const std::string verb = unit.name.substr(unit.name.rfind('.') + 1);
  for (const char* word : {"delete", "remove", "stop", "restart", "uninstall", "disable", "exec", "release", "kill",
                           "reset", "revoke", "clean", "purge", "cancel", "drain"}) {
    if (absl::StartsWith(verb, word)) return true;
  }
  return false;
}

// Of a schema with several types one with a branch for each: clients that know schemas of one type only drop the others.
void SplitTypes(ordered_json& schema) {
  static constexpr std::pair<const char*, const char*> kBinds[] = {{"minimum", "integer"}, {"maximum", "integer"},
                                                                   {"pattern", "string"},  {"items", "array"},
                                                                   {"minItems", "array"},  {"maxItems", "array"}};
  const ordered_json types = schema["type"];
  schema.erase("type");
  ordered_json branches = ordered_json::array();
  for (const ordered_json& type : types) {
    ordered_json branch = {{"type", type}};
    for (const auto& [key, bound] : kBinds) {
      if (type == bound && schema.contains(key)) branch[key] = schema[key];
    }
    branches.push_back(std::move(branch));
  }
  for (const auto& [key, bound] : kBinds) schema.erase(key);
  schema["anyOf"] = std::move(branches);
}

// Says of schemas that take any value which values those are: some clients take a schema without a keyword for a mistake.
void SpellOut(ordered_json& schema) {
  if (!schema.is_object()) return;
  if (!schema.contains("type")) {
    schema["anyOf"] = ordered_json::array();
    for (const char* type : {"string", "number", "boolean", "object", "array", "null"}) {
      schema["anyOf"].push_back({{"type", type}});
    }
    return;
  }
  for (const char* key : {"items", "additionalProperties"}) {
    if (schema.contains(key)) SpellOut(schema[key]);
  }
  if (schema["type"].is_array()) return SplitTypes(schema);
  if (!schema.contains("properties")) return;
  for (auto& [name, property] : schema["properties"].items()) SpellOut(property);
}

ordered_json GatheredSchema(const UnitInfo& unit) {
  return {{"type", "object"},
          {"properties",
           {{"messages", {{"type", "array"}, {"items", SchemaOf(*unit.stream->output_type(), SchemaUse::kOutput)}}},
            {"ended", {{"type", "boolean"}, {"description", "False if there may be more than was gathered."}}}}},
          {"required", {"messages", "ended"}},
          {"additionalProperties", false}};
}

std::string ContentsOf(const std::string& uri, std::string_view json_text) {
  std::string result = "{\"contents\":[{\"uri\":";
  AppendJsonString(uri, result);
  result += ",\"mimeType\":\"application/json\",\"text\":";
  AppendJsonString(json_text, result);
  result += "}]}";
  return result;
}

}  // namespace

std::string ToolEntry(const UnitInfo& unit, const std::string& name) {
  ordered_json entry = {{"name", name}, {"title", TitleOf(unit)}, {"description", DescriptionOf(unit)}};
  entry["inputSchema"] = SchemaOf(*unit.method().input_type());
  entry["outputSchema"] =
      unit.unary ? SchemaOf(*unit.unary->output_type(), SchemaUse::kOutput) : GatheredSchema(unit);
  SpellOut(entry["inputSchema"]);
  SpellOut(entry["outputSchema"]);
  entry["annotations"] = {{"title", TitleOf(unit)},
                          {"readOnlyHint", !unit.command()},
                          {"destructiveHint", IsDestructive(unit)},
                          {"idempotentHint", !unit.command() || unit.options.idempotent()},
                          {"openWorldHint", false}};
  return entry.dump();
}

Outcome ErrorOutcome(const absl::Status& status, const ToolNames& names) {
  const ErrorDetails details = DetailsOf(status);
  std::string text = absl::StrCat(details.reason, ": ", details.message);
  for (const FieldViolation& violation : details.violations) {
    if (!absl::StrContains(text, violation.description)) {
      absl::StrAppend(&text, "\n  ", violation.field, " ", violation.description);
    }
  }
  if (!details.remedy.empty()) absl::StrAppend(&text, "\n", names.InTools(details.remedy));
  if (details.retryable) absl::StrAppend(&text, "\nThe same call may succeed later.");
  Outcome outcome = TextResult(text, /*is_error=*/true);
  outcome.meta = absl::StrCat("\"aima/error\":", ErrorJson(status));
  return outcome;
}

UnitSource::UnitSource(const Catalogue& catalogue, UnitRunner& runner, ResourceWatch& watch)
    : catalogue_(catalogue), runner_(runner), watch_(watch), names_(OfferedNames(catalogue)) {
  for (const UnitInfo& unit : catalogue.units()) {
    if (unit.options.access() == unit::v1::INTERNAL) continue;
    Tool tool;
    tool.name = names_.ToolOf(unit.name);
    tool.aliases = {unit.name, "aima_" + tool.name};
    tool.label = unit.name;
    tool.domain = unit.domain;
    tool.access = unit.options.access();
    tool.read_only = !unit.command();
    tool.tasks = unit.timeout_ms() > kLongMs ? TaskUse::kWhenSlow : TaskUse::kNever;
    tool.entry = names_.InTools(ToolEntry(unit, tool.name));
    tools_.push_back(std::move(tool));
  }
  for (const ViewInfo& view : catalogue.views()) {
    Resource resource;
    resource.uri = view.uri;
    resource.is_template = absl::StrContains(view.uri, "{");
    resource.access = view.unit->options.access();
    resource.entry = ordered_json{{resource.is_template ? "uriTemplate" : "uri", view.uri},
                                  {"name", view.uri.substr(view.uri.find("://") + 3)},
                                  {"title", TitleOf(*view.unit)},
                                  {"description", names_.InTools(view.unit->description)},
                                  {"mimeType", "application/json"}}
                         .dump();
    resources_.push_back(std::move(resource));
  }
}

Task<Outcome> UnitSource::CallTool(Call& call, const Tool& tool, const Input& input) {
  const UnitInfo& unit = *catalogue_.Find(tool.label);
  absl::StatusOr<std::string> output = co_await Run(call, unit, input.arguments);
  if (!output.ok()) co_return ErrorOutcome(output.status(), names_);
  // The same twice: for programs, and as text for models and for clients that know no structured content.
  std::string result;
  result.reserve(output->size() * 2 + output->size() / 4 + 100);
  result += "{\"content\":[{\"type\":\"text\",\"text\":";
  AppendJsonString(*output, result);
  absl::StrAppend(&result, "}],\"structuredContent\":", *output, "}");
  co_return Outcome::Result(std::move(result));
}

Task<absl::StatusOr<std::string>> UnitSource::Run(Call& call, const UnitInfo& unit, const json& arguments) {
  if (!unit.unary) co_return co_await Gather(call, unit, arguments);
  if (call.wants_progress() && StreamFold::Fits(unit)) co_return co_await RunFolded(call, unit, arguments);
  CallContext context = call.context();
  CO_ASSIGN_OR_RETURN(Output output, co_await runner_.Run(context, unit, arguments, {}));
  co_return std::move(output.json);
}

Task<absl::StatusOr<std::string>> UnitSource::RunFolded(Call& call, const UnitInfo& unit, const json& arguments) {
  StreamFold fold(unit);
  absl::Time told = absl::InfinitePast();
  const UnitRunner::Sink sink = [&](const std::string& text) -> Task<absl::Status> {
    fold.Add(json::parse(text, nullptr, false));
    if (absl::Now() - told >= kProgressInterval) {
      told = absl::Now();
      call.Progress(fold.progress(), fold.total(), fold.TakeNews());
    }
    co_return absl::OkStatus();
  };
  CallContext context = call.context();
  CO_RETURN_IF_ERROR(co_await runner_.Stream(context, unit, arguments, {}, sink));
  if (!fold.output().is_object()) {
    co_return Error(unit::v1::INTERNAL_ERROR, absl::StrCat(unit.name, " ended without a result"));
  }
  call.Progress(fold.progress(), fold.total(), fold.TakeNews());
  co_return Dump(fold.output());
}

Task<absl::StatusOr<std::string>> UnitSource::Gather(Call& call, const UnitInfo& unit, const json& arguments) {
  std::string messages;
  size_t count = 0;
  const UnitRunner::Sink sink = [&](const std::string& text) -> Task<absl::Status> {
    absl::StrAppend(&messages, messages.empty() ? "" : ",", text);
    call.Progress(static_cast<double>(++count), 0, "");
    if (count >= kGatherMessages) co_return absl::OutOfRangeError("enough");
    co_return absl::OkStatus();
  };
  CallContext context = call.context();
  RunOptions options;
  options.timeout = kGatherTime;
  const absl::Status status = co_await runner_.Stream(context, unit, arguments, options, sink);
  const bool enough = absl::IsOutOfRange(status) && count >= kGatherMessages;
  const bool late = absl::IsDeadlineExceeded(status);
  if (!status.ok() && !enough && !late) co_return status;
  co_return absl::StrCat("{\"messages\":[", messages, "],\"ended\":", status.ok() ? "true" : "false", "}");
}

bool UnitSource::Owns(std::string_view uri) const { return absl::StartsWith(absl::string_view(uri.data(), uri.size()), "asms://"); }

absl::Status UnitSource::MayRead(const Caller& caller, const std::string& uri) const {
  ASSIGN_OR_RETURN(const auto resolved, runner_.Resolve(uri));
  return Access::Check(caller, resolved.first->unit->options.access(), uri);
}

Task<absl::StatusOr<std::string>> UnitSource::Read(Call& call, const std::string& uri) {
  CO_RETURN_IF_ERROR(MayRead(call.caller(), uri));
  CO_ASSIGN_OR_RETURN(const auto resolved, runner_.Resolve(uri));
  CallContext context = call.context();
  CO_ASSIGN_OR_RETURN(const Output output, co_await runner_.Run(context, *resolved.first->unit, resolved.second, {}));
  co_return ContentsOf(uri, output.json);
}

Task<absl::Status> UnitSource::Watch(CallContext call, std::string uri, std::function<void()> ready,
                                     std::function<Task<absl::Status>()> changed) {
  CO_ASSIGN_OR_RETURN(const auto resolved, runner_.Resolve(uri));
  bool first = true;  // is what the resource was, not a change
  const ResourceWatch::Sink sink = [&](const std::string&, int64_t) -> Task<absl::Status> {
    if (std::exchange(first, false)) {
      ready();
      co_return absl::OkStatus();
    }
    co_return co_await changed();
  };
  const absl::Status status = co_await watch_.Watch(call, *resolved.first, resolved.second, sink);
  // That it is there no longer is a change too.
  if (!first && absl::IsNotFound(status)) CO_RETURN_IF_ERROR(co_await changed());
  co_return status;
}

Task<Completion> UnitSource::CompleteVariable(Call& call, const Resource& resource, const std::string& name,
                                              const std::string& begun) {
  const auto view = std::find_if(catalogue_.views().begin(), catalogue_.views().end(),
                                 [&](const ViewInfo& view) { return view.uri == resource.uri; });
  Completion completion;
  if (view == catalogue_.views().end()) co_return completion;
  completion.values = co_await FieldValues(catalogue_, runner_, call, *view->unit, name, begun);
  co_return completion;
}

}  // namespace aima::gateway::mcp
