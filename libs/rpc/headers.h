// Header fields of a gRPC call, as the protocol writes them:
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
#pragma once

#include <absl/status/status.h>
#include <absl/strings/string_view.h>
#include <absl/time/time.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace aima::rpc {

// Names are in lower case. Values of names that end in "-bin" are as they travel, in base64.
using Headers = std::vector<std::pair<std::string, std::string>>;

// The first value of that name; null if there is none.
const std::string* Find(const Headers& headers, absl::string_view name);

// True for what belongs to one hop or to the protocol, not to the call: pseudo-headers, content-type, te, grpc-….
bool IsReserved(absl::string_view name);

// The value of grpc-timeout, such as 15S or 200m.
std::optional<absl::Duration> ParseTimeout(absl::string_view text);
std::string FormatTimeout(absl::Duration timeout);

// A call's end as trailers, and back. Without grpc-status there is no end in them.
void AppendStatus(const absl::Status& status, Headers& trailers);
std::optional<absl::Status> StatusOf(const Headers& trailers);

}  // namespace aima::rpc
