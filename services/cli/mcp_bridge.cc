#include "services/cli/mcp_bridge.h"

#include <absl/strings/ascii.h>
#include <absl/strings/escaping.h>
#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>

#include "libs/http/sse.h"

namespace aima::cli {
namespace {

namespace asio = boost::asio;
using nlohmann::json;

constexpr absl::Duration kLong = absl::Hours(24);
constexpr char kVersionKey[] = "io.modelcontextprotocol/protocolVersion";

std::string Dump(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

// A member that is text, of an object; else empty.
std::string Text(const json& object, const char* key) {
  if (!object.is_object()) return "";
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

json MemberOf(const json& object, const char* key) {
  return object.is_object() && object.contains(key) ? object[key] : json();
}

// The version that a message names which stands alone; empty if it belongs to a session.
std::string ModernVersion(const json& message) {
  return Text(MemberOf(MemberOf(message, "params"), "_meta"), kVersionKey);
}

// Headers carry plain text only.
std::string HeaderValue(const std::string& text) {
  const bool plain = std::all_of(text.begin(), text.end(), [](unsigned char c) { return c >= 0x20 && c < 0x7f; }) &&
                     absl::StripAsciiWhitespace(text) == text && !absl::StartsWith(text, "=?");
  return plain ? text : absl::StrCat("=?base64?", absl::Base64Escape(text), "?=");
}

// True of what nobody answers: notifications, and answers themselves.
bool IsForItself(const json& message) {
  if (!message.is_object()) return false;
  if (message.contains("method")) return !message.contains("id");
  return message.contains("result") || message.contains("error");
}

std::string InOneLine(const std::string& text) {
  if (text.find_first_of("\r\n") == std::string::npos) return text;
  const json parsed = json::parse(text, nullptr, false);
  return parsed.is_discarded() ? text : Dump(parsed);
}

}  // namespace

McpBridge::McpBridge(Loop& loop, GatewayClient& gateway, std::string path, http::Headers headers,
                     std::function<void(const std::string&)> write)
    : loop_(loop),
      gateway_(gateway),
      path_(std::move(path)),
      headers_(std::move(headers)),
      write_(std::move(write)),
      landed_(loop) {}

void McpBridge::WriteError(const json& id, const std::string& why) {
  write_(Dump({{"jsonrpc", "2.0"}, {"id", id}, {"error", {{"code", -32603}, {"message", why}}}}));
}

void McpBridge::Take(std::string text) {
  if (initializing_) return waiting_.push_back(std::move(text));
  json message = json::parse(text, nullptr, false);
  // What is wrong with anything else, the gateway says.
  if (message.is_discarded()) {
    return write_(R"({"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"the message is not valid JSON"}})");
  }
  const std::string method = Text(message, "method");
  if (method == "notifications/cancelled" && session_.empty()) {
    const auto flight = flights_.find(Dump(MemberOf(MemberOf(message, "params"), "requestId")));
    if (flight != flights_.end()) {
      const std::shared_ptr<Flight> cancelled = flight->second;
      CancelFlight(cancelled);
    }
    return;
  }
  if (method == "initialize") {
    initialize_ = text;
    initializing_ = true;
    session_.clear();
  }
  Start(std::move(message), std::move(text));
}

void McpBridge::Start(json message, std::string text) {
  const json id = MemberOf(message, "id");
  const std::string key = id.is_null() ? absl::StrCat("#", next_flight_++) : Dump(id);
  const auto flight = std::make_shared<Flight>();
  flight->endless = Text(message, "method") == "subscriptions/listen";
  flights_[key] = flight;
  asio::co_spawn(loop_, Carry(flight, std::move(message), std::move(text)),
                 asio::bind_cancellation_slot(flight->cancel.slot(), [self = shared_from_this(), flight, key](std::exception_ptr) {
                   const auto found = self->flights_.find(key);
                   if (found != self->flights_.end() && found->second == flight) self->flights_.erase(found);
                   self->landed_.cancel();
                 }));
}

Task<void> McpBridge::Carry(std::shared_ptr<Flight> flight, json message, std::string text) {
  const json id = MemberOf(message, "id");
  const std::string method = Text(message, "method");
  const bool answered = co_await Exchange(message, text, /*again=*/true);
  if (!answered) WriteError(id, "the gateway ended before it answered");
  if (method == "initialize") {
    initializing_ = false;
    const std::deque<std::string> waiting = std::exchange(waiting_, {});
    for (const std::string& next : waiting) Take(next);
  }
  if (method == "notifications/initialized" && !session_.empty()) {
    flight->endless = true;
    landed_.cancel();
    co_await Listen();
  }
}

http::Request McpBridge::NewRequest(std::string method, const json& message, const std::string& text) const {
  http::Request request;
  request.method = std::move(method);
  request.target = path_;
  request.headers = headers_;
  request.headers.Add("Accept", "application/json, text/event-stream");
  if (!text.empty()) request.headers.Add("Content-Type", "application/json");
  request.body = text;
  const std::string version = ModernVersion(message);
  if (!version.empty()) {
    const json params = MemberOf(message, "params");
    const std::string name = Text(message, "method");
    request.headers.Add("MCP-Protocol-Version", HeaderValue(version));
    request.headers.Add("Mcp-Method", HeaderValue(name));
    const char* key = name == "resources/read" ? "uri" : absl::StartsWith(name, "tasks/") ? "taskId" : "name";
    if (const std::string value = Text(params, key); !value.empty()) request.headers.Add("Mcp-Name", HeaderValue(value));
  } else if (!session_.empty()) {
    request.headers.Add("Mcp-Session-Id", session_);
    request.headers.Add("MCP-Protocol-Version", version_);
  }
  return request;
}

Task<bool> McpBridge::Exchange(const json& message, const std::string& text, bool again) {
  const json id = MemberOf(message, "id");
  const bool is_request = !IsForItself(message);
  const std::string session = session_;
  auto stream = co_await gateway_.Open(NewRequest("POST", message, text), absl::Now() + kLong);
  if (!stream.ok()) {
    if (is_request) WriteError(id, std::string(stream.status().message()));
    co_return true;
  }
  const http::Headers& headers = (*stream)->headers();
  const int status = (*stream)->status();
  if (status == 404 && !session.empty() && again && ModernVersion(message).empty()) {
    const bool reopened = co_await Reopen(session);
    if (reopened) co_return co_await Exchange(message, text, /*again=*/false);
  }
  const std::string type(headers.Get("Content-Type"));
  if (absl::StartsWith(type, "text/event-stream")) {
    const bool answered = co_await CopyEvents(**stream, id);
    co_return answered || !is_request;
  }
  if (const std::string* opened = headers.Find("Mcp-Session-Id")) session_ = *opened;
  std::string body;
  for (;;) {
    absl::StatusOr<std::optional<std::string>> bytes = co_await (*stream)->Next();
    if (!bytes.ok()) co_return !is_request;
    if (!*bytes) break;
    body += **bytes;
  }
  if (!is_request) co_return true;
  json answer = json::parse(body, nullptr, false);
  if (body.empty()) co_return status == 202;  // it was cancelled
  if (!answer.is_object() || answer.value("jsonrpc", "") != "2.0") {
    const json error = MemberOf(answer, "error");
    const std::string why = Text(error, "message");
    WriteError(id, why.empty() ? absl::StrCat("the gateway answers with status ", status) : why);
    co_return true;
  }
  if (MemberOf(answer, "id").is_null()) {
    answer["id"] = id;  // it was refused before it was read
    body = Dump(answer);
  }
  const std::string method = Text(message, "method");
  if (method == "resources/subscribe" && answer.contains("result")) subscribed_.insert(Text(MemberOf(message, "params"), "uri"));
  if (method == "resources/unsubscribe") subscribed_.erase(Text(MemberOf(message, "params"), "uri"));
  if (method == "initialize") version_ = Text(MemberOf(answer, "result"), "protocolVersion");
  write_(InOneLine(body));
  co_return true;
}

Task<bool> McpBridge::CopyEvents(http::ResponseStream& stream, const json& id) {
  http::SseParser parser;
  bool answered = false;
  for (;;) {
    absl::StatusOr<std::optional<std::string>> bytes = co_await stream.Next();
    if (!bytes.ok() || !*bytes) co_return answered;
    parser.Push(**bytes);
    while (std::optional<http::SseEvent> event = parser.Next()) {
      if (event->data.empty()) continue;
      const json message = json::parse(event->data, nullptr, false);
      if (!message.is_object()) continue;
      answered = answered || (!message.contains("method") && MemberOf(message, "id") == id);
      write_(InOneLine(event->data));
    }
  }
}

// What the gateway says by itself, as long as the session lasts.
Task<void> McpBridge::Listen() {
  while (!session_.empty()) {
    const std::string session = session_;
    auto stream = co_await gateway_.Open(NewRequest("GET", nullptr, ""), absl::Now() + kLong);
    const int status = stream.ok() ? (*stream)->status() : 0;
    if (status == 200) {
      (void)co_await CopyEvents(**stream, nullptr);
    } else if (status == 404) {
      (void)co_await Reopen(session);
    } else if (status != 0) {
      co_return;
    }
    asio::steady_timer pause(loop_, std::chrono::seconds(1));
    co_await pause.async_wait(asio::use_awaitable);
  }
}

// The gateway was started anew, or has forgotten the session: the client need not know.
Task<bool> McpBridge::Reopen(std::string lost) {
  while (reopening_) {
    asio::steady_timer pause(loop_, std::chrono::milliseconds(20));
    co_await pause.async_wait(asio::use_awaitable);
  }
  if (session_ != lost) co_return !session_.empty();  // somebody else has done it
  reopening_ = true;
  struct Done {
    bool& reopening;
    ~Done() { reopening = false; }
  } done{reopening_};
  http::Request request = NewRequest("POST", nullptr, initialize_);
  request.headers.Erase("Mcp-Session-Id");
  auto stream = co_await gateway_.Open(std::move(request), absl::Now() + absl::Seconds(30));
  if (!stream.ok() || (*stream)->status() != 200) co_return false;
  const std::string* session = (*stream)->headers().Find("Mcp-Session-Id");
  if (!session) co_return false;
  session_ = *session;
  const std::set<std::string> subscribed = subscribed_;
  for (const std::string& uri : subscribed) {
    const json params = {{"uri", uri}};
    const json subscribe = {{"jsonrpc", "2.0"}, {"id", "bridge"}, {"method", "resources/subscribe"}, {"params", params}};
    (co_await gateway_.Open(NewRequest("POST", nullptr, Dump(subscribe)), absl::Now() + absl::Seconds(30))).status().IgnoreError();
    // Nobody knows what happened meanwhile.
    write_(Dump({{"jsonrpc", "2.0"}, {"method", "notifications/resources/updated"}, {"params", params}}));
  }
  co_return true;
}

Task<void> McpBridge::Finish() {
  const auto self = shared_from_this();
  const auto busy = [&] {
    return std::any_of(flights_.begin(), flights_.end(), [](const auto& entry) { return !entry.second->endless; });
  };
  while (busy()) {
    landed_.expires_at(asio::steady_timer::time_point::max());
    (void)co_await landed_.async_wait(asio::as_tuple(asio::use_awaitable));
  }
  if (!session_.empty()) {
    (co_await gateway_.Open(NewRequest("DELETE", nullptr, ""), absl::Now() + absl::Seconds(2))).status().IgnoreError();
    session_.clear();
  }
  Cancel();
}

void McpBridge::CancelFlight(const std::shared_ptr<Flight>& flight) {
  flight->cancel.emit(asio::cancellation_type::terminal);
  // The cancellation may arrive with a later turn of the loop, which finds the flight still there.
  asio::post(loop_, [flight] {});
}

void McpBridge::Cancel() {
  const auto flights = flights_;
  for (const auto& [id, flight] : flights) CancelFlight(flight);
}

}  // namespace aima::cli
