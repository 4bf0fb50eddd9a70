// Between gRPC's types and ours.
#pragma once

#include <absl/status/status.h>
#include <google/protobuf/message.h>
#include <grpcpp/client_context.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>

#include <string>
#include <string_view>

#include "libs/base/call_context.h"

namespace aima::rpc {

// Metadata in which a call's context travels between processes.
inline constexpr char kTraceHeader[] = "aima-trace-id";
inline constexpr char kRequestHeader[] = "aima-request-id";
inline constexpr char kPrincipalHeader[] = "aima-principal";

grpc::Status ToGrpc(const absl::Status& status);
absl::Status FromGrpc(const grpc::Status& status);

// False if the message cannot be serialized.
bool Serialize(const google::protobuf::Message& message, grpc::ByteBuffer& buffer);
// False if the bytes are not such a message. Empties `buffer`.
bool Parse(grpc::ByteBuffer& buffer, google::protobuf::Message& message);

// Puts the call's deadline and metadata into a client context.
void Propagate(const CallContext& call, grpc::ClientContext& context);

// "/aima.model.v1.ModelService/Get"
std::string PathOf(const google::protobuf::MethodDescriptor& method);

}  // namespace aima::rpc
