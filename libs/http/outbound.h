// Requests to servers that somebody else named.
#pragma once

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <boost/asio/ip/address.hpp>
#include <memory>
#include <string>
#include <vector>

#include "libs/base/task.h"
#include "libs/http/client.h"
#include "libs/http/url.h"

namespace aima::http {

// True for addresses of the public internet: not this machine, not a private network, not a metadata service, not an
// address that stands for another one.
bool IsPublicAddress(const boost::asio::ip::address& address);

// GET requests with redirects, for addresses that come from users and from other servers. Nothing that it is given can
// make it reach this machine or a private network, or speak without TLS, except with the hosts that the operator trusts:
// names are resolved once, and the connection goes to the address that was checked. Redirects are followed five times
// and checked each; Authorization and Cookie go to the first origin only.
//
// PERMISSION_DENIED if a host is refused, INVALID_ARGUMENT for what is no address; else fails as Client does.
class Outbound {
 public:
  // `trusted` are "host" (with any port) or "host:port".
  Outbound(Loop& loop, std::vector<std::string> trusted);

  // The whole answer, whatever its status.
  Task<absl::StatusOr<Response>> Get(Url url, Headers headers, absl::Time deadline, size_t max_body = 16 << 20);
  // The answer as it arrives.
  Task<absl::StatusOr<std::unique_ptr<ResponseStream>>> Open(Url url, Headers headers, absl::Time deadline);

 private:
  bool IsTrusted(const Endpoint& endpoint) const;
  absl::Status CheckScheme(const Url& url) const;

  const std::vector<std::string> trusted_;
  Client client_;
};

}  // namespace aima::http
