#include "libs/http/url.h"

#include <absl/strings/ascii.h>
#include <absl/strings/escaping.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>

#include "libs/base/status_macros.h"

namespace aima::http {

namespace {

constexpr size_t kUrlMax = 8192;

absl::Status Bad(std::string_view text, std::string_view why) {
  const std::string shown(text.substr(0, 200));
  return absl::InvalidArgumentError(absl::StrCat("'", absl::CHexEscape(shown), "' ", std::string(why)));
}

bool IsHostCharacter(char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-' || c == '_'; }

absl::Status ReadAuthority(std::string_view text, std::string_view authority, Endpoint& endpoint) {
  size_t host_end = authority.find(':');
  if (authority.starts_with('[')) {
    const size_t close = authority.find(']');
    if (close == std::string_view::npos) return Bad(text, "has no ] behind its address");
    endpoint.host = std::string(authority.substr(1, close - 1));
    for (const char c : endpoint.host) {
      if (!absl::ascii_isxdigit(static_cast<unsigned char>(c)) && c != ':' && c != '.') return Bad(text, "has a strange host");
    }
    host_end = close + 1;
  } else {
    endpoint.host = absl::AsciiStrToLower(std::string(authority.substr(0, host_end)));
    for (const char c : endpoint.host) {
      if (!IsHostCharacter(c)) return Bad(text, "has a strange host");
    }
    if (host_end == std::string_view::npos) host_end = authority.size();
  }
  if (endpoint.host.empty()) return Bad(text, "names no host");
  if (host_end == authority.size()) return absl::OkStatus();
  const std::string port(authority.substr(host_end + 1));
  if (authority[host_end] != ':' || port.empty() || port.size() > 5 ||
      port.find_first_not_of("0123456789") != std::string::npos || !absl::SimpleAtoi(port, &endpoint.port) ||
      endpoint.port < 1 || endpoint.port > 65535) {
    return Bad(text, "has a strange port");
  }
  return absl::OkStatus();
}

}  // namespace

std::string Url::Text() const {
  return absl::StrCat(endpoint.tls ? "https://" : "http://", Authority(), target);
}

std::string Url::Authority() const {
  const bool v6 = endpoint.host.find(':') != std::string::npos;
  std::string text = absl::StrCat(v6 ? "[" : "", endpoint.host, v6 ? "]" : "");
  if (endpoint.port != (endpoint.tls ? 443 : 80)) absl::StrAppend(&text, ":", endpoint.port);
  return text;
}

absl::StatusOr<Url> ParseUrl(std::string_view text) {
  if (text.size() > kUrlMax) return Bad(text, "is too long for an address");
  for (const char c : text) {
    if (c <= ' ' || c >= 0x7f || c == '\\') return Bad(text, "holds characters that no address has");
  }
  Url url;
  const std::string scheme = absl::AsciiStrToLower(std::string(text.substr(0, text.find(':'))));
  if (scheme == "https") {
    url.endpoint.tls = true;
    url.endpoint.port = 443;
  } else if (scheme != "http") {
    return Bad(text, "is no http:// or https:// address");
  }
  std::string_view rest = text.substr(scheme.size() + 1);
  if (!rest.starts_with("//")) return Bad(text, "is no http:// or https:// address");
  rest.remove_prefix(2);
  rest = rest.substr(0, rest.find('#'));
  const size_t path = rest.find_first_of("/?");
  const std::string_view authority = rest.substr(0, path);
  if (authority.find('@') != std::string_view::npos) return Bad(text, "must not hold a user name");
  RETURN_IF_ERROR(ReadAuthority(text, authority, url.endpoint));
  if (path != std::string_view::npos) url.target = std::string(rest.substr(path));
  if (url.target.starts_with('?')) url.target.insert(0, "/");
  return url;
}

absl::StatusOr<Url> ResolveUrl(const Url& base, std::string_view location) {
  const size_t colon = location.find(':');
  const size_t other = location.find_first_of("/?#");
  if (colon != std::string_view::npos && (other == std::string_view::npos || colon < other)) return ParseUrl(location);
  const std::string text(location);
  if (location.starts_with("//")) return ParseUrl(absl::StrCat(base.endpoint.tls ? "https:" : "http:", text));
  Url origin = base;
  origin.target.clear();
  if (location.starts_with('/')) return ParseUrl(origin.Text() + text);
  const std::string path = base.target.substr(0, base.target.find('?'));
  if (location.starts_with('?')) return ParseUrl(origin.Text() + path + text);
  return ParseUrl(absl::StrCat(origin.Text(), path.substr(0, path.rfind('/') + 1), text));
}

bool SameOrigin(const Endpoint& a, const Endpoint& b) {
  return a.tls == b.tls && a.port == b.port && EqualsIgnoringCase(a.host, b.host);
}

std::string PercentEncode(std::string_view text, bool slashes) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string encoded;
  encoded.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (absl::ascii_isalnum(byte) || c == '-' || c == '.' || c == '_' || c == '~' || (slashes && c == '/')) {
      encoded.push_back(c);
    } else {
      encoded.append({'%', kHex[byte >> 4], kHex[byte & 15]});
    }
  }
  return encoded;
}

}  // namespace aima::http
