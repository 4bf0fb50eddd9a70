// One rpc and the code that serves it.
#pragma once

#include <google/protobuf/message.h>

#include <string>

#include "aima/unit/v1/unit.pb.h"
#include "libs/runtime/host.h"

namespace aima::runtime {

struct Method {
  const google::protobuf::MethodDescriptor* descriptor = nullptr;
  const google::protobuf::Message* request = nullptr;   // prototype
  const google::protobuf::Message* response = nullptr;  // prototype
  std::string unit;                                     // empty for protocols of gRPC itself
  unit::v1::Unit options;
  bool protocol = false;  // of gRPC itself, such as health
  UnaryHandler unary;    // one of the two is set
  StreamHandler stream;
};

}  // namespace aima::runtime
