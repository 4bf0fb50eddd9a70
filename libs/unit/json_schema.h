// JSON Schemas (draft 2020-12) of messages, from descriptors: types, rules and comments.
#pragma once

#include <google/protobuf/descriptor.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

namespace aima {

// What a schema is for: what may be given, or what is answered.
enum class SchemaUse { kInput, kOutput };

// Schema of the JSON form (json_codec.h) of a message. For outputs it tells what can occur: rules bind callers only, and
// an enum that was not set is "unspecified".
nlohmann::ordered_json SchemaOf(const google::protobuf::Descriptor& message, SchemaUse use = SchemaUse::kInput);

// The address of the schema of a message, such as #/components/schemas/model.Model.
using SchemaAddress = std::function<std::string(const google::protobuf::Descriptor&)>;

// The same for a document that describes each message once: messages inside are references to `address`. It says more,
// for programs that make types of it: which fields an output always has. Outputs are open, since a later version may tell
// more.
nlohmann::ordered_json SharedSchemaOf(const google::protobuf::Descriptor& message, SchemaUse use,
                                      const SchemaAddress& address);

// True for messages with a JSON form of their own, such as Timestamp: no document describes them as a message.
bool HasOwnJsonForm(const google::protobuf::Descriptor& message);

}  // namespace aima
