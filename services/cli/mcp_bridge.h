// Carries the messages of one MCP client to the gateway's /mcp, and what comes back to the client. It understands as
// much of them as HTTP asks for: sessions, and the headers that repeat what a message says.
#pragma once

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "services/cli/gateway_client.h"

namespace aima::cli {

// Must be held by a shared_ptr. Used on the loop.
class McpBridge : public std::enable_shared_from_this<McpBridge> {
 public:
  // `path` is that of the gateway's endpoint, /mcp or /mcp/x/<toolsets>; `headers` go with every request; `write` takes
  // each message for the client, in one line.
  McpBridge(Loop& loop, GatewayClient& gateway, std::string path, http::Headers headers,
            std::function<void(const std::string&)> write);

  // Takes a message of the client; what is no JSON is answered at once.
  void Take(std::string text);

  // Waits for the answers to what was taken, then ends the session and all streams.
  Task<void> Finish();
  // Ends everything at once.
  void Cancel();

 private:
  struct Flight {
    boost::asio::cancellation_signal cancel;
    bool endless = false;  // a stream of news, which nobody waits for
  };

  void CancelFlight(const std::shared_ptr<Flight>& flight);
  void Start(nlohmann::json message, std::string text);
  Task<void> Carry(std::shared_ptr<Flight> flight, nlohmann::json message, std::string text);
  // Sends one message; true if its answer came, or none was due.
  Task<bool> Exchange(const nlohmann::json& message, const std::string& text, bool again);
  Task<void> Listen();
  // Opens a session anew in place of `lost`, with what the client had subscribed to.
  Task<bool> Reopen(std::string lost);
  // Writes the events of a stream; true if the answer to `id` was one of them.
  Task<bool> CopyEvents(http::ResponseStream& stream, const nlohmann::json& id);
  http::Request NewRequest(std::string method, const nlohmann::json& message, const std::string& text) const;
  void WriteError(const nlohmann::json& id, const std::string& why);

  Loop& loop_;
  GatewayClient& gateway_;
  const std::string path_;
  const http::Headers headers_;
  const std::function<void(const std::string&)> write_;

  std::string session_;
  std::string version_;
  std::string initialize_;            // the client's own, to begin anew if the gateway has forgotten the session
  std::set<std::string> subscribed_;  // addresses of resources
  bool initializing_ = false;
  bool reopening_ = false;
  std::deque<std::string> waiting_;   // came while initialize was under way
  std::map<std::string, std::shared_ptr<Flight>> flights_;  // by the text of the request's id, or a number of ours
  int64_t next_flight_ = 1;
  boost::asio::steady_timer landed_;
};

}  // namespace aima::cli
