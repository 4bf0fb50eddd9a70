#include "services/gateway/http_face.h"

#include <absl/cleanup/cleanup.h>
#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/strip.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "aima/unit/v1/errors.pb.h"
#include "libs/base/ids.h"
#include "libs/errors/errors.h"
#include "libs/unit/json_codec.h"
#include "services/gateway/openai_error.h"
#include "services/gateway/wrong_method.h"

namespace aima::gateway {
namespace {

constexpr char kRead[] = "GET, HEAD";

// True if `path` starts with `prefix`, which is then cut off.
bool Consume(std::string_view& path, std::string_view prefix) {
  if (path.substr(0, prefix.size()) != prefix) return false;
  path.remove_prefix(prefix.size());
  return true;
}

absl::Status NoSuchPath(std::string_view path) {
  return Error(unit::v1::RESOURCE_NOT_FOUND,
               absl::StrCat("there is nothing at ", absl::string_view(path.data(), std::min<size_t>(path.size(), 200))));
}

bool HoldsSecrets(const google::protobuf::Descriptor& message,
                  absl::flat_hash_set<const google::protobuf::Descriptor*>& seen) {
  if (!seen.insert(&message).second) return false;
  for (int i = 0; i < message.field_count(); ++i) {
    const auto& field = *message.field(i);
    if (RulesOf(field).secret() || (field.message_type() && HoldsSecrets(*field.message_type(), seen))) return true;
  }
  return false;
}

}  // namespace

bool HoldsSecrets(const google::protobuf::Descriptor& message) {
  absl::flat_hash_set<const google::protobuf::Descriptor*> seen;
  return HoldsSecrets(message, seen);
}

HttpFace::HttpFace(Parts parts) : parts_(parts), metrics_(parts.registry) {
  for (const UnitInfo& unit : parts.catalogue.units()) {
    if (HoldsSecrets(*unit.method().output_type())) secret_answers_.insert(&unit);
  }
}

Task<void> HttpFace::Handle(http::Exchange& exchange) {
  http::Request& request = exchange.request();
  const std::string_view target = request.target;
  const size_t mark = target.find('?');
  Visit visit{exchange, request, "", mark == std::string_view::npos ? "" : std::string(target.substr(mark + 1)), {}, {}};
  visit.meta = {NewId("req_"), "", absl::Now()};
  visit.meta.trace_id = visit.meta.request_id;
  // Also when the client leaves, which ends this coroutine by an exception.
  struct Logged {
    HttpFace& face;
    Visit& visit;
    ~Logged() {
      if (!visit.exchange.started()) visit.outcome = "CANCELLED";
      face.Log(visit);
    }
  } logged{*this, visit};
  std::string refusal;
  if (const int status = parts_.edge.Refusal(request, refusal)) {
    const absl::Status denied = Error(unit::v1::PERMISSION_DENIED, refusal);
    http::Response response = ErrorAnswer(request, target.substr(0, mark), denied, visit.meta, status);
    response.status = status;
    visit.outcome = "PERMISSION_DENIED";
    co_return co_await Answer(visit, std::move(response));
  }
  if (request.method == "OPTIONS") {
    http::Response response{.status = 204};
    parts_.edge.AllowOrigin(request, response.headers);
    co_return co_await Answer(visit, std::move(response));
  }
  if (!http::PercentDecode(target.substr(0, mark), /*plus=*/false, visit.path)) {
    co_return co_await Fail(visit, InvalidInput("path", "is not properly encoded"));
  }
  absl::StatusOr<Caller> caller = parts_.access.Admit(CredentialsOf(exchange));
  if (!caller.ok()) co_return co_await Fail(visit, caller.status());
  visit.caller = *std::move(caller);
  co_await Route(visit);
}

Task<void> HttpFace::Route(Visit& visit) {
  std::string_view path = visit.path;
  if (Translation* translation = TranslationOf(visit.request, path)) co_return co_await Translate(visit, *translation);
  if (Consume(path, "/api/v2/")) co_return co_await Api(visit, path);
  if (absl::StartsWith(visit.path, "/v1/")) co_return co_await OpenAi(visit);
  if (parts_.mcp && mcp::McpFace::Owns(path)) co_return co_await Mcp(visit);
  const bool metrics = path == "/metrics", health = path == "/health", root = parts_.web && path == "/";
  const bool document = parts_.documents && path == "/openapi.json", index = parts_.web && path == "/docs";
  const bool page = parts_.web && Consume(path, "/docs/");
  if (!metrics && !health && !root && !document && !index && !page) co_return co_await Fail(visit, NoSuchPath(visit.path));
  if (visit.request.method != "GET" && visit.request.method != "HEAD") {
    co_return co_await Fail(visit, WrongMethod(visit.request, visit.path, kRead));
  }
  if (metrics) co_return co_await Metrics(visit);
  if (health) co_return co_await Health(visit);
  if (document) co_return co_await ApiDocument(visit);
  if (index) co_return co_await Page(visit, "index.html");
  if (page) co_return co_await Page(visit, path);
  http::Response response{.status = 302, .headers = {{"Location", "/docs"}, {"Content-Type", "text/plain"}}};
  response.body = "AIMA. The reference is at /docs, as a document for programs at /openapi.json.\n";
  co_await Answer(visit, std::move(response));
}

Task<void> HttpFace::Api(Visit& visit, std::string_view path) {
  const std::string& method = visit.request.method;
  const bool post = method == "POST";
  const bool get = method == "GET" || method == "HEAD";
  if (path == "operations" || path.starts_with("operations/")) {
    path.remove_prefix(std::min<size_t>(path.size(), 11));
    co_return co_await Operations(visit, path);
  }
  const bool query = path.starts_with("query/");
  const bool written = path == "execute" || path == "stream" || path.starts_with("command/");
  const bool read = path == "units" || path.starts_with("units/") || path.starts_with("schema/") ||
                    path.starts_with("resource/") || path == "health" || path == "metrics";
  if (!query && !written && !read) co_return co_await Fail(visit, NoSuchPath(visit.path));
  if (written ? !post : query ? !post && !get : !get) {
    co_return co_await Fail(visit, WrongMethod(visit.request, visit.path, written ? "POST" : query ? "GET, HEAD, POST" : kRead));
  }
  if (path == "execute") co_return co_await Execute(visit);
  if (path == "stream") co_return co_await Stream(visit);
  if (Consume(path, "command/")) co_return co_await RunNamed(visit, "command", path);
  if (Consume(path, "query/")) co_return co_await RunNamed(visit, "query", path);
  if (Consume(path, "resource/")) {
    if (method == "GET" && path.ends_with("/watch")) {
      path.remove_suffix(6);
      co_return co_await WatchResource(visit, path);
    }
    co_return co_await Resource(visit, path);
  }
  if (path == "units") co_return co_await Units(visit, "");
  if (Consume(path, "units/")) co_return co_await Units(visit, path);
  if (Consume(path, "schema/")) co_return co_await Schema(visit, path);
  if (path == "health") co_return co_await Health(visit);
  co_await Metrics(visit);
}

CallContext HttpFace::CallOf(const Visit& visit) const {
  CallContext call;
  call.request_id = visit.meta.request_id;
  call.trace_id = visit.meta.trace_id;
  call.principal = visit.caller.principal;
  call.role = RoleName(visit.caller.role);
  return call;
}

Task<void> HttpFace::Units(Visit& visit, std::string_view name) {
  visit.unit = "gateway.units";
  if (absl::Status denied = Access::Check(visit.caller, unit::v1::READ, visit.unit); !denied.ok()) {
    co_return co_await Fail(visit, denied);
  }
  if (name.empty()) co_return co_await Succeed(visit, {parts_.units.all(), {}}, nullptr);
  const std::string* unit = parts_.units.Find(name);
  if (!unit) co_return co_await Fail(visit, parts_.runner.Find(name, "", Caller{"", Role::kAdmin}).status());
  co_await Succeed(visit, {*unit, {}}, nullptr);
}

Task<void> HttpFace::Health(Visit& visit) {
  visit.unit = "gateway.health";
  const HealthReport::State state = co_await parts_.health.Ask();
  nlohmann::json json = {{"status", state.all_serve ? "healthy" : "degraded"}};
  // Anybody may ask whether it works, as load balancers do; what there is, is for those who may look.
  if (visit.caller.role >= Role::kRead) json["services"] = state.services;
  co_await Answer(visit, SuccessResponse({json.dump(), {}}, visit.meta, state.all_serve ? 200 : 503));
}

Task<void> HttpFace::Metrics(Visit& visit) {
  visit.unit = "gateway.metrics";
  if (absl::Status denied = Access::Check(visit.caller, unit::v1::READ, visit.unit); !denied.ok()) {
    co_return co_await Fail(visit, denied);
  }
  http::Response response;
  response.headers.Add("Content-Type", "text/plain; version=0.0.4");
  response.body = MetricsText(parts_.registry) + co_await parts_.health.Metrics();
  co_await Compress(visit, response);
  co_await Answer(visit, std::move(response));
}

Task<void> HttpFace::Answer(Visit& visit, http::Response response) {
  parts_.edge.AllowOrigin(visit.request, response.headers);
  // A client that is gone needs no answer.
  (co_await visit.exchange.Send(std::move(response))).IgnoreError();
}

Task<void> HttpFace::Fail(Visit& visit, const absl::Status& status) {
  visit.outcome = DetailsOf(status).reason;
  co_await Answer(visit, ErrorAnswer(visit.request, visit.path, status, visit.meta));
}

http::Response HttpFace::ErrorAnswer(const http::Request& request, std::string_view path, const absl::Status& status,
                                     const Meta& meta, int http_status) const {
  if (parts_.mcp && mcp::McpFace::Owns(path)) return parts_.mcp->Refused(request, status, http_status);
  if (const Translation* translation = TranslationOf(request, path)) {
    return translation->ErrorAnswer(status, meta.request_id, http_status);
  }
  if (path.starts_with("/v1/")) return OpenAiErrorResponse(status, meta.request_id, http_status);
  return ErrorResponse(status, meta, http_status);
}

Task<void> HttpFace::Mcp(Visit& visit) {
  mcp::Visit call{visit.exchange, visit.request, visit.path, visit.caller, CallOf(visit)};
  // Also when the client leaves.
  absl::Cleanup tell = [&] {
    visit.unit = std::move(call.unit);
    visit.outcome = std::move(call.outcome);
  };
  co_await parts_.mcp->Handle(call);
}

Translation* HttpFace::TranslationOf(const http::Request& request, std::string_view path) const {
  for (Translation* translation : parts_.translations) {
    if (translation->Owns(request, path)) return translation;
  }
  return nullptr;
}

Task<void> HttpFace::Translate(Visit& visit, Translation& translation) {
  TranslatedVisit call{visit.exchange, visit.request, visit.path, visit.query, visit.caller, CallOf(visit)};
  // Also when the client leaves.
  absl::Cleanup tell = [&] {
    visit.unit = std::move(call.unit);
    visit.outcome = std::move(call.outcome);
  };
  co_await translation.Handle(call);
}

void HttpFace::Log(const Visit& visit) {
  const absl::Duration duration = absl::Now() - visit.meta.start;
  metrics_.Count(visit.unit, visit.outcome, duration);
  spdlog::info("http {} {} status={} unit={} code={} ms={:.2f} bytes={} request={} trace={} principal={} peer={}",
               visit.request.method, visit.path.substr(0, 200), visit.exchange.status(), visit.unit, visit.outcome,
               absl::ToDoubleMilliseconds(duration), visit.exchange.bytes_sent(), visit.meta.request_id,
               visit.meta.trace_id, visit.caller.principal, visit.exchange.peer());
}

}  // namespace aima::gateway
