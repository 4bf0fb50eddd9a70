// Addresses of the web.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <string_view>

#include "libs/http/client.h"

namespace aima::http {

// http:// or https:// with a host, and a path. Strict: what two programs could read in two ways is refused (user names,
// backslashes, blanks, anything but ASCII), and fragments are dropped.
struct Url {
  Endpoint endpoint;
  std::string target = "/";  // path and query

  std::string Text() const;
  // "host" or "host:port" if the port is not the usual one; as operators write it in lists.
  std::string Authority() const;
};
absl::StatusOr<Url> ParseUrl(std::string_view text);

// What `location` means in an answer to `base`: a whole address, //host/path, /path, or a path beside that of base.
absl::StatusOr<Url> ResolveUrl(const Url& base, std::string_view location);

// True if scheme, host and port are the same: what one may be told, the other may be.
bool SameOrigin(const Endpoint& a, const Endpoint& b);

// `text` as one segment of a path or one value of a query; with `slashes`, as a path, whose slashes stay.
std::string PercentEncode(std::string_view text, bool slashes = false);

}  // namespace aima::http
