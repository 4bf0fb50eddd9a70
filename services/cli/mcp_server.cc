#include "services/cli/mcp_server.h"

#include <absl/cleanup/cleanup.h>
#include <absl/strings/ascii.h>
#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "libs/base/ids.h"
#include "libs/http/sse.h"

namespace aima::cli {
namespace {

namespace asio = boost::asio;

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

// Pages of other origins, and names that were made to point here, are kept out.
bool IsFromThisMachine(const http::Request& request) {
  const std::string host = absl::AsciiStrToLower(View(request.headers.Get("Host")));
  const std::string name = host.substr(0, host.rfind(':') == std::string::npos || host.ends_with(']') ? host.size() : host.rfind(':'));
  if (name != "localhost" && name != "127.0.0.1" && name != "[::1]") return false;
  const std::string_view origin = request.headers.Get("Origin");
  return origin.empty() || absl::EqualsIgnoreCase(View(origin), "http://" + host);
}

bool IsOfOneHop(const std::string& header) {
  for (const char* name : {"connection", "keep-alive", "transfer-encoding", "content-length", "te", "upgrade", "date", "expect"}) {
    if (http::EqualsIgnoringCase(header, name)) return true;
  }
  return false;
}

http::Headers EndToEnd(const http::Headers& headers) {
  http::Headers kept;
  for (const auto& [name, value] : headers) {
    if (!IsOfOneHop(name)) kept.Add(name, value);
  }
  return kept;
}

}  // namespace

Task<void> McpServer::Refuse(http::Exchange& exchange, int status, std::string why) {
  http::Response response{.status = status, .headers = {{"Content-Type", "text/plain"}}, .body = why + "\n"};
  (co_await exchange.Send(std::move(response))).IgnoreError();
}

Task<void> McpServer::Handle(http::Exchange& exchange) {
  const http::Request& request = exchange.request();
  if (!IsFromThisMachine(request)) co_return co_await Refuse(exchange, 403, "only programs of this machine may call");
  const std::string path = request.target.substr(0, request.target.find('?'));
  if (path == "/mcp" || absl::StartsWith(path, "/mcp/")) co_return co_await PassOn(exchange);
  if (path == "/sse" && request.method == "GET") co_return co_await OpenSse(exchange);
  if (path == "/messages" && request.method == "POST") {
    const size_t id = request.target.find("sessionId=");
    co_return co_await TakeMessage(exchange, id == std::string::npos ? "" : request.target.substr(id + 10));
  }
  co_await Refuse(exchange, 404, "there are /mcp and /sse");
}

Task<void> McpServer::PassOn(http::Exchange& exchange) {
  http::Request request = exchange.request();
  request.headers = EndToEnd(request.headers);
  // Where limits were given, no other path and no query goes round them.
  if (path_ != "/mcp") request.target = path_;
  const std::string address = gateway_.Address();
  // To the gateway it is called by its own name; who called us was checked here.
  request.headers.Set("Host", address.substr(address.find("://") + 3));
  request.headers.Erase("Origin");
  auto stream = co_await gateway_.Open(std::move(request), absl::Now() + absl::Hours(24));
  if (!stream.ok()) co_return co_await Refuse(exchange, 502, std::string(stream.status().message()));
  const bool endless = absl::StartsWith(View((*stream)->headers().Get("Content-Type")), "text/event-stream");
  if (endless) exchange.EndOnDrain();
  std::string body;
  if (endless && !(co_await exchange.StartStream((*stream)->status(), EndToEnd((*stream)->headers()))).ok()) co_return;
  for (;;) {
    absl::StatusOr<std::optional<std::string>> bytes = co_await (*stream)->Next();
    if (!bytes.ok()) co_return;  // what is broken off there is broken off here
    if (!*bytes) break;
    if (!endless) {
      body += **bytes;
    } else if (!(co_await exchange.Write(**bytes)).ok()) {
      co_return;
    }
  }
  if (endless) co_return (co_await exchange.Finish()).IgnoreError();
  http::Response response{.status = (*stream)->status(), .headers = EndToEnd((*stream)->headers()), .body = std::move(body)};
  (co_await exchange.Send(std::move(response))).IgnoreError();
}

Task<void> McpServer::OpenSse(http::Exchange& exchange) {
  http::Headers headers;
  for (const char* name : {"Authorization", "X-API-Key"}) {
    if (const std::string* value = exchange.request().headers.Find(name)) headers.Add(name, *value);
  }
  const std::string id = RandomHex(16);
  const auto client = std::make_shared<Client>();
  client->wake = std::make_shared<asio::steady_timer>(loop_);
  client->bridge = std::make_shared<McpBridge>(loop_, gateway_, path_, std::move(headers), [client = std::weak_ptr<Client>(client)](const std::string& message) {
    const auto open = client.lock();
    if (!open) return;
    open->messages.push_back(message);
    open->wake->cancel();
  });
  clients_[id] = client;
  absl::Cleanup leave = [&] {
    client->bridge->Cancel();
    clients_.erase(id);
  };
  exchange.EndOnDrain();
  if (!(co_await exchange.StartStream(200, {{"Content-Type", "text/event-stream"}, {"Cache-Control", "no-store"}})).ok()) co_return;
  std::string next = http::FormatSse("endpoint", "/messages?sessionId=" + id);
  while ((co_await exchange.Write(next)).ok()) {
    if (client->messages.empty()) {
      client->wake->expires_after(std::chrono::seconds(15));
      (void)co_await client->wake->async_wait(asio::as_tuple(asio::use_awaitable));
    }
    next = ": still here\n\n";
    if (client->messages.empty()) continue;
    next = http::FormatSse("message", client->messages.front());
    client->messages.pop_front();
  }
}

Task<void> McpServer::TakeMessage(http::Exchange& exchange, const std::string& id) {
  const auto client = clients_.find(id);
  if (client == clients_.end()) co_return co_await Refuse(exchange, 404, "there is no such session");
  client->second->bridge->Take(exchange.request().body);
  http::Response response{.status = 202};
  (co_await exchange.Send(std::move(response))).IgnoreError();
}

}  // namespace aima::cli
