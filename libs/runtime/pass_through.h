// Forwards rpcs to the processes that serve them, bytes unchanged.
#pragma once

#include <google/protobuf/descriptor.h>
#include <grpcpp/generic/async_generic_service.h>

#include <map>
#include <string>

#include "libs/rpc/channels.h"
#include "libs/runtime/server.h"

namespace aima::runtime {

// The gateway's public port: unary and streaming rpcs, deadlines, metadata, cancellation and status details arrive at
// either end as they were sent. `admission` decides about each call, on the loop.
class PassThrough {
 public:
  PassThrough(Loop& loop, rpc::Channels& channels, Admission admission)
      : loop_(loop), channels_(channels), admission_(std::move(admission)) {}

  // Offers an rpc. Others are not known. Before the server starts.
  void Offer(const google::protobuf::MethodDescriptor& method, std::string domain);

  // A Server's Fallback.
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context);

 private:
  friend class ForwardedCall;

  Loop& loop_;
  rpc::Channels& channels_;
  const Admission admission_;
  std::map<std::string, std::string, std::less<>> domains_;  // by path
};

}  // namespace aima::runtime
