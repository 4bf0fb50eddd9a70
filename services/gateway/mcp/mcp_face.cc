#include "services/gateway/mcp/mcp_face.h"

#include <absl/cleanup/cleanup.h>
#include <absl/strings/match.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/steady_timer.hpp>

#include "aima/unit/v1/errors.pb.h"
#include "libs/base/ids.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "libs/http/sse.h"
#include "services/gateway/envelope.h"
#include "services/gateway/stream_answer.h"

namespace aima::gateway::mcp {
namespace {

namespace asio = boost::asio;

// A stream that says nothing gets a comment now and then, so that proxies and clients do not take it for dead.
constexpr absl::Duration kKeepAlive = absl::Seconds(15);
// A call that takes longer becomes a task, if it can.
constexpr absl::Duration kPatience = absl::Seconds(2);
constexpr size_t kMaxSessionCalls = 200;  // that are under way
constexpr size_t kMaxWatches = 100;       // of one listener
constexpr size_t kMaxStreams = 32;  // of a session, kept for clients that come back
constexpr size_t kMaxStreamBytes = 16 << 20;
constexpr char kMetadataPath[] = "/.well-known/oauth-protected-resource";

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

bool AcceptsStream(const http::Request& request) {
  const std::string_view accept = request.headers.Get("Accept");
  return accept.empty() || absl::StrContains(View(accept), "text/event-stream") || absl::StrContains(View(accept), "*/*");
}

std::string Event(const std::string& message, int64_t stream, size_t index) {
  return http::FormatSse("message", message, stream > 0 ? absl::StrCat(stream, "-", index + 1) : "");
}

}  // namespace

McpFace::McpFace(Loop& loop, const config::v1::Config& config, const Edge& edge, std::vector<Source*> sources)
    : loop_(loop),
      tls_(!config.api().tls_cert().empty()),
      edge_(edge),
      directory_(std::move(sources), config.mcp().toolsets()),
      sessions_(loop),
      tasks_(loop),
      methods_(directory_, sessions_, tasks_) {}

bool McpFace::Owns(std::string_view path) {
  return path == "/mcp" || absl::StartsWith(View(path), "/mcp/") || path == kMetadataPath ||
         absl::StartsWith(View(path), std::string(kMetadataPath) + "/mcp");
}

Task<void> McpFace::Handle(Visit& visit) {
  const std::string& method = visit.request.method;
  if (absl::StartsWith(visit.path, kMetadataPath)) co_return co_await Metadata(visit);
  if (visit.caller.role == Role::kNone) {
    const absl::Status denied = Error(unit::v1::UNAUTHENTICATED, "this takes a key");
    visit.outcome = DetailsOf(denied).reason;
    (co_await visit.exchange.Send(Refused(visit.request, denied, 0))).IgnoreError();
    co_return;
  }
  if (method == "POST") co_return co_await Post(visit);
  if (method == "GET") co_return co_await Get(visit);
  if (method == "DELETE") co_return co_await Delete(visit);
  co_await NotAllowed(visit, "POST, GET, DELETE");
}

// Requests.

Task<void> McpFace::Post(Visit& visit) {
  const std::string_view type = visit.request.headers.Get("Content-Type");
  if (!absl::StartsWithIgnoreCase(View(type), "application/json")) {
    co_return co_await SendError(visit, nullptr, {kInvalidRequest, "Content-Type must be application/json", nullptr, 415});
  }
  RpcError error;
  json id;
  std::optional<Message> message = ParseMessage(visit.request.body, error, id);
  if (!message) co_return co_await SendError(visit, id, error);
  bool missing = false;
  Request request{*std::move(message), visit.caller, std::move(visit.context), visit.request.headers};
  request.modern = IsModern(request.message, visit.request.headers);
  if (!request.modern) {
    request.session = SessionOf(visit, missing);
    if (missing && request.message.method != "initialize") {
      co_return co_await SendError(visit, id, {kInvalidRequest, "there is no such session; initialize anew", nullptr, 404});
    }
  }
  if (!request.message.is_request()) {
    Take(request.message, request.session);
    visit.unit = "mcp.notification";
    co_return co_await Send(visit, 202, "");
  }
  co_await Answer(visit, request);
}

Task<void> McpFace::Answer(Visit& visit, Request& request) {
  const std::string& method = request.message.method;
  const json& id = request.message.id;
  if (Methods::Exists(method, request.modern)) visit.unit = "mcp." + method;
  if (request.modern) {
    if (const std::optional<RpcError> wrong = CheckModern(request.message, visit.request.headers)) {
      co_return co_await SendError(visit, id, *wrong);
    }
  }
  if (!Methods::Exists(method, request.modern)) {
    co_return co_await SendError(visit, id, {kMethodNotFound, absl::StrCat("there is no method ", method.substr(0, 200)),
                                             nullptr, request.modern ? 404 : 0});
  }
  absl::StatusOr<std::string> toolsets = ToolsetsOf(visit);
  if (!toolsets.ok()) {
    co_return co_await SendError(visit, id, {kInvalidParams, DetailsOf(toolsets.status()).message, nullptr, 400});
  }
  request.toolsets = *std::move(toolsets);
  if (method == "subscriptions/listen") co_return co_await Listen(visit, request);
  const std::optional<Reply> reply = methods_.AnswerAtOnce(request);
  if (!reply) co_return co_await Run(visit, request);
  if (reply->error) co_return co_await SendError(visit, id, *reply->error);
  http::Headers headers;
  if (reply->opened) headers.Add("Mcp-Session-Id", reply->opened->id);
  co_await Send(visit, 200, ResultText(id, reply->result), std::move(headers));
}

Task<void> McpFace::Run(Visit& visit, Request& request) {
  const json id = request.message.id;
  Work work;
  if (const std::optional<RpcError> wrong = methods_.Begin(request, work)) co_return co_await SendError(visit, id, *wrong);
  if (!request.label.empty()) visit.unit = request.label;
  ClientTerms terms = methods_.TermsOf(request);
  const bool knows_tasks = request.modern && Member(terms.capabilities, "extensions").contains(kTasksExtension);
  if (work.tasks == TaskUse::kRequired && !knows_tasks) {
    co_return co_await SendError(
        visit, id, {kMissingCapability, absl::StrCat("this tool takes a client that declares ", kTasksExtension),
                    json{{"requiredCapabilities", {{"extensions", {{kTasksExtension, json::object()}}}}}}, 400});
  }
  const auto call = std::make_shared<RunningCall>(loop_, id, std::move(request.context), request.caller, std::move(terms));
  const std::shared_ptr<Session> session = request.session;
  const auto message = std::make_shared<const Message>(std::move(request.message));
  const auto finish = [this, message](const RunningCall& done, const Outcome& outcome) {
    tasks_.Trim(done);
    return methods_.Answer(done, *message, outcome);
  };
  if (calls_.size() >= sweep_at_) {
    std::erase_if(calls_, [](const std::weak_ptr<RunningCall>& entry) { return entry.expired(); });
    sweep_at_ = std::max<size_t>(64, 2 * calls_.size());
  }
  calls_.push_back(call);
  if (knows_tasks && (work.tasks == TaskUse::kAlways || work.tasks == TaskUse::kRequired)) {
    Tasks::Task* task = tasks_.Create(request.caller.principal, call);
    if (!task) {
      co_return co_await SendError(visit, id, {kInternalError, "there are too many tasks that are not done: let some end, or cancel them",
                                               json{{"reason", "OVERLOADED"}}, 429});
    }
    call->ask = [this, task_id = task->id](RunningCall&, json requests) { return tasks_.Ask(task_id, std::move(requests)); };
    call->Start(std::move(work.work), finish);
    co_return co_await Send(visit, 200, ResultText(id, methods_.Decorate(Dump(Tasks::ToJson(*task, false)), true, {}, "task")));
  }
  int64_t stream = 0;
  if (session) {
    if (session->calls.size() >= kMaxSessionCalls) {
      std::erase_if(session->calls, [](const auto& entry) { return entry.second->done(); });
    }
    if (session->calls.size() >= kMaxSessionCalls) {
      co_return co_await SendError(visit, id, {kInternalError, absl::StrCat("a session has at most ", kMaxSessionCalls, " calls under way"), nullptr, 429});
    }
    call->ask = [session](RunningCall& asking, json requests) { return session->Ask(asking, std::move(requests)); };
    stream = session->next_stream++;
    session->calls[Dump(id)] = call;
    session->streams[stream] = call;
    size_t kept = 0;
    for (const auto& [number, other] : session->streams) kept += other->bytes();
    const auto drop = [&](auto place) {
      kept -= place->second->bytes();
      if (place->second->done()) session->calls.erase(Dump(place->second->id()));
      return session->streams.erase(place);
    };
    while (session->streams.size() > kMaxStreams) drop(session->streams.begin());
    for (auto place = session->streams.begin(); kept > kMaxStreamBytes && place != session->streams.end();) {
      place = place->second->done() ? drop(place) : std::next(place);  // what goes on holds next to nothing
    }
  }
  call->Start(std::move(work.work), finish);
  // A client that leaves has cancelled, except in a session: there it says so, and may come back for the answer.
  absl::Cleanup leave = [&] {
    if (!session) return call->Cancel();
    session->used = absl::Now();
  };
  if (knows_tasks && work.tasks == TaskUse::kWhenSlow && !call->wants_progress()) {
    co_await call->outbox().Wait(0, kPatience);
    if (call->outbox().size() == 0 && !call->done()) {
      if (Tasks::Task* task = tasks_.Create(request.caller.principal, call)) {
        std::move(leave).Cancel();
        co_return co_await Send(visit, 200,
                                ResultText(id, methods_.Decorate(Dump(Tasks::ToJson(*task, false)), true, {}, "task")));
      }
    }
  }
  const auto status = [&call] {
    const int status = call->outcome().error.http_status;
    return status ? status : 200;
  };
  co_await Deliver(visit, call->outbox(), 0, stream, status, session && session->version == kLegacyVersions[0]);
  if (call->done() && call->outcome().kind == Outcome::kFailure) visit.outcome = "FAILED";
  if (session && call->done()) {
    session->streams.erase(stream);
    session->calls.erase(Dump(id));
  }
}

// Streams.

Task<absl::Status> McpFace::Begin(Visit& visit) {
  http::Headers headers = StreamHeaders("text/event-stream");
  edge_.AllowOrigin(visit.request, headers);
  co_return co_await visit.exchange.StartStream(200, std::move(headers));
}

Task<void> McpFace::Deliver(Visit& visit, Outbox& outbox, size_t from, int64_t stream, std::function<int()> json_status,
                            bool prime) {
  const bool may_stream = AcceptsStream(visit.request);
  bool begun = false;
  const auto begin = [&]() -> Task<absl::Status> {
    if (begun) co_return absl::OkStatus();
    begun = true;
    absl::Status started = co_await Begin(visit);
    if (started.ok() && prime && stream > 0) {
      // A client that loses the connection comes back with this id, even if nothing else has come.
      started = co_await visit.exchange.Write(absl::StrCat("id: ", stream, "-0\nretry: 1000\ndata: \n\n"));
    }
    co_return started;
  };
  if (!json_status && !(co_await begin()).ok()) co_return;
  const int64_t reader = outbox.TakeOver();
  for (size_t next = from;;) {
    if (!outbox.IsReader(reader)) {
      // The client has come back for it on another connection.
      if (may_stream && !(co_await begin()).ok()) co_return;
      break;
    }
    if (outbox.TakeInterrupt() && may_stream) {
      if (!(co_await begin()).ok()) co_return;
      break;
    }
    const std::string* message = outbox.At(next);
    if (!message) {
      if (outbox.closed()) break;
      const size_t before = outbox.size();
      co_await outbox.Wait(next, kKeepAlive);
      if (outbox.IsReader(reader) && outbox.size() == before && !outbox.closed() && may_stream) {
        if (!(co_await begin()).ok() || !(co_await visit.exchange.Write(": still here\n\n")).ok()) co_return;
      }
      continue;
    }
    const bool last = outbox.IsLast(next);
    if (last && !begun) {
      co_return co_await Send(visit, json_status(), *message);
    }
    if (may_stream) {
      const std::string text = Event(*message, stream, next);
      if (!(co_await begin()).ok() || !(co_await visit.exchange.Write(text)).ok()) co_return;
    }
    ++next;
    if (stream == 0) outbox.Forget(next);
    if (last) break;
  }
  if (!begun) co_return co_await Send(visit, 202, "");  // it was cancelled: there is no answer
  (co_await visit.exchange.Finish()).IgnoreError();
}

Task<void> McpFace::Listen(Visit& visit, Request& request) {
  const json& id = request.message.id;
  const json& wanted = Member(request.message.params, "notifications");
  if (!wanted.is_object()) {
    co_return co_await SendError(visit, id, {kInvalidParams, "params.notifications must be an object", nullptr});
  }
  visit.exchange.EndOnDrain();
  if (!AcceptsStream(visit.request)) {
    co_return co_await SendError(visit, id, {kInvalidRequest, "the answer is a stream: accept text/event-stream", nullptr, 406});
  }
  // What is sent belongs to the stream as long as it is open.
  struct Stream {
    explicit Stream(Loop& loop) : outbox(loop), watches(loop) {}
    Outbox outbox;
    Watches watches;
  };
  const auto stream = std::make_shared<Stream>(loop_);
  const json tag = {{kSubscriptionKey, id}};
  json honoured = json::object();
  for (const char* list : {"tools", "prompts", "resources"}) {
    const std::string name = absl::StrCat(list, "ListChanged");
    if (directory_.lists_change() && Member(wanted, name) == true) honoured[name] = true;
  }
  const json& uris = Member(wanted, "resourceSubscriptions");
  for (const json& entry : uris.is_array() ? uris : json::array()) {
    const std::string uri = entry.is_string() ? entry.get<std::string>() : "";
    Source* source = directory_.FindSource(uri);
    if (!source || !source->MayRead(request.caller, uri).ok() || stream->watches.size() >= kMaxWatches) continue;
    const auto changed = [weak = std::weak_ptr<Stream>(stream), uri, tag] {
      const auto open = weak.lock();
      if (open) open->outbox.PushOnce(NotificationText("notifications/resources/updated", Dump({{"uri", uri}, {"_meta", tag}})));
    };
    const absl::Status begun = co_await stream->watches.Add(*source, request.context, uri, changed);
    if (begun.ok()) honoured["resourceSubscriptions"].push_back(uri);
  }
  const std::string acknowledged = NotificationText("notifications/subscriptions/acknowledged",
                                                    Dump({{"notifications", honoured}, {"_meta", tag}}));
  // What changed meanwhile comes after it.
  stream->outbox.PushFirst(acknowledged);
  const int listener = directory_.Listen([weak = std::weak_ptr<Stream>(stream), honoured, tag](std::string_view list) {
    const auto open = weak.lock();
    if (!open || !honoured.contains(absl::StrCat(View(list), "ListChanged"))) return;
    open->outbox.PushOnce(NotificationText(absl::StrCat("notifications/", View(list), "/list_changed"), Dump({{"_meta", tag}})));
  });
  absl::Cleanup leave = [&] { directory_.Forget(listener); };
  co_await Deliver(visit, stream->outbox, 0, 0, nullptr, false);
}

Task<void> McpFace::Get(Visit& visit) {
  bool missing = false;
  const std::shared_ptr<Session> session = SessionOf(visit, missing);
  if (missing) co_return co_await SendError(visit, nullptr, {kInvalidRequest, "there is no such session", nullptr, 404});
  const std::string_view version = visit.request.headers.Get("MCP-Protocol-Version");
  if (!session || (!version.empty() && !IsLegacyVersion(version))) co_return co_await NotAllowed(visit, "POST");
  if (!AcceptsStream(visit.request)) {
    co_return co_await SendError(visit, nullptr, {kInvalidRequest, "the answer is a stream: accept text/event-stream", nullptr, 406});
  }
  visit.unit = "mcp.stream";
  visit.exchange.EndOnDrain();
  // A client that comes back says what it has seen: stream and number of the message.
  const std::string_view seen = visit.request.headers.Get("Last-Event-ID");
  std::pair<std::string, std::string> parts = absl::StrSplit(View(seen), absl::MaxSplits('-', 1));
  int64_t stream = 0;
  size_t next = 0;
  if (absl::SimpleAtoi(parts.first, &stream) && absl::SimpleAtoi(parts.second, &next) && session->streams.contains(stream)) {
    const std::shared_ptr<RunningCall> call = session->streams[stream];
    co_await Deliver(visit, call->outbox(), next, stream, nullptr, false);
    if (call->done()) {
      session->streams.erase(stream);
      session->calls.erase(Dump(call->id()));
    }
    co_return;
  }
  if (session->stream_open) {
    co_return co_await SendError(visit, nullptr, {kInvalidRequest, "this session has a stream already", nullptr, 409});
  }
  session->stream_open = true;
  absl::Cleanup leave = [&] {
    session->stream_open = false;
    session->used = absl::Now();
  };
  co_await Deliver(visit, session->stream, session->stream.first(), 0, nullptr, false);
}

Task<void> McpFace::Delete(Visit& visit) {
  bool missing = false;
  const std::shared_ptr<Session> session = SessionOf(visit, missing);
  if (missing) co_return co_await SendError(visit, nullptr, {kInvalidRequest, "there is no such session", nullptr, 404});
  if (!session) co_return co_await NotAllowed(visit, "POST");
  sessions_.Remove(session->id);
  co_await Send(visit, 200, "");
}

void McpFace::Take(const Message& message, const std::shared_ptr<Session>& session) {
  if (!session) return;
  if (message.is_answer()) {
    session->Answer(message);
  } else if (message.method == "notifications/cancelled") {
    const auto found = session->calls.find(Dump(Member(message.params, "requestId")));
    if (found == session->calls.end()) return;
    const std::shared_ptr<RunningCall> call = found->second;
    session->calls.erase(found);
    call->Cancel();
  }
}

// The edge.

std::shared_ptr<Session> McpFace::SessionOf(const Visit& visit, bool& missing) {
  const std::string* id = visit.request.headers.Find("Mcp-Session-Id");
  if (!id) return nullptr;
  std::shared_ptr<Session> session = sessions_.Find(*id, visit.caller.principal);
  missing = !session;
  return session;
}

absl::StatusOr<std::string> McpFace::ToolsetsOf(const Visit& visit) const {
  absl::string_view path = visit.path;
  std::string selection(visit.request.headers.Get("X-MCP-Toolsets"));
  const std::string_view read_only = visit.request.headers.Get("X-MCP-Readonly");
  bool only_reads = read_only == "true" || read_only == "1";
  path.remove_prefix(std::string_view("/mcp").size());
  std::vector<absl::string_view> parts = absl::StrSplit(path, '/', absl::SkipEmpty());
  for (size_t i = 0; i < parts.size(); ++i) {
    if (parts[i] == "readonly" || parts[i] == "read-only") {
      only_reads = true;
      // By itself it means everything that reads.
      if (i == 0 && selection.empty()) selection = "all";
    } else if (parts[i] == "x" && i + 1 < parts.size()) {
      selection = std::string(parts[++i]);
    } else {
      return InvalidInput("path", absl::StrCat(visit.path.substr(0, 200), " is none of /mcp, /mcp/x/<toolsets>, /mcp/readonly"));
    }
  }
  if (only_reads) absl::StrAppend(&selection, selection.empty() ? "default" : "", ",read-only");
  return selection;
}

std::string McpFace::BaseUrl(const http::Request& request) const {
  return absl::StrCat(tls_ ? "https://" : "http://", View(request.headers.Get("Host")));
}

// RFC 9728. There is no authorization server: keys are made by `aima key create` and sent as bearer tokens.
Task<void> McpFace::Metadata(Visit& visit) {
  visit.unit = "mcp.metadata";
  const json metadata = {{"resource", BaseUrl(visit.request) + "/mcp"},
                         {"resource_name", "AIMA"},
                         {"bearer_methods_supported", json::array({"header"})},
                         {"scopes_supported", json::array({"read", "operate", "admin"})}};
  co_await Send(visit, 200, Dump(metadata));
}

http::Response McpFace::Refused(const http::Request& request, const absl::Status& status, int http_status) const {
  const ErrorDetails details = DetailsOf(status);
  http::Response response;
  response.status = http_status ? http_status : HttpStatusOf(status);
  response.headers.Add("Content-Type", "application/json");
  if (response.status == 401) {
    response.headers.Add("WWW-Authenticate", absl::StrCat("Bearer resource_metadata=\"", BaseUrl(request), kMetadataPath, "/mcp\""));
  }
  if (const auto wait = details.metadata.find("retry_after_s"); wait != details.metadata.end()) {
    response.headers.Add("Retry-After", wait->second);
  }
  edge_.AllowOrigin(request, response.headers);
  response.body = ErrorText(nullptr, {kInvalidRequest, absl::StrCat(details.message, details.remedy.empty() ? "" : ". ", details.remedy),
                                      json{{"code", details.reason}}});
  return response;
}

Task<void> McpFace::Send(Visit& visit, int status, std::string body, http::Headers headers) {
  http::Response response{.status = status, .headers = std::move(headers), .body = std::move(body)};
  if (!response.body.empty()) response.headers.Add("Content-Type", "application/json");
  edge_.AllowOrigin(visit.request, response.headers);
  (co_await visit.exchange.Send(std::move(response))).IgnoreError();
}

Task<void> McpFace::SendError(Visit& visit, const json& id, const RpcError& error) {
  visit.outcome = absl::StrCat("MCP_", -error.code);
  co_await Send(visit, error.http_status ? error.http_status : 200, ErrorText(id, error));
}

Task<void> McpFace::NotAllowed(Visit& visit, const char* allow) {
  visit.outcome = "METHOD_NOT_ALLOWED";
  co_await Send(visit, 405, ErrorText(nullptr, {kInvalidRequest, absl::StrCat(visit.request.method, " is not allowed here"), nullptr}),
                {{"Allow", allow}});
}

Task<void> McpFace::Shutdown() {
  sessions_.Clear();
  tasks_.Clear();
  for (const auto& entry : calls_) {
    if (const auto call = entry.lock()) call->Cancel();
  }
  // What was cancelled unwinds when the loop comes to it.
  asio::steady_timer turn(loop_);
  for (int i = 0; i < 3; ++i) {
    turn.expires_after(std::chrono::milliseconds(1));
    (void)co_await turn.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

}  // namespace aima::gateway::mcp
