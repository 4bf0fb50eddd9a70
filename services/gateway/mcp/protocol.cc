#include "services/gateway/mcp/protocol.h"

#include <absl/strings/ascii.h>
#include <absl/strings/escaping.h>
#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>

#include <algorithm>

namespace aima::gateway::mcp {
namespace {

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

RpcError Mismatch(std::string message) { return {kHeaderMismatch, std::move(message), nullptr, 400}; }

// The parameter that Mcp-Name repeats; empty if the method has none.
std::string NameParameter(const std::string& method) {
  if (method == "tools/call" || method == "prompts/get") return "name";
  if (method == "resources/read") return "uri";
  if (method == "tasks/get" || method == "tasks/update" || method == "tasks/cancel") return "taskId";
  return "";
}

std::string PlainText(const json& value) {
  if (value.is_string()) return value.get<std::string>();
  return value.is_null() ? "" : Dump(value);
}

}  // namespace

bool IsLegacyVersion(std::string_view version) {
  return std::find(std::begin(kLegacyVersions), std::end(kLegacyVersions), version) != std::end(kLegacyVersions);
}

bool IsModern(const Message& message, const http::Headers& headers) {
  if (Member(message.params, "_meta").contains(kVersionKey)) return true;
  const std::string_view version = headers.Get("MCP-Protocol-Version");
  if (!version.empty()) return !IsLegacyVersion(version);
  return message.method == "server/discover" || message.method == "subscriptions/listen";
}

std::optional<std::string> DecodeHeader(std::string_view value) {
  absl::string_view text = absl::StripAsciiWhitespace(View(value));
  if (text.size() < 11 || !absl::StartsWith(text, "=?base64?") || !absl::EndsWith(text, "?=")) return std::string(text);
  text = text.substr(9, text.size() - 11);
  std::string decoded;
  if (!absl::Base64Unescape(text, &decoded) || absl::Base64Escape(decoded) != text) return std::nullopt;
  return decoded;
}

std::optional<RpcError> CheckModern(const Message& message, const http::Headers& headers) {
  const json& meta = Member(message.params, "_meta");
  const json& version = Member(meta, kVersionKey);
  for (const char* key : {kVersionKey, kCapabilitiesKey}) {
    const json& member = Member(meta, key);
    const bool good = key == kVersionKey ? member.is_string() : member.is_object();
    if (!good) {
      return RpcError{kInvalidParams, absl::StrCat("params._meta[\"", key, "\"] is required with every request"), nullptr, 400};
    }
  }
  const std::string* header = headers.Find("MCP-Protocol-Version");
  if (!header) return Mismatch("the header MCP-Protocol-Version is required");
  if (DecodeHeader(*header) != version.get<std::string>()) {
    return Mismatch(absl::StrCat("the header MCP-Protocol-Version is '", *header, "', params._meta says '",
                                 version.get<std::string>(), "'"));
  }
  if (version != std::string(kModernVersion)) {
    return RpcError{kUnsupportedVersion, "this protocol version is not supported",
                    json{{"supported", json::array({std::string(kModernVersion)})}, {"requested", version}}, 400};
  }
  const std::string* method = headers.Find("Mcp-Method");
  if (!method) return Mismatch("the header Mcp-Method is required");
  if (DecodeHeader(*method) != message.method) {
    return Mismatch(absl::StrCat("the header Mcp-Method is '", *method, "', the method is '", message.method, "'"));
  }
  const std::string parameter = NameParameter(message.method);
  const std::string value = parameter.empty() ? "" : TextMember(message.params, parameter);
  if (value.empty()) return std::nullopt;
  const std::string* name = headers.Find("Mcp-Name");
  if (!name && parameter == "taskId") return std::nullopt;
  if (!name) return Mismatch("the header Mcp-Name is required with " + message.method);
  if (DecodeHeader(*name) != value) {
    return Mismatch(absl::StrCat("the header Mcp-Name is '", *name, "', params.", parameter, " is '", value, "'"));
  }
  return std::nullopt;
}

std::optional<RpcError> CheckParameterHeaders(const Tool& tool, const json& arguments, const http::Headers& headers) {
  for (const HeaderParameter& parameter : tool.headers) {
    const std::string name = "Mcp-Param-" + parameter.header;
    const json& argument = Member(arguments, parameter.property);
    const std::string* header = headers.Find(name);
    if (argument.is_null() && !header) continue;
    if (!header) return Mismatch(absl::StrCat("the header ", name, " is required with the argument ", parameter.property));
    const std::optional<std::string> value = DecodeHeader(*header);
    if (!value) return Mismatch(absl::StrCat("the header ", name, " is not properly encoded"));
    if (argument.is_null() || *value != PlainText(argument)) {
      return Mismatch(absl::StrCat("the header ", name, " does not say what the argument ", parameter.property, " says"));
    }
  }
  return std::nullopt;
}

}  // namespace aima::gateway::mcp
