#include "services/gateway/mcp/methods.h"

#include <absl/container/flat_hash_set.h>
#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>

#include "aima/unit/v1/errors.pb.h"
#include "libs/errors/errors.h"
#include "libs/unit/json_codec.h"

#ifndef AIMA_VERSION
#error "AIMA_VERSION is given by the build"
#endif

namespace aima::gateway::mcp {
namespace {

constexpr absl::Duration kStateLifetime = absl::Minutes(10);
constexpr size_t kMaxSubscriptions = 100;
constexpr size_t kMaxCapabilities = 64 << 10;  // that a session keeps
constexpr size_t kMaxCompletions = 100;
constexpr int kListTtlMs = 300'000;  // the catalogue of a running gateway does not change

constexpr char kInstructions[] =
    "AIMA manages AI models, inference engines and the memory of this machine. Ids come from model_list, engine_list (engines "
    "and their instances), device_info (devices) and resource_allocations (slots); the same things can be read and watched as "
    "asms:// resources. Errors say what to correct.";

json ServerInfo() { return {{"name", "aima"}, {"title", "AIMA"}, {"version", AIMA_VERSION}}; }

// Who calls what with which arguments.
std::string PurposeOf(const std::string& principal, const Message& request) {
  const json& params = request.params;
  return absl::StrCat(principal, "\n", request.method, "\n", TextMember(params, "name"), TextMember(params, "uri"), "\n",
                      Dump(Member(params, "arguments")));
}

void AppendDecorated(std::string_view result, bool modern, std::string_view meta, std::string_view type, std::string& text) {
  if (!modern && meta.empty()) {
    text.append(result);
    return;
  }
  text += '{';
  if (modern) text.append("\"resultType\":\"").append(type).append("\",");
  text += "\"_meta\":{";
  static const std::string* info = new std::string(absl::StrCat("\"", kServerInfoKey, "\":", Dump(ServerInfo())));
  if (modern) text += *info;
  if (modern && !meta.empty()) text += ',';
  text.append(meta).append("}");
  if (result == "{}") {
    text += '}';
  } else {
    text.append(",").append(result.substr(1));
  }
}

std::string Chopped(const std::string& text) { return text.substr(0, 200); }

// What is wrong with a member that must be text.
std::optional<RpcError> NeedText(const json& params, const char* name, std::string& text) {
  if (!Member(params, name).is_string()) {
    return RpcError{kInvalidParams, absl::StrCat("params.", name, " must be a string"), nullptr};
  }
  text = TextMember(params, name);
  return std::nullopt;
}

}  // namespace

RpcError NothingAt(const std::string& uri, bool modern) {
  return {modern ? kInvalidParams : kResourceNotFound, absl::StrCat("there is no resource at ", Chopped(uri)),
          json{{"uri", uri}}};
}

bool Methods::Exists(const std::string& method, bool modern) {
  static const auto* both = new absl::flat_hash_set<std::string>{
      "tools/list",   "tools/call",  "resources/list", "resources/templates/list", "resources/read",
      "prompts/list", "prompts/get", "completion/complete"};
  static const auto* legacy = new absl::flat_hash_set<std::string>{"initialize", "ping", "logging/setLevel",
                                                                   "resources/subscribe", "resources/unsubscribe"};
  static const auto* later = new absl::flat_hash_set<std::string>{"server/discover", "subscriptions/listen", "tasks/get",
                                                                  "tasks/update", "tasks/cancel"};
  return both->contains(method) || (modern ? later : legacy)->contains(method);
}

std::string Methods::Decorate(std::string_view result, bool modern, std::string_view meta, std::string_view type) {
  std::string text;
  text.reserve(result.size() + meta.size() + 200);
  AppendDecorated(result, modern, meta, type, text);
  return text;
}

json Methods::Capabilities(bool modern) const {
  json list = json::object();
  if (directory_.lists_change()) list["listChanged"] = true;
  json capabilities = {{"tools", list}, {"prompts", list}, {"resources", list}, {"completions", json::object()}};
  capabilities["resources"]["subscribe"] = true;
  if (modern) {
    capabilities["extensions"] = {{kTasksExtension, json::object()}};
  } else {
    capabilities["logging"] = json::object();
  }
  return capabilities;
}

ClientTerms Methods::TermsOf(const Request& request) const {
  ClientTerms terms;
  terms.modern = request.modern;
  const json& meta = Member(request.message.params, "_meta");
  const json& token = Member(meta, "progressToken");
  if (token.is_string() || token.is_number_integer()) terms.progress_token = token;
  if (request.modern) {
    if (const json& declared = Member(meta, kCapabilitiesKey); declared.is_object()) terms.capabilities = declared;
    terms.log_level = LogLevelOf(TextMember(meta, kLogLevelKey));
  } else if (request.session) {
    terms.capabilities = request.session->capabilities;
    terms.log_level = request.session->log_level;
  }
  return terms;
}

std::optional<Reply> Methods::AnswerAtOnce(Request& request) {
  const std::string& method = request.message.method;
  if (method == "tools/list") return ListTools(request);
  if (method == "resources/list") return List(request, directory_.Resources(request.caller.role));
  if (method == "resources/templates/list") return List(request, directory_.Templates(request.caller.role));
  if (method == "prompts/list") return List(request, directory_.Prompts(request.caller.role));
  if (method == "initialize") return Initialize(request);
  if (method == "server/discover") return Discover(request);
  if (method == "ping") return Reply::Result("{}");
  if (method == "logging/setLevel") return SetLevel(request);
  if (method == "resources/unsubscribe") return Unsubscribe(request);
  if (absl::StartsWith(method, "tasks/")) return TaskMethod(request);
  return std::nullopt;
}

Reply Methods::Initialize(Request& request) {
  std::string version;
  if (const auto wrong = NeedText(request.message.params, "protocolVersion", version)) return {.error = wrong};
  const json& capabilities = Member(request.message.params, "capabilities");
  if (Dump(capabilities).size() > kMaxCapabilities) {
    return Reply::Error(kInvalidParams, absl::StrCat("params.capabilities has more than ", kMaxCapabilities, " bytes"), nullptr, 400);
  }
  Reply reply;
  reply.opened = sessions_.Create(request.caller.principal);
  if (!reply.opened) {
    return Reply::Error(kInternalError, "there are too many sessions that are in use; try again later",
                        json{{"reason", "OVERLOADED"}}, 503);
  }
  // A version that is not known is answered with the newest of this era; the client decides whether it goes on.
  reply.opened->version = IsLegacyVersion(version) ? version : std::string(kLegacyVersions[0]);
  if (capabilities.is_object()) reply.opened->capabilities = capabilities;
  reply.result = Dump({{"protocolVersion", reply.opened->version},
                       {"capabilities", Capabilities(false)},
                       {"serverInfo", ServerInfo()},
                       {"instructions", kInstructions}});
  return reply;
}

Reply Methods::Discover(const Request& request) {
  return Reply::Result(Decorate(Dump({{"supportedVersions", json::array({std::string(kModernVersion)})},
                                      {"capabilities", Capabilities(true)},
                                      {"instructions", kInstructions},
                                      {"ttlMs", kListTtlMs},
                                      {"cacheScope", "public"}}),
                                true));
}

Reply Methods::List(const Request& request, const std::string& list) {
  // Everything is on one page, so no cursor was ever given out.
  const json& cursor = Member(request.message.params, "cursor");
  if (!cursor.is_null() && cursor != "") return Reply::Error(kInvalidParams, "params.cursor is none that was given out here");
  if (!request.modern) return Reply::Result(list);
  const std::string hints = absl::StrCat("{\"ttlMs\":", kListTtlMs, ",\"cacheScope\":\"private\",", list.substr(1));
  return Reply::Result(Decorate(hints, true));
}

Reply Methods::ListTools(const Request& request) {
  const absl::StatusOr<const ToolView*> view = directory_.Tools(request.caller.role, request.toolsets);
  if (!view.ok()) return Reply::Error(kInvalidParams, DetailsOf(view.status()).message, nullptr, 400);
  return List(request, (*view)->list);
}

Reply Methods::SetLevel(const Request& request) {
  const int level = LogLevelOf(TextMember(request.message.params, "level"));
  if (level < 0) {
    return Reply::Error(kInvalidParams, "params.level must be debug, info, notice, warning, error, critical, alert or emergency");
  }
  if (request.session) request.session->log_level = level;
  return Reply::Result("{}");
}

Reply Methods::Unsubscribe(const Request& request) {
  std::string uri;
  if (const auto wrong = NeedText(request.message.params, "uri", uri)) return {.error = wrong};
  if (request.session) request.session->watches.Remove(uri);
  return Reply::Result("{}");
}

Reply Methods::TaskMethod(const Request& request) {
  const ClientTerms terms = TermsOf(request);
  if (!Member(terms.capabilities, "extensions").contains(kTasksExtension)) {
    return Reply::Error(kMissingCapability, absl::StrCat("the client has not declared ", kTasksExtension),
                        json{{"requiredCapabilities", {{"extensions", {{kTasksExtension, json::object()}}}}}}, 400);
  }
  std::string id;
  if (const auto wrong = NeedText(request.message.params, "taskId", id)) return {.error = wrong};
  Tasks::Task* task = tasks_.Find(id, request.caller.principal);
  if (!task) return Reply::Error(kInvalidParams, "there is no such task", json{{"taskId", id}});
  const std::string& method = request.message.method;
  if (method == "tasks/get") return Reply::Result(Decorate(Dump(Tasks::ToJson(*task, true)), true));
  if (method == "tasks/cancel") {
    task->call->Cancel();
    return Reply::Result(Decorate("{}", true));
  }
  const json& responses = Member(request.message.params, "inputResponses");
  if (!responses.is_object()) return Reply::Error(kInvalidParams, "params.inputResponses must be an object");
  tasks_.Update(*task, responses);
  return Reply::Result(Decorate("{}", true));
}

// Methods that take their time.

std::optional<RpcError> Methods::ReadInput(const Request& request, Input& input) const {
  const json& params = request.message.params;
  if (const json& arguments = Member(params, "arguments"); !arguments.is_null()) {
    if (!arguments.is_object()) return RpcError{kInvalidParams, "params.arguments must be an object", nullptr};
    input.arguments = arguments;
  }
  if (!request.modern) return std::nullopt;
  if (params.contains("inputResponses")) {
    const json& responses = Member(params, "inputResponses");
    bool good = responses.is_object();
    for (const auto& [key, response] : responses.items()) good = good && response.is_object();
    if (!good) return RpcError{kInvalidParams, "params.inputResponses must be an object of objects", nullptr};
    input.responses = responses;
  }
  if (const json& state = Member(params, "requestState"); !state.is_null()) {
    const absl::StatusOr<std::string> opened =
        state.is_string() ? sealed_.Open(state.get<std::string>(), PurposeOf(request.caller.principal, request.message), absl::Now())
                          : absl::StatusOr<std::string>(InvalidInput("requestState", "must be a string"));
    if (!opened.ok()) return RpcError{kInvalidParams, DetailsOf(opened.status()).message, nullptr};
    input.state = *opened;
  }
  return std::nullopt;
}

std::optional<RpcError> Methods::Begin(Request& request, Work& work) {
  const std::string& method = request.message.method;
  if (method == "tools/call") return BeginTool(request, work);
  if (method == "prompts/get") return BeginPrompt(request, work);
  if (method == "resources/read") return BeginRead(request, work);
  if (method == "resources/subscribe") return BeginSubscription(request, work);
  if (method == "completion/complete") return BeginCompletion(request, work);
  return RpcError{kMethodNotFound, absl::StrCat("there is no method ", Chopped(method)), nullptr,
                  request.modern ? 404 : 0};
}

std::optional<RpcError> Methods::BeginTool(Request& request, Work& work) {
  std::string name;
  if (auto wrong = NeedText(request.message.params, "name", name)) return wrong;
  const absl::StatusOr<const ToolView*> view = directory_.Tools(request.caller.role, request.toolsets);
  if (!view.ok()) return RpcError{kInvalidParams, DetailsOf(view.status()).message, nullptr, 400};
  const auto found = (*view)->by_name.find(name);
  if (found == (*view)->by_name.end()) {
    const Tool* tool = directory_.FindTool(name);
    std::string why = absl::StrCat("there is no tool ", Chopped(name));
    if (tool && !MayUse(request.caller.role, tool->access)) {
      why = DetailsOf(Access::Check(request.caller, tool->access, tool->name)).message;
    } else if (tool) {
      absl::StrAppend(&why, " in the toolsets of this connection; /mcp/x/all has all tools");
    }
    return RpcError{kInvalidParams, why, nullptr};
  }
  const Tool& tool = *found->second;
  request.label = tool.label;
  Input input;
  if (auto wrong = ReadInput(request, input)) return wrong;
  if (request.modern) {
    if (auto wrong = CheckParameterHeaders(tool, input.arguments, request.headers)) return wrong;
  }
  work.tasks = tool.tasks;
  if (tool.tasks == TaskUse::kAfterInput && !input.responses.empty()) work.tasks = TaskUse::kAlways;
  work.work = [&source = directory_.SourceOf(tool), &tool, input = std::move(input)](RunningCall& call) -> Task<Outcome> {
    const Step step = [&](RunningCall& running, const Input& given) { return source.CallTool(running, tool, given); };
    co_return co_await Converse(call, step, input);
  };
  return std::nullopt;
}

std::optional<RpcError> Methods::BeginPrompt(Request& request, Work& work) {
  std::string name;
  if (auto wrong = NeedText(request.message.params, "name", name)) return wrong;
  const Directory::FoundPrompt found = directory_.FindPrompt(name, request.caller.role);
  if (!found.prompt) return RpcError{kInvalidParams, absl::StrCat("there is no prompt ", Chopped(name)), nullptr};
  Input input;
  if (auto wrong = ReadInput(request, input)) return wrong;
  work.work = [found, input = std::move(input)](RunningCall& call) -> Task<Outcome> {
    const Step step = [&](RunningCall& running, const Input& given) {
      return found.source->GetPrompt(running, *found.prompt, given);
    };
    co_return co_await Converse(call, step, input);
  };
  return std::nullopt;
}

std::optional<RpcError> Methods::BeginRead(Request& request, Work& work) {
  std::string uri;
  if (auto wrong = NeedText(request.message.params, "uri", uri)) return wrong;
  Source* source = directory_.FindSource(uri);
  if (!source) return NothingAt(uri, request.modern);
  work.work = [source, uri](RunningCall& call) -> Task<Outcome> {
    absl::StatusOr<std::string> contents = co_await source->Read(call, uri);
    const bool modern = call.terms().modern;
    if (!contents.ok()) {
      Outcome outcome;
      outcome.kind = Outcome::kFailure;
      const ErrorDetails details = DetailsOf(contents.status());
      outcome.error = absl::IsNotFound(contents.status()) ? NothingAt(uri, modern)
                                                          : RpcError{absl::IsInvalidArgument(contents.status()) ||
                                                                             absl::IsPermissionDenied(contents.status()) ||
                                                                             absl::IsUnauthenticated(contents.status())
                                                                         ? kInvalidParams
                                                                         : kInternalError,
                                                                     details.message,
                                                                     json{{"uri", uri}, {"reason", details.reason}}};
      co_return outcome;
    }
    // What is live is old at once.
    if (modern) contents = absl::StrCat("{\"ttlMs\":0,\"cacheScope\":\"private\",", contents->substr(1));
    co_return Outcome::Result(*std::move(contents));
  };
  return std::nullopt;
}

// The answer comes when the watch has begun: a change that follows it is told.
std::optional<RpcError> Methods::BeginSubscription(Request& request, Work& work) {
  std::string uri;
  if (auto wrong = NeedText(request.message.params, "uri", uri)) return wrong;
  if (!request.session) {
    return RpcError{kInvalidRequest, "subscribing takes a session: initialize, and send its Mcp-Session-Id", nullptr};
  }
  Source* source = directory_.FindSource(uri);
  if (!source) return NothingAt(uri, false);
  if (const absl::Status allowed = source->MayRead(request.caller, uri); !allowed.ok()) {
    return absl::IsNotFound(allowed) ? NothingAt(uri, false)
                                     : RpcError{kInvalidParams, DetailsOf(allowed).message, json{{"uri", uri}}};
  }
  if (request.session->watches.size() >= kMaxSubscriptions) {
    return RpcError{kInvalidRequest, absl::StrCat("a session watches at most ", kMaxSubscriptions, " resources"), nullptr};
  }
  work.work = [source, uri, session = request.session](RunningCall& call) -> Task<Outcome> {
    const auto changed = [weak = std::weak_ptr<Session>(session), uri] {
      const auto open = weak.lock();
      if (open) open->stream.Push(NotificationText("notifications/resources/updated", Dump({{"uri", uri}})), true);
    };
    const absl::Status begun = co_await session->watches.Add(*source, call.context(), uri, changed);
    if (begun.ok()) co_return Outcome::Result("{}");
    if (!absl::IsNotFound(begun)) {
      co_return Outcome::Failure(kInternalError, DetailsOf(begun).message, json{{"uri", uri}});
    }
    Outcome nothing;
    nothing.kind = Outcome::kFailure;
    nothing.error = NothingAt(uri, false);
    co_return nothing;
  };
  return std::nullopt;
}

std::optional<RpcError> Methods::BeginCompletion(Request& request, Work& work) {
  const json& params = request.message.params;
  const json& ref = Member(params, "ref");
  const json& argument = Member(params, "argument");
  const std::string type = TextMember(ref, "type");
  const std::string name = TextMember(argument, "name");
  const std::string begun = TextMember(argument, "value");
  if (type != "ref/prompt" && type != "ref/resource") {
    return RpcError{kInvalidParams, "params.ref.type must be ref/prompt or ref/resource", nullptr};
  }
  if (name.empty()) return RpcError{kInvalidParams, "params.argument.name is required", nullptr};
  Directory::FoundPrompt prompt;
  Directory::FoundResource resource;
  if (type == "ref/prompt") prompt = directory_.FindPrompt(TextMember(ref, "name"), request.caller.role);
  if (type == "ref/resource") resource = directory_.FindTemplate(TextMember(ref, "uri"), request.caller.role);
  if (!prompt.prompt && !resource.resource) {
    return RpcError{kInvalidParams, "there is nothing that params.ref names", nullptr};
  }
  work.work = [=](RunningCall& call) -> Task<Outcome> {
    Completion completion;
    if (prompt.prompt) {
      completion = co_await prompt.source->CompleteArgument(call, *prompt.prompt, name, begun);
    } else {
      completion = co_await resource.source->CompleteVariable(call, *resource.resource, name, begun);
    }
    const size_t total = completion.values.size();
    if (total > kMaxCompletions) completion.values.resize(kMaxCompletions);
    co_return Outcome::Result(Dump(
        {{"completion", {{"values", completion.values}, {"total", total}, {"hasMore", total > kMaxCompletions}}}}));
  };
  return std::nullopt;
}

std::string Methods::Answer(const RunningCall& call, const Message& request, const Outcome& outcome) const {
  if (outcome.kind == Outcome::kFailure) return ErrorText(call.id(), outcome.error);
  if (outcome.kind == Outcome::kResult) {
    std::string text;
    text.reserve(outcome.result.size() + outcome.meta.size() + 250);
    absl::StrAppend(&text, "{\"jsonrpc\":\"2.0\",\"id\":", Dump(call.id()), ",\"result\":");
    AppendDecorated(outcome.result, call.terms().modern, outcome.meta, "complete", text);
    text += '}';
    return text;
  }
  if (!call.terms().modern) {
    // Only a session has a way back to the client.
    const Outcome told = TextResult("this takes a client with a session that can be asked for input", true);
    return ResultText(call.id(), told.result);
  }
  json result = {{"inputRequests", outcome.requests}};
  if (!outcome.state.empty()) result["requestState"] = sealed_.Seal(outcome.state, PurposeOf(call.caller().principal, request), absl::Now() + kStateLifetime);
  return ResultText(call.id(), Decorate(Dump(result), true, {}, "input_required"));
}

}  // namespace aima::gateway::mcp
