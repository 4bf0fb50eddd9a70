#include "services/cli/gateway_client.h"

#include <absl/strings/match.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_replace.h>
#include <absl/time/clock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <set>

#include "libs/base/status_macros.h"
#include "libs/config/config.h"
#include "libs/http/sse.h"
#include "libs/http/url.h"
#include "libs/process/port.h"
#include "services/cli/commands.h"
#include "services/cli/keys.h"
#include "services/cli/supervisor.h"

namespace aima::cli {
namespace {

using nlohmann::ordered_json;
constexpr absl::Duration kLong = absl::Hours(24);
constexpr size_t kMaxPending = 64 << 20;

// The address at which the cluster of a data directory serves, from the configuration that it runs with.
absl::StatusOr<http::Endpoint> EndpointOf(const std::string& data_dir) {
  config::Sources sources;
  if (access(EffectiveConfigFile(data_dir).c_str(), R_OK) == 0) sources.file = EffectiveConfigFile(data_dir);
  ASSIGN_OR_RETURN(const config::v1::Config config, config::Load(sources));
  ASSIGN_OR_RETURN(http::Endpoint endpoint, ParseServer(config.api().listen_addr()));
  endpoint.tls = !config.api().tls_cert().empty();
  // Its own certificate, which need not be signed by anybody nor bear the name of this address.
  endpoint.certificate = config.api().tls_cert();
  if (endpoint.host == "0.0.0.0" || endpoint.host == "*") endpoint.host = "127.0.0.1";
  if (endpoint.host == "::") endpoint.host = "::1";
  return endpoint;
}

// Every declared reason with its code is known to the services only; these names tell enough for an exit status.
absl::StatusCode CodeOf(const std::string& reason, int http_status) {
  switch (http_status) {
    case 400:
    case 413:
    case 422: return absl::StatusCode::kInvalidArgument;
    case 401: return absl::StatusCode::kUnauthenticated;
    case 403: return absl::StatusCode::kPermissionDenied;
    case 404: return absl::StatusCode::kNotFound;
    case 408:
    case 504: return absl::StatusCode::kDeadlineExceeded;
    case 429: return absl::StatusCode::kResourceExhausted;
    case 503: return absl::StatusCode::kUnavailable;
    default: break;
  }
  if (absl::EndsWith(reason, "NOT_FOUND")) return absl::StatusCode::kNotFound;
  if (reason == "INVALID_INPUT") return absl::StatusCode::kInvalidArgument;
  if (reason == "UNAUTHENTICATED") return absl::StatusCode::kUnauthenticated;
  if (reason == "PERMISSION_DENIED") return absl::StatusCode::kPermissionDenied;
  if (reason == "DEADLINE_EXCEEDED") return absl::StatusCode::kDeadlineExceeded;
  if (reason == "UNAVAILABLE" || reason == "OUTCOME_UNKNOWN") return absl::StatusCode::kUnavailable;
  return absl::StatusCode::kUnknown;
}

std::string Text(const ordered_json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

ordered_json Body(const std::string& unit, const ordered_json& input, const CallOptions& options) {
  ordered_json body = {{"unit", unit}, {"input", input}};
  if (!options.timeout.empty()) body["options"]["timeout"] = options.timeout;
  if (options.async) body["options"]["async"] = true;
  return body;
}

std::string Dump(const ordered_json& json) {
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

// A remedy that speaks of any unit speaks of this one, and one against wrong input says what would be right.
absl::Status WithUnit(absl::Status status, const std::string& unit) {
  std::string remedy = absl::StrReplaceAll(RemedyOf(status), {{"<unit>", unit}});
  if (absl::StrContains(status.message(), "[INVALID_INPUT]") && !absl::StrContains(remedy, "aima units")) {
    absl::StrAppend(&remedy, remedy.empty() ? "" : " ", "`aima units ", unit, "` shows what it takes.");
  }
  return WithRemedy(std::move(status), remedy);
}

}  // namespace

absl::StatusOr<http::Endpoint> ParseServer(const std::string& text) {
  http::Endpoint endpoint;
  std::string rest = text;
  if (const size_t scheme = rest.find("://"); scheme != std::string::npos) {
    const std::string name = rest.substr(0, scheme);
    if (name != "http" && name != "https") return UsageError(text + " is not an http or https address");
    endpoint.tls = name == "https";
    rest = rest.substr(scheme + 3);
  }
  while (!rest.empty() && rest.back() == '/') rest.pop_back();
  endpoint.port = endpoint.tls ? 443 : 80;
  const size_t colon = rest.rfind(':');
  const bool bracketed = !rest.empty() && rest.back() == ']';
  if (colon != std::string::npos && !bracketed) {
    if (!absl::SimpleAtoi(rest.substr(colon + 1), &endpoint.port) || endpoint.port < 1 || endpoint.port > 65535) {
      return UsageError(absl::StrCat("'", text, "' is not a server; write host:port"));
    }
    rest = rest.substr(0, colon);
  }
  if (rest.starts_with('[') && rest.ends_with(']')) rest = rest.substr(1, rest.size() - 2);
  if (rest.empty() || rest.find('/') != std::string::npos) {
    return UsageError(absl::StrCat("'", text, "' is not a server; write host:port"));
  }
  endpoint.host = rest;
  return endpoint;
}

bool IsLoopback(const std::string& host) {
  boost::system::error_code error;
  const auto address = boost::asio::ip::make_address(host, error);
  return host == "localhost" || (!error && address.is_loopback());
}

// Whoever has the port while the cluster is down would get the operator's key: only its owner and root may have it.
bool IsOwners(int port, const std::string& key_file) {
  struct stat status = {};
  if (stat(key_file.c_str(), &status) != 0) return false;
  const std::set<uid_t> users = process::UsersWhoListenOn(port);
  return std::all_of(users.begin(), users.end(), [&](uid_t user) { return user == status.st_uid || user == 0; });
}

GatewayClient::GatewayClient(Loop& loop, http::Endpoint endpoint, std::string key)
    : client_(loop), endpoint_(std::move(endpoint)), key_(std::move(key)) {}

absl::StatusOr<std::unique_ptr<GatewayClient>> GatewayClient::Connect(Loop& loop, const Globals& globals,
                                                                       bool operators_key) {
  absl::StatusOr<http::Endpoint> endpoint =
      globals.server.empty() ? EndpointOf(globals.data_dir) : ParseServer(globals.server);
  RETURN_IF_ERROR(endpoint.status());
  std::string key = globals.key;
  // The operator's key leaves neither this machine nor its user by itself.
  const KeyFile keys(globals.data_dir);
  if (operators_key && key.empty() && IsLoopback(endpoint->host) && IsOwners(endpoint->port, keys.AdminKeyFile())) {
    key = keys.AdminKey();
  }
  return std::make_unique<GatewayClient>(loop, *endpoint, key);
}

std::string GatewayClient::Address() const {
  const bool v6 = endpoint_.host.find(':') != std::string::npos;
  return absl::StrCat(endpoint_.tls ? "https://" : "http://", v6 ? "[" : "", endpoint_.host, v6 ? "]" : "", ":",
                      endpoint_.port);
}

http::Request GatewayClient::NewRequest(std::string method, std::string path) const {
  http::Request request;
  request.method = std::move(method);
  request.target = "/api/v2/" + path;
  request.headers.Add("User-Agent", "aima-cli");
  if (!key_.empty()) request.headers.Add("Authorization", "Bearer " + key_);
  return request;
}

absl::Status GatewayClient::Unreachable(const absl::Status& status) const {
  if (status.code() != absl::StatusCode::kUnavailable) return status;
  // The address is told once.
  constexpr absl::string_view kSaid = " cannot be reached";
  const size_t said = status.message().find(kSaid);
  const std::string why = said == absl::string_view::npos
                              ? absl::StrCat(": ", status.message())
                              : std::string(status.message().substr(said + kSaid.size()));
  return WithRemedy(
      absl::UnavailableError(absl::StrCat("cannot reach ", Address(), why)),
      "`aima status` tells what runs, `aima start` starts the cluster of this machine, --server names "
      "another one.");
}

absl::Status StatusOfError(const ordered_json& error, int http_status) {
  const std::string reason = Text(error, "code");
  std::string message = Text(error, "message");
  if (message.empty()) message = reason.empty() ? "the server gives no reason" : reason;
  const auto details = error.find("details");
  std::string remedy;
  if (details != error.end() && details->is_object()) remedy = InCommands(Text(*details, "remedy"));
  if (!reason.empty()) absl::StrAppend(&message, " [", reason, "]");
  // What is said to every face is said in the words of this one.
  const std::string role = details != error.end() && details->is_object() ? Text(*details, "role") : "";
  if (reason == "UNAUTHENTICATED" || (reason == "PERMISSION_DENIED" && !role.empty())) {
    remedy = absl::StrCat("Give a valid key with --key or $AIMA_KEY; where the cluster runs, `aima key create --role ",
                          role.empty() ? "operate" : role, "` makes one.");
  }
  return WithErrorObject(WithRemedy(absl::Status(CodeOf(reason, http_status), message), remedy), Dump(error));
}

absl::StatusOr<ordered_json> OpenEnvelope(const std::string& body, int http_status) {
  ordered_json envelope = ordered_json::parse(body, nullptr, false);
  if (!envelope.is_object()) {
    return absl::InternalError(absl::StrCat("the server answers with status ", http_status,
                                            " and something that is not an AIMA answer; is --server right?"));
  }
  if (const auto error = envelope.find("error"); error != envelope.end() && error->is_object()) {
    return StatusOfError(*error, http_status);
  }
  if (http_status >= 400 && !envelope.contains("data") &&
      envelope.contains("detail")) {  // RFC 9457 without an envelope
    const ordered_json error = {{"code", envelope.value("code", "")}, {"message", envelope["detail"]}};
    return StatusOfError(error, http_status);
  }
  const auto data = envelope.find("data");
  // A health report is an answer, whatever its status.
  const bool success = envelope.value("success", false);
  if (!success && (http_status < 200 || http_status > 299)) {
    return absl::InternalError(absl::StrCat("the server answers with status ", http_status));
  }
  if (data == envelope.end()) return ordered_json::object();
  return std::move(*data);
}

Task<absl::StatusOr<std::unique_ptr<http::ResponseStream>>> GatewayClient::Open(http::Request request,
                                                                                absl::Time deadline) {
  if (!key_.empty() && !request.headers.Find("Authorization")) request.headers.Add("Authorization", "Bearer " + key_);
  auto stream = co_await client_.Open(endpoint_, std::move(request), deadline);
  if (!stream.ok()) co_return Unreachable(stream.status());
  co_return std::move(stream);
}

Task<absl::StatusOr<ordered_json>> GatewayClient::Get(std::string path, absl::Duration timeout) {
  absl::StatusOr<http::Response> response =
      co_await client_.Send(endpoint_, NewRequest("GET", std::move(path)), absl::Now() + timeout);
  if (!response.ok()) co_return Unreachable(response.status());
  co_return OpenEnvelope(response->body, response->status);
}

Task<absl::StatusOr<ordered_json>> GatewayClient::Execute(std::string unit, ordered_json input,
                                                          CallOptions options) {
  http::Request request = NewRequest("POST", "execute");
  request.headers.Add("Content-Type", "application/json");
  request.body = Dump(Body(unit, input, options));
  absl::StatusOr<http::Response> response =
      co_await client_.Send(endpoint_, std::move(request), absl::Now() + kLong);
  if (!response.ok()) co_return Unreachable(response.status());
  absl::StatusOr<ordered_json> output = OpenEnvelope(response->body, response->status);
  if (!output.ok()) co_return WithUnit(output.status(), unit);
  co_return output;
}

Task<absl::Status> GatewayClient::Stream(std::string unit, ordered_json input,
                                         std::function<void(const ordered_json&)> on_message,
                                         CallOptions options) {
  http::Request request = NewRequest("POST", "stream");
  request.headers.Add("Content-Type", "application/json");
  request.body = Dump(Body(unit, input, options));
  absl::Status status = co_await ReadEvents(std::move(request), std::move(on_message));
  co_return WithUnit(std::move(status), unit);
}

Task<absl::Status> GatewayClient::Watch(std::string uri, std::function<void(const ordered_json&)> on_value) {
  http::Request request = NewRequest("GET", "resource/" + http::PercentEncode(uri) + "/watch");
  co_return co_await ReadEvents(std::move(request), std::move(on_value));
}

Task<absl::Status> GatewayClient::ReadEvents(http::Request request,
                                             std::function<void(const ordered_json&)> on_message) {
  request.headers.Add("Accept", "text/event-stream");
  absl::StatusOr<std::unique_ptr<http::ResponseStream>> stream =
      co_await client_.Open(endpoint_, std::move(request), absl::Now() + kLong);
  if (!stream.ok()) co_return Unreachable(stream.status());
  const bool events = absl::StartsWith(std::string((*stream)->headers().Get("Content-Type")), "text/event-stream");
  http::SseParser parser;
  std::string body;
  for (;;) {
    absl::StatusOr<std::optional<std::string>> bytes = co_await (*stream)->Next();
    if (!bytes.ok()) co_return Unreachable(bytes.status());
    if (!*bytes) break;
    if (!events) {
      body += **bytes;
      if (body.size() > kMaxPending) break;
      continue;
    }
    parser.Push(**bytes);
    while (std::optional<http::SseEvent> event = parser.Next()) {
      if (event->event == "done") co_return absl::OkStatus();
      const ordered_json json = ordered_json::parse(event->data, nullptr, false);
      if (event->event == "error") {
        const auto inner = json.is_object() ? json.find("error") : json.end();
        co_return StatusOfError(json.is_object() && inner != json.end() ? *inner : json, 0);
      }
      if (!json.is_discarded()) on_message(json);
    }
    if (parser.pending() > kMaxPending) {
      co_return absl::ResourceExhaustedError("an event of the stream is too large");
    }
  }
  if (events) co_return absl::UnavailableError("the stream ended early");
  co_return OpenEnvelope(body, (*stream)->status()).status();
}

}  // namespace aima::cli
