#include "services/gateway/mcp/message.h"

#include <absl/strings/str_cat.h>

#include "libs/errors/errors.h"
#include "libs/unit/json_codec.h"

namespace aima::gateway::mcp {
namespace {

bool IsId(const json& id) { return id.is_string() || id.is_number_integer(); }

}  // namespace

std::string Dump(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

const json& Member(const json& object, std::string_view name) {
  static const json* none = new json();
  if (!object.is_object()) return *none;
  const auto found = object.find(name);
  return found == object.end() ? *none : *found;
}

std::string TextMember(const json& object, std::string_view name) {
  const json& member = Member(object, name);
  return member.is_string() ? member.get<std::string>() : "";
}

std::optional<Message> ParseMessage(std::string_view text, RpcError& error, json& id) {
  absl::StatusOr<json> parsed = ParseJsonText(text);
  if (!parsed.ok()) {
    error = {kParseError, DetailsOf(parsed.status()).message, nullptr, 400};
    return std::nullopt;
  }
  if (parsed->is_object() && IsId(Member(*parsed, "id"))) id = Member(*parsed, "id");
  const auto invalid = [&](const char* what) {
    error = {kInvalidRequest, what, nullptr, 400};
    return std::nullopt;
  };
  if (parsed->is_array()) return invalid("one message per request: batches ended with protocol 2025-06-18");
  if (!parsed->is_object()) return invalid("a message must be an object");
  if (Member(*parsed, "jsonrpc") != "2.0") return invalid("jsonrpc must be \"2.0\"");
  Message message;
  if (parsed->contains("id") && !IsId(Member(*parsed, "id"))) return invalid("id must be a string or an integer");
  message.id = id;
  if (parsed->contains("method")) {
    if (!Member(*parsed, "method").is_string() || TextMember(*parsed, "method").empty()) {
      return invalid("method must be a string");
    }
    message.method = TextMember(*parsed, "method");
    if (const auto params = parsed->find("params"); params != parsed->end()) {
      if (!params->is_object()) return invalid("params must be an object");
      message.params = std::move(*params);
    }
    return message;
  }
  if (message.id.is_null()) return invalid("a message needs a method or the id of what it answers");
  message.result = Member(*parsed, "result");
  message.error = Member(*parsed, "error");
  if (message.result.is_null() == message.error.is_null()) return invalid("an answer has either a result or an error");
  return message;
}

std::string ResultText(const json& id, std::string_view result) {
  std::string text;
  text.reserve(result.size() + 64);
  text.append("{\"jsonrpc\":\"2.0\",\"id\":").append(Dump(id)).append(",\"result\":").append(result).append("}");
  return text;
}

std::string ErrorText(const json& id, const RpcError& error) {
  json body = {{"code", error.code}, {"message", error.message}};
  if (!error.data.is_null()) body["data"] = error.data;
  return absl::StrCat("{\"jsonrpc\":\"2.0\",\"id\":", Dump(id), ",\"error\":", Dump(body), "}");
}

std::string NotificationText(std::string_view method, std::string_view params) {
  std::string text;
  text.append("{\"jsonrpc\":\"2.0\",\"method\":\"").append(method).append("\",\"params\":").append(params).append("}");
  return text;
}

std::string RequestText(const json& id, std::string_view method, const json& params) {
  return Dump(json{{"jsonrpc", "2.0"}, {"id", id}, {"method", std::string(method)}, {"params", params}});
}

}  // namespace aima::gateway::mcp
