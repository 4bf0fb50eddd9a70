// JSON Schemas (draft 2020-12) of messages, from descriptors: types, rules and comments.
#pragma once

#include <google/protobuf/descriptor.h>

#include <nlohmann/json.hpp>

namespace aima {

// What a schema is for: what may be given, or what is answered.
enum class SchemaUse { kInput, kOutput };

// Schema of the JSON form (json_codec.h) of a message. For outputs it tells what can occur: rules bind callers only, and
// an enum that was not set is "unspecified".
nlohmann::ordered_json SchemaOf(const google::protobuf::Descriptor& message, SchemaUse use = SchemaUse::kInput);

}  // namespace aima
