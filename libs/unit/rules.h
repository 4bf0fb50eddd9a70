// The rules that protos declare for their fields.
#pragma once

#include <google/protobuf/message.h>

#include <vector>

#include "libs/errors/errors.h"

namespace aima {

// Gives each unset optional field that declares a default that value, in nested messages too.
void ApplyDefaults(google::protobuf::Message& message);

// Every field that breaks its rules, with its path. Call ApplyDefaults first.
std::vector<FieldViolation> BrokenRules(const google::protobuf::Message& message);

}  // namespace aima
