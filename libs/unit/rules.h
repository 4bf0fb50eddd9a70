// The rules that protos declare for their fields.
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <vector>

#include "aima/unit/v1/unit.pb.h"
#include "libs/errors/errors.h"

namespace aima {

// Gives each unset optional field that declares a default that value, in nested messages too.
void ApplyDefaults(google::protobuf::Message& message);

// What is wrong with a list of `size` entries that may not be so long.
std::string TooManyText(size_t size, const unit::v1::Rules& rules);

// The fields that break their rules, with their paths, the first kMaxViolations of them. Call ApplyDefaults first.
std::vector<FieldViolation> BrokenRules(const google::protobuf::Message& message);

}  // namespace aima
