#include "libs/rpc/wire.h"

#include <absl/strings/str_cat.h>

namespace aima::rpc {

Headers HeadersOf(const CallContext& call) {
  Headers headers;
  if (!call.trace_id.empty()) headers.emplace_back(kTraceHeader, call.trace_id);
  if (!call.request_id.empty() && call.request_id != call.trace_id) headers.emplace_back(kRequestHeader, call.request_id);
  if (!call.principal.empty()) headers.emplace_back(kPrincipalHeader, call.principal);
  return headers;
}

std::string PathOf(const google::protobuf::MethodDescriptor& method) {
  return absl::StrCat("/", method.service()->full_name(), "/", method.name());
}

}  // namespace aima::rpc
