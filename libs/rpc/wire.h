// How a call's context travels between processes.
#pragma once

#include <google/protobuf/descriptor.h>

#include <string>

#include "libs/base/call_context.h"
#include "libs/rpc/headers.h"

namespace aima::rpc {

inline constexpr char kTraceHeader[] = "aima-trace-id";
inline constexpr char kRequestHeader[] = "aima-request-id";
inline constexpr char kPrincipalHeader[] = "aima-principal";

// The metadata of a call made on behalf of `call`. Its deadline travels by itself.
Headers HeadersOf(const CallContext& call);

// "/aima.model.v1.ModelService/Get"
std::string PathOf(const google::protobuf::MethodDescriptor& method);

}  // namespace aima::rpc
