#include "services/gateway/edge.h"

#include <absl/strings/ascii.h>
#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/strip.h>

#include <algorithm>

namespace aima::gateway {
namespace {

absl::string_view View(std::string_view text) { return absl::string_view(text.data(), text.size()); }

// "[::1]:9090" and "host:80" without their port, in lower case.
std::string HostPart(std::string_view address) {
  const size_t bracket = address.find(']');
  const size_t colon = address.rfind(':');
  if (colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket)) {
    address = address.substr(0, colon);
  }
  return absl::AsciiStrToLower(View(address));
}

bool IsListOfNames(std::string_view text) {
  return text.size() <= 4096 && std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == ',' || c == ' ';
         });
}

bool IsLoopbackName(const std::string& host) {
  return host == "localhost" || host == "[::1]" || host == "::1" || absl::StartsWith(host, "127.");
}

}  // namespace

Edge::Edge(const config::v1::Api& api) : hosts_{"localhost", "127.0.0.1", "[::1]", HostPart(api.listen_addr())} {
  for (const std::string& host : api.allowed_hosts()) hosts_.push_back(absl::AsciiStrToLower(host));
  if (!api.enable_cors()) return;
  for (const std::string& origin : api.allowed_origins()) {
    if (origin == "*") any_origin_ = true;
    origins_.push_back(absl::AsciiStrToLower(origin));
  }
}

bool Edge::HostIsOurs(std::string_view host) const {
  return std::find(hosts_.begin(), hosts_.end(), HostPart(host)) != hosts_.end();
}

int Edge::Refusal(const http::Request& request, std::string& message) const {
  const std::string_view host = request.headers.Get("Host");
  if (!HostIsOurs(host)) {
    message = absl::StrCat("this server is not called '", View(host.substr(0, 200)),
                           "'; add the name to api.allowed_hosts if it should be");
    return 421;
  }
  const std::string_view origin = request.headers.Get("Origin");
  if (origin.empty()) return 0;
  // A page that this listener served itself: its Host has been checked above.
  for (const char* scheme : {"http://", "https://"}) {
    if (absl::EqualsIgnoreCase(View(origin), absl::StrCat(scheme, View(host)))) return 0;
  }
  if (OriginIsAllowed(origin)) return 0;
  message = absl::StrCat("pages of ", View(origin.substr(0, 200)),
                         " may not call this server; see api.enable_cors and api.allowed_origins");
  return 403;
}

bool Edge::OriginIsAllowed(std::string_view origin) const {
  return any_origin_ || std::find(origins_.begin(), origins_.end(), absl::AsciiStrToLower(View(origin))) != origins_.end();
}

void Edge::AllowOrigin(const http::Request& request, http::Headers& answer) const {
  if (origins_.empty() && !any_origin_) return;
  // Also without an Origin: a cache must not give this answer to a page.
  answer.Add("Vary", request.method == "OPTIONS" ? "Origin, Access-Control-Request-Headers" : "Origin");
  const std::string_view origin = request.headers.Get("Origin");
  if (origin.empty() || !OriginIsAllowed(origin)) return;
  answer.Add("Access-Control-Allow-Origin", std::string(origin));
  // Whoever may call may send what it likes: the clients of other vendors have headers of their own.
  const std::string_view asked = request.headers.Get("Access-Control-Request-Headers");
  if (!asked.empty() && IsListOfNames(asked)) answer.Add("Access-Control-Allow-Headers", std::string(asked));
  answer.Add("Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS");
  answer.Add("Access-Control-Expose-Headers",
             "ETag, Accept-Ranges, Content-Range, Location, Retry-After, X-Request-Id, Request-Id, Preference-Applied, Mcp-Session-Id, WWW-Authenticate");
  if (request.method == "OPTIONS") answer.Add("Access-Control-Max-Age", "600");
}

Credentials CredentialsOf(http::Exchange& exchange) {
  Credentials credentials;
  credentials.loopback = exchange.peer_is_loopback();
  credentials.address = exchange.peer();
  const http::Headers& headers = exchange.request().headers;
  const std::string_view authorization = headers.Get("Authorization");
  if (authorization.size() > 7 && http::EqualsIgnoringCase(authorization.substr(0, 7), "Bearer ")) {
    credentials.key = std::string(absl::StripAsciiWhitespace(View(authorization.substr(7))));
  } else if (!authorization.empty()) {
    credentials.key = "?";  // a scheme that we do not speak is a key that we do not know
  } else {
    credentials.key = std::string(headers.Get("X-API-Key"));
  }
  return credentials;
}

bool IsLoopbackListener(std::string_view listen_addr) { return IsLoopbackName(HostPart(listen_addr)); }

absl::Status CheckListener(std::string_view key, std::string_view listen_addr, bool tls, bool has_keys) {
  if (listen_addr.empty() || IsLoopbackListener(listen_addr) || (tls && has_keys)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      View(key), " is ", View(listen_addr), ", which the network can reach: that needs ", tls ? "" : "api.tls_cert and api.tls_key",
      tls || has_keys ? "" : ", and ", has_keys ? "" : "a key (`aima key create`)"));
}

}  // namespace aima::gateway
