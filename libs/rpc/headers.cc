#include "libs/rpc/headers.h"

#include <absl/strings/ascii.h>
#include <absl/strings/escaping.h>
#include <absl/strings/match.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>

#include "libs/errors/errors.h"

namespace aima::rpc {
namespace {

constexpr char kStatus[] = "grpc-status";
constexpr char kMessage[] = "grpc-message";
constexpr char kDetails[] = "grpc-status-details-bin";
// gRPC's own clients take 8 KB of trailers in all.
constexpr size_t kMaxMessage = 2 << 10;
constexpr size_t kMaxDetails = 4 << 10;
constexpr size_t kBriefMessage = 512;

// The first bytes, without the beginning of a character at their end.
absl::string_view Shortened(absl::string_view text, size_t size) {
  if (text.size() <= size) return text;
  while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xC0) == 0x80) --size;
  return text.substr(0, size);
}

// What is said of an error whose details are too large to travel: the large ones are left out.
absl::Status Brief(const absl::Status& status) {
  absl::Status brief(status.code(), Shortened(status.message(), kBriefMessage));
  status.ForEachPayload([&](absl::string_view type, const absl::Cord& payload) {
    if (payload.size() <= kMaxDetails / 2) brief.SetPayload(type, payload);
  });
  return brief;
}

// grpc-message keeps printable ASCII and escapes the rest, byte by byte.
std::string PercentEncode(absl::string_view text) {
  std::string encoded;
  for (const unsigned char c : Shortened(text, kMaxMessage)) {
    if (encoded.size() >= kMaxMessage) break;
    if (c >= ' ' && c <= '~' && c != '%') {
      encoded.push_back(static_cast<char>(c));
    } else {
      constexpr char kHex[] = "0123456789ABCDEF";
      encoded.append({'%', kHex[c >> 4], kHex[c & 15]});
    }
  }
  return encoded;
}

std::string PercentDecode(absl::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && absl::ascii_isxdigit(text[i + 1]) && absl::ascii_isxdigit(text[i + 2])) {
      decoded += absl::HexStringToBytes(text.substr(i + 1, 2));
      i += 2;
    } else {
      decoded.push_back(text[i]);
    }
  }
  return decoded;
}

}  // namespace

const std::string* Find(const Headers& headers, absl::string_view name) {
  for (const auto& [key, value] : headers) {
    if (key == name) return &value;
  }
  return nullptr;
}

bool IsReserved(absl::string_view name) {
  return absl::StartsWith(name, ":") || absl::StartsWith(name, "grpc-") || name == "content-type" || name == "te" ||
         name == "user-agent" || name == "accept-encoding";
}

std::optional<absl::Duration> ParseTimeout(absl::string_view text) {
  int64_t count = 0;
  if (text.size() < 2 || text.size() > 9) return std::nullopt;
  for (const char c : text.substr(0, text.size() - 1)) {
    if (!absl::ascii_isdigit(c)) return std::nullopt;
    count = count * 10 + (c - '0');
  }
  switch (text.back()) {
    case 'H': return absl::Hours(count);
    case 'M': return absl::Minutes(count);
    case 'S': return absl::Seconds(count);
    case 'm': return absl::Milliseconds(count);
    case 'u': return absl::Microseconds(count);
    case 'n': return absl::Nanoseconds(count);
    default: return std::nullopt;
  }
}

std::string FormatTimeout(absl::Duration timeout) {
  constexpr int64_t kMost = 99'999'999;  // eight digits
  const int64_t millis = std::max<int64_t>(absl::ToInt64Milliseconds(timeout), 1);
  if (millis <= kMost) return absl::StrCat(millis, "m");
  return absl::StrCat(std::min(absl::ToInt64Seconds(timeout), kMost), "S");
}

void AppendStatus(const absl::Status& status, Headers& trailers) {
  trailers.emplace_back(kStatus, absl::StrCat(static_cast<int>(status.code())));
  if (status.ok()) return;
  trailers.emplace_back(kMessage, PercentEncode(status.message()));
  std::string details = SerializeDetails(status);
  if (details.size() > kMaxDetails) details = SerializeDetails(Brief(status));
  if (!details.empty()) trailers.emplace_back(kDetails, absl::Base64Escape(details));
}

std::optional<absl::Status> StatusOf(const Headers& trailers) {
  const std::string* text = Find(trailers, kStatus);
  if (!text) return std::nullopt;
  int code = static_cast<int>(absl::StatusCode::kUnknown);
  if (!absl::SimpleAtoi(*text, &code) || code < 0 || code > 16) code = static_cast<int>(absl::StatusCode::kUnknown);
  const std::string* message = Find(trailers, kMessage);
  const std::string* encoded = Find(trailers, kDetails);
  std::string details;
  if (encoded) absl::Base64Unescape(*encoded, &details);  // takes it with and without padding
  return StatusFromWire(code, message ? PercentDecode(*message) : "", details);
}

}  // namespace aima::rpc
