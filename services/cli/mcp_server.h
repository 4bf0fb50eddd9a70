// `aima mcp serve --transport http` and `sse`: the gateway's /mcp on a port of its own on this machine, for clients that
// were given that port.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "libs/http/server.h"
#include "services/cli/mcp_bridge.h"

namespace aima::cli {

// Passes on what clients send to /mcp, their keys included and none of its own. GET /sse and POST /messages are the
// transport of protocol 2024-11-05, which some clients still speak.
class McpServer {
 public:
  McpServer(Loop& loop, GatewayClient& gateway, std::string path) : loop_(loop), gateway_(gateway), path_(std::move(path)) {}

  Task<void> Handle(http::Exchange& exchange);

 private:
  struct Client {
    std::shared_ptr<McpBridge> bridge;
    std::deque<std::string> messages;
    std::shared_ptr<boost::asio::steady_timer> wake;
  };

  Task<void> PassOn(http::Exchange& exchange);
  Task<void> OpenSse(http::Exchange& exchange);
  Task<void> TakeMessage(http::Exchange& exchange, const std::string& client);
  static Task<void> Refuse(http::Exchange& exchange, int status, std::string why);

  Loop& loop_;
  GatewayClient& gateway_;
  const std::string path_;
  std::map<std::string, std::shared_ptr<Client>> clients_;  // of /sse, by their id
};

}  // namespace aima::cli
