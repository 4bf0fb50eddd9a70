#include "libs/rpc/wire.h"

#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>

#include "libs/errors/errors.h"

namespace aima::rpc {

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()),
                      SerializeDetails(status));
}

absl::Status FromGrpc(const grpc::Status& status) {
  return StatusFromWire(status.error_code(), status.error_message(), status.error_details());
}

bool Serialize(const google::protobuf::Message& message, grpc::ByteBuffer& buffer) {
  bool own = false;
  buffer.Clear();  // gRPC aborts the process when it is given a buffer that still holds a message
  return grpc::GenericSerialize<grpc::ProtoBufferWriter, google::protobuf::Message>(message, &buffer, &own).ok();
}

bool Parse(grpc::ByteBuffer& buffer, google::protobuf::Message& message) {
  return grpc::GenericDeserialize<grpc::ProtoBufferReader, google::protobuf::Message>(&buffer, &message).ok();
}

void Propagate(const CallContext& call, grpc::ClientContext& context) {
  if (call.deadline != absl::InfiniteFuture()) context.set_deadline(absl::ToChronoTime(call.deadline));
  if (!call.trace_id.empty()) context.AddMetadata(kTraceHeader, call.trace_id);
  if (!call.request_id.empty()) context.AddMetadata(kRequestHeader, call.request_id);
  if (!call.principal.empty()) context.AddMetadata(kPrincipalHeader, call.principal);
}

std::string PathOf(const google::protobuf::MethodDescriptor& method) {
  return absl::StrCat("/", method.service()->full_name(), "/", method.name());
}

}  // namespace aima::rpc
