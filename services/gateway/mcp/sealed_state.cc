#include "services/gateway/mcp/sealed_state.h"

#include <absl/strings/escaping.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <vector>

#include "libs/base/ids.h"
#include "libs/errors/errors.h"

namespace aima::gateway::mcp {
namespace {

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

absl::Status Refused() { return InvalidInput("requestState", "is not what this call was given, or is too old"); }

}  // namespace

SealedState::SealedState() : key_(RandomHex(32)) {}

std::string SealedState::Signature(std::string_view body, std::string_view purpose) const {
  const std::string text = absl::StrCat(body.size(), ":", View(body), View(purpose));
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  HMAC(EVP_sha256(), key_.data(), static_cast<int>(key_.size()), reinterpret_cast<const unsigned char*>(text.data()),
       text.size(), digest, &size);
  return std::string(reinterpret_cast<const char*>(digest), size);
}

// base64url(seconds "," state) "." base64url(HMAC)
std::string SealedState::Seal(std::string_view state, std::string_view purpose, absl::Time expires) const {
  const std::string body = absl::StrCat(absl::ToUnixSeconds(expires), ",", View(state));
  return absl::StrCat(absl::WebSafeBase64Escape(body), ".", absl::WebSafeBase64Escape(Signature(body, purpose)));
}

absl::StatusOr<std::string> SealedState::Open(std::string_view sealed, std::string_view purpose, absl::Time now) const {
  const size_t dot = sealed.find('.');
  std::string body, signature;
  if (dot == sealed.npos || !absl::WebSafeBase64Unescape(View(sealed.substr(0, dot)), &body) ||
      !absl::WebSafeBase64Unescape(View(sealed.substr(dot + 1)), &signature)) {
    return Refused();
  }
  const std::string expected = Signature(body, purpose);
  if (signature.size() != expected.size() || CRYPTO_memcmp(signature.data(), expected.data(), expected.size()) != 0) {
    return Refused();
  }
  const size_t comma = body.find(',');
  int64_t seconds = 0;
  if (comma == body.npos || !absl::SimpleAtoi(body.substr(0, comma), &seconds)) return Refused();
  if (absl::FromUnixSeconds(seconds) < now) return Refused();
  return body.substr(comma + 1);
}

}  // namespace aima::gateway::mcp
