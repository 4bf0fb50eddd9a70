// The two eras of the protocol, and what each asks of a message.
//
// Up to 2025-11-25 a client begins with `initialize` and keeps a session. From 2026-07-28 every request stands alone: it
// says its version and what the client can do in params._meta, and repeats in headers what load balancers look at.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "libs/http/message.h"
#include "services/gateway/mcp/message.h"
#include "services/gateway/mcp/surface.h"

namespace aima::gateway::mcp {

inline constexpr std::string_view kModernVersion = "2026-07-28";
inline constexpr std::string_view kLegacyVersions[] = {"2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"};

inline constexpr char kVersionKey[] = "io.modelcontextprotocol/protocolVersion";
inline constexpr char kCapabilitiesKey[] = "io.modelcontextprotocol/clientCapabilities";
inline constexpr char kLogLevelKey[] = "io.modelcontextprotocol/logLevel";
inline constexpr char kServerInfoKey[] = "io.modelcontextprotocol/serverInfo";
inline constexpr char kSubscriptionKey[] = "io.modelcontextprotocol/subscriptionId";

bool IsLegacyVersion(std::string_view version);

// True if the message is of the era of requests that stand alone.
bool IsModern(const Message& message, const http::Headers& headers);

// What is wrong with a modern request's _meta and headers, in the order in which it is to be told; nullopt if nothing.
std::optional<RpcError> CheckModern(const Message& message, const http::Headers& headers);

// What is wrong with the headers that repeat a tool's arguments.
std::optional<RpcError> CheckParameterHeaders(const Tool& tool, const json& arguments, const http::Headers& headers);

// The value of a header without blanks around it, decoded from =?base64?…?= if it is; nullopt if that is malformed.
std::optional<std::string> DecodeHeader(std::string_view value);

}  // namespace aima::gateway::mcp
