#include "libs/http/outbound.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <array>

#include "libs/base/status_macros.h"

namespace aima::http {

namespace ip = boost::asio::ip;

namespace {

constexpr int kRedirectsMax = 5;

struct Range4 {
  uint32_t network;
  int bits;
};
// Special-purpose blocks of IPv4 (IANA's registry).
constexpr std::array<Range4, 15> kSpecial4 = {{{0x00000000, 8},
                                               {0x0a000000, 8},
                                               {0x64400000, 10},
                                               {0x7f000000, 8},
                                               {0xa9fe0000, 16},
                                               {0xac100000, 12},
                                               {0xc0000000, 24},
                                               {0xc0000200, 24},
                                               {0xc0586300, 24},
                                               {0xc0a80000, 16},
                                               {0xc6120000, 15},
                                               {0xc6336400, 24},
                                               {0xcb007100, 24},
                                               {0xe0000000, 4},
                                               {0xf0000000, 4}}};

bool IsPublic4(const ip::address_v4& address) {
  const uint32_t number = address.to_uint();
  return std::none_of(kSpecial4.begin(), kSpecial4.end(), [number](const Range4& range) {
    return (number ^ range.network) >> (32 - range.bits) == 0;
  });
}

// Only 2000::/3 is given to anybody; in it, blocks that are for documentation or that wrap IPv4 addresses are not.
bool IsPublic6(const ip::address_v6& address) {
  const auto bytes = address.to_bytes();
  const auto begins = [&bytes](std::initializer_list<int> prefix) {
    return std::equal(prefix.begin(), prefix.end(), bytes.begin(), [](int a, unsigned char b) { return a == b; });
  };
  if (bytes[0] >> 5 != 1) return false;
  if (begins({0x20, 0x02}) || begins({0x20, 0x01, 0x0d, 0xb8}) || begins({0x3f, 0xff})) return false;
  return !(begins({0x20, 0x01}) && bytes[2] < 2);
}

bool IsRedirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

}  // namespace

bool IsPublicAddress(const ip::address& address) {
  return address.is_v4() ? IsPublic4(address.to_v4()) : IsPublic6(address.to_v6());
}

Outbound::Outbound(Loop& loop, std::vector<std::string> trusted)
    : trusted_(std::move(trusted)), client_(loop, [this](const Endpoint& endpoint, const ip::address& address) {
        if (IsTrusted(endpoint) || IsPublicAddress(address)) return absl::OkStatus();
        return absl::PermissionDeniedError(absl::StrCat("'", endpoint.host, "' is ", address.to_string(),
                                                        ", which is not an address of the public internet"));
      }) {}

bool Outbound::IsTrusted(const Endpoint& endpoint) const {
  const bool v6 = endpoint.host.find(':') != std::string::npos;
  const std::string host = v6 ? absl::StrCat("[", endpoint.host, "]") : endpoint.host;
  const std::string with_port = absl::StrCat(host, ":", endpoint.port);
  return std::any_of(trusted_.begin(), trusted_.end(), [&](const std::string& trusted) {
    return EqualsIgnoringCase(trusted, host) || EqualsIgnoringCase(trusted, with_port);
  });
}

absl::Status Outbound::CheckScheme(const Url& url) const {
  if (url.endpoint.tls || IsTrusted(url.endpoint)) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat("'", url.Authority(), "' is asked for without TLS"));
}

Task<absl::StatusOr<std::unique_ptr<ResponseStream>>> Outbound::Open(Url url, Headers headers, absl::Time deadline) {
  for (int redirects = 0;; ++redirects) {
    CO_RETURN_IF_ERROR(CheckScheme(url));
    Request request;
    request.target = url.target;
    request.headers = headers;
    CO_ASSIGN_OR_RETURN(std::unique_ptr<ResponseStream> answer,
                        co_await client_.Open(url.endpoint, std::move(request), deadline));
    const std::string* location = answer->headers().Find("location");
    if (!IsRedirect(answer->status()) || !location) co_return std::move(answer);
    if (redirects == kRedirectsMax) {
      co_return absl::UnavailableError(absl::StrCat("'", url.Authority(), "' redirects more than ", kRedirectsMax, " times"));
    }
    CO_ASSIGN_OR_RETURN(Url next, ResolveUrl(url, *location));
    if (url.endpoint.tls && !next.endpoint.tls) {
      co_return absl::PermissionDeniedError(absl::StrCat("'", url.Authority(), "' redirects to an address without TLS"));
    }
    if (!SameOrigin(url.endpoint, next.endpoint)) {
      headers.Erase("authorization");
      headers.Erase("cookie");
    }
    url = std::move(next);
  }
}

Task<absl::StatusOr<Response>> Outbound::Get(Url url, Headers headers, absl::Time deadline, size_t max_body) {
  const std::string authority = url.Authority();
  CO_ASSIGN_OR_RETURN(const std::unique_ptr<ResponseStream> answer,
                      co_await Open(std::move(url), std::move(headers), deadline));
  Response response;
  response.status = answer->status();
  response.headers = answer->headers();
  while (true) {
    CO_ASSIGN_OR_RETURN(const std::optional<std::string> piece, co_await answer->Next());
    if (!piece) co_return response;
    if (response.body.size() + piece->size() > max_body) {
      co_return absl::ResourceExhaustedError(absl::StrCat("'", authority, "' sends more than is accepted"));
    }
    response.body.append(*piece);
  }
}

}  // namespace aima::http
