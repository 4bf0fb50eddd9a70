// Server reflection (proto/grpc/reflection/v1), over any descriptor pool.
#pragma once

#include <google/protobuf/descriptor.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/rpc/stream.h"

namespace aima::runtime {

// True for the reflection rpc, in either of its versions.
bool IsReflection(std::string_view path);

// Serves one reflection call. `pool` must outlive it and know everything that `services` use.
std::shared_ptr<rpc::Receiver> NewReflectionCall(std::shared_ptr<rpc::Stream> stream,
                                                 const google::protobuf::DescriptorPool& pool,
                                                 std::vector<std::string> services);

}  // namespace aima::runtime
