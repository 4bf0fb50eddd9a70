// What is checked about an HTTP request before anybody looks at what it asks for.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <vector>

#include "aima/config/v1/config.pb.h"
#include "libs/http/message.h"
#include "libs/http/server.h"
#include "services/gateway/access.h"

namespace aima::gateway {

// Keeps web pages away from a local cluster: `Host` must be a name that this listener was given (421), so that a name
// that was rebound to this address does not work; `Origin` must be absent, this listener's own, or allowed (403), since
// only browsers send it.
class Edge {
 public:
  explicit Edge(const config::v1::Api& api);

  // 0 if the request may pass, else the HTTP status that refuses it, with the reason in `message`.
  int Refusal(const http::Request& request, std::string& message) const;

  // Headers that let a page of an allowed origin read the answer; none if there is no Origin or CORS is off.
  void AllowOrigin(const http::Request& request, http::Headers& answer) const;

 private:
  bool HostIsOurs(std::string_view host) const;
  bool OriginIsAllowed(std::string_view origin) const;

  std::vector<std::string> hosts_;  // lower case, without port
  std::vector<std::string> origins_;
  bool any_origin_ = false;
};

// The key that a request shows: `Authorization: Bearer`, or `X-API-Key`.
Credentials CredentialsOf(http::Exchange& exchange);

// True for addresses that only this machine reaches.
bool IsLoopbackListener(std::string_view listen_addr);

// Refuses to open a listener to the network without TLS and at least one key.
absl::Status CheckListener(std::string_view key, std::string_view listen_addr, bool tls, bool has_keys);

}  // namespace aima::gateway
