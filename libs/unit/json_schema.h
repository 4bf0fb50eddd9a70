// JSON Schemas (draft 2020-12) of messages, from descriptors: types, rules and comments.
#pragma once

#include <google/protobuf/descriptor.h>

#include <nlohmann/json.hpp>

namespace aima {

// Schema of the JSON form (json_codec.h) of a message.
nlohmann::ordered_json SchemaOf(const google::protobuf::Descriptor& message);

}  // namespace aima
