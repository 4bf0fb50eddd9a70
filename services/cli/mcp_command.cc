// aima mcp: the cluster as tools for agents, over standard input and output or on a port of its own.
#include <absl/strings/ascii.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <signal.h>

#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <iostream>
#include <thread>

#include "libs/base/status_macros.h"
#include "services/cli/commands.h"
#include "services/cli/gateway_client.h"
#include "services/cli/mcp_bridge.h"
#include "services/cli/mcp_server.h"
#include "services/cli/output.h"
#include "services/cli/session.h"
#include "services/cli/table.h"

namespace aima::cli {
namespace {

namespace asio = boost::asio;
using nlohmann::ordered_json;

constexpr size_t kMaxLine = 64 << 20;

// The gateway's endpoint with the toolsets that the flags name.
absl::StatusOr<std::string> TakePath(Arguments& arguments) {
  ASSIGN_OR_RETURN(const std::optional<std::string> toolsets, arguments.Value("toolsets"));
  const bool read_only = arguments.Flag("read-only");
  std::string path = "/mcp";
  for (const char c : toolsets.value_or("")) {
    if (!absl::ascii_isalnum(c) && std::string_view("_-.,").find(c) == std::string_view::npos) {
      return UsageError("--toolsets takes names and commas, such as model,engine,-engine.stop");
    }
  }
  if (toolsets && !toolsets->empty()) absl::StrAppend(&path, "/x/", *toolsets);
  if (read_only) path += "/readonly";
  return path;
}

// Messages are lines. Nothing but messages goes to standard output.
absl::Status ServeStdio(Session& session, const std::string& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<GatewayClient> gateway,
                   GatewayClient::Connect(session.loop, session.globals, /*operators_key=*/false));
  const auto bridge = std::make_shared<McpBridge>(session.loop, *gateway, path, http::Headers(),
                                                  [](const std::string& message) { std::cout << message << std::endl; });
  signal(SIGPIPE, SIG_IGN);
  // Reading standard input can block, whatever it is.
  const auto work = asio::make_work_guard(session.loop);
  bool ended = false;
  std::thread reader([&] {
    std::string line;
    while (std::getline(std::cin, line) && line.size() <= kMaxLine) {
      if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
      asio::post(session.loop, [&bridge, line] { bridge->Take(line); });
    }
    asio::post(session.loop, [&] {
      asio::co_spawn(session.loop, bridge->Finish(), [&](std::exception_ptr) { ended = true; });
    });
  });
  while (!ended && session.loop.run_one() > 0) {
  }
  reader.join();
  return absl::OkStatus();
}

absl::Status ServePort(Session& session, const std::string& path, const std::string& transport, int port) {
  if (!session.globals.key.empty()) {
    return UsageError("a key is not taken with this transport: everybody on this machine could use it. Clients send their own");
  }
  ASSIGN_OR_RETURN(std::unique_ptr<GatewayClient> gateway,
                   GatewayClient::Connect(session.loop, session.globals, /*operators_key=*/false));
  McpServer server(session.loop, *gateway, path);
  http::ServerOptions options;
  options.address = absl::StrCat("127.0.0.1:", port);
  http::Server http(session.loop, options, [&](http::Exchange& exchange) { return server.Handle(exchange); });
  RETURN_IF_ERROR(http.Start());
  if (transport == "sse") {
    std::cerr << "The transport sse is deprecated since protocol 2025-03-26; clients that can should use /mcp.\n";
  }
  std::cerr << "http://127.0.0.1:" << http.port() << (transport == "sse" ? "/sse and /mcp" : "/mcp") << std::endl;
  bool stopped = false;
  asio::signal_set signals(session.loop, SIGINT, SIGTERM);
  signals.async_wait([&](boost::system::error_code, int) {
    asio::co_spawn(session.loop, http.Shutdown(absl::Now() + absl::Seconds(5)), [&](std::exception_ptr) { stopped = true; });
  });
  while (!stopped && session.loop.run_one() > 0) {
  }
  return absl::OkStatus();
}

absl::Status Serve(Session& session) {
  ASSIGN_OR_RETURN(const std::string path, TakePath(session.arguments));
  ASSIGN_OR_RETURN(const std::optional<std::string> transport, session.arguments.Value("transport"));
  ASSIGN_OR_RETURN(const std::optional<std::string> port_text, session.arguments.Value("port"));
  RETURN_IF_ERROR(session.arguments.Done("mcp serve"));
  int port = 9091;
  if (port_text && (!absl::SimpleAtoi(*port_text, &port) || port < 0 || port > 65535)) {
    return UsageError("--port takes a number up to 65535");
  }
  const std::string name = transport.value_or("stdio");
  if (name == "stdio") return ServeStdio(session, path);
  if (name != "http" && name != "sse") return UsageError("there is no transport " + name + "; there are stdio, http and sse");
  return ServePort(session, path, name, port);
}

absl::Status Tools(Session& session) {
  ASSIGN_OR_RETURN(const std::string path, TakePath(session.arguments));
  RETURN_IF_ERROR(session.arguments.Done("mcp tools"));
  ASSIGN_OR_RETURN(std::unique_ptr<GatewayClient> gateway,
                   GatewayClient::Connect(session.loop, session.globals, /*operators_key=*/false));
  std::string answer;
  const auto bridge = std::make_shared<McpBridge>(session.loop, *gateway, path, http::Headers(),
                                                  [&](const std::string& message) { answer = message; });
  bridge->Take(R"({"jsonrpc":"2.0","id":1,"method":"tools/list"})");
  const auto finish = [&]() -> Task<bool> {
    co_await bridge->Finish();
    co_return true;
  };
  Await(session.loop, finish());
  const ordered_json json = ordered_json::parse(answer, nullptr, false);
  if (!json.is_object() || !json.contains("result")) {
    const bool told = json.is_object() && json.contains("error");
    return absl::UnavailableError(told ? json["error"].value("message", "") : "the gateway gives no list");
  }
  const ordered_json& tools = json["result"]["tools"];
  if (session.globals.output != "table") {
    std::cout << Format({{"tools", tools}}, session.globals.output);
    return absl::OkStatus();
  }
  std::vector<std::vector<std::string>> rows = {{"TOOL", "CHANGES", "WHAT IT DOES"}};
  for (const ordered_json& tool : tools) {
    const ordered_json& hints = tool["annotations"];
    const std::string description = tool["description"];
    const size_t end = description.find_first_of(".\n");
    rows.push_back({tool["name"],
                    hints.value("readOnlyHint", false)      ? "nothing"
                    : hints.value("destructiveHint", false) ? "may harm"
                                                            : "something",
                    description.substr(0, std::min<size_t>(end, 80))});
  }
  std::cout << FormatTable(rows);
  return absl::OkStatus();
}

}  // namespace

absl::Status McpCommand(Session& session) {
  const std::string verb = session.arguments.Next().value_or("");
  if (verb == "serve") return Serve(session);
  if (verb == "tools") return Tools(session);
  return UsageOf(*session.command, verb.empty() ? "needs serve or tools" : "knows no " + verb);
}

}  // namespace aima::cli
