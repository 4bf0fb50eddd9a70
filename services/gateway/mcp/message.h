// JSON-RPC messages as MCP uses them, and the errors that it gives numbers to.
#pragma once

#include <absl/status/statusor.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace aima::gateway::mcp {

using nlohmann::json;

enum ErrorCode {
  kParseError = -32700,
  kInvalidRequest = -32600,
  kMethodNotFound = -32601,
  kInvalidParams = -32602,
  kInternalError = -32603,
  kResourceNotFound = -32002,     // up to 2025-11-25
  kHeaderMismatch = -32020,       // a header does not say what the body says
  kMissingCapability = -32021,    // the client has not declared what this takes
  kUnsupportedVersion = -32022,
};

struct RpcError {
  int code = kInternalError;
  std::string message;
  json data;            // null: none
  int http_status = 0;  // 0: 200, as for any answer
};

// What a client sent.
struct Message {
  std::string method;  // empty in an answer to us
  json id;             // null in a notification
  json params = json::object();
  json result;  // of an answer to us; null if it has an error
  json error;

  bool is_request() const { return !method.empty() && !id.is_null(); }
  bool is_notification() const { return !method.empty() && id.is_null(); }
  bool is_answer() const { return method.empty(); }
};

// Reads one message. On failure `error` says what is wrong, and `id` is the request's as far as it could be read.
std::optional<Message> ParseMessage(std::string_view text, RpcError& error, json& id);

// {"jsonrpc": "2.0", "id": …, "result": …}; `result` is JSON text.
std::string ResultText(const json& id, std::string_view result);
std::string ErrorText(const json& id, const RpcError& error);
// `params` is JSON text.
std::string NotificationText(std::string_view method, std::string_view params);
std::string RequestText(const json& id, std::string_view method, const json& params);

// JSON text of a value, with what is not UTF-8 replaced.
std::string Dump(const json& value);

// A member of an object; null if it is not there or `object` is none.
const json& Member(const json& object, std::string_view name);
// A member that is text; empty if it is not.
std::string TextMember(const json& object, std::string_view name);

}  // namespace aima::gateway::mcp
