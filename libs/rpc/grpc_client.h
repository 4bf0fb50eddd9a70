// rpc::Client over gRPC.
#pragma once

#include <memory>

#include "libs/rpc/channels.h"
#include "libs/rpc/client.h"

namespace aima::rpc {

// Calls are made on `loop` and answered there. `channels` must outlive the client.
std::unique_ptr<Client> MakeGrpcClient(Loop& loop, Channels& channels);

}  // namespace aima::rpc
