// Forwards rpcs to the processes that serve them, bytes unchanged.
#pragma once

#include <google/protobuf/descriptor.h>

#include <map>
#include <memory>
#include <string>

#include "libs/rpc/channels.h"
#include "libs/runtime/server.h"

namespace aima::runtime {

// The gateway's public port: unary and streaming rpcs, deadlines, metadata, cancellation and status details arrive at
// either end as they were sent. `admission` decides about each call.
class PassThrough {
 public:
  PassThrough(rpc::Channels& channels, Admission admission)
      : channels_(channels), admission_(std::move(admission)) {}

  // Offers an rpc. Others are not known. Before the server starts.
  void Offer(const google::protobuf::MethodDescriptor& method, std::string domain);

  // A Server's Fallback.
  std::shared_ptr<rpc::Receiver> Serve(const std::shared_ptr<rpc::Stream>& stream);

 private:
  rpc::Channels& channels_;
  const Admission admission_;
  std::map<std::string, std::string, std::less<>> domains_;  // by path
};

}  // namespace aima::runtime
