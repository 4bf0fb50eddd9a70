// Server reflection (proto/grpc/reflection/v1), over any descriptor pool.
#pragma once

#include <google/protobuf/descriptor.h>
#include <grpcpp/generic/async_generic_service.h>

#include <string>
#include <string_view>
#include <vector>

namespace aima::runtime {

// True for the reflection rpc, in either of its versions.
bool IsReflection(std::string_view path);

// Serves one reflection call; deletes itself. `pool` must outlive it and know everything that `services` use.
grpc::ServerGenericBidiReactor* NewReflectionCall(const google::protobuf::DescriptorPool& pool,
                                                  std::vector<std::string> services);

}  // namespace aima::runtime
