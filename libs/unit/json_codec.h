// JSON to messages and back, for every face that speaks JSON.
//
// The form: field names as in the proto; 64-bit integers are numbers; enum values are lower case without their
// prefix (MODEL_TYPE_LLM is "llm"); Timestamp is RFC 3339, Duration is "1.5s", bytes are base64, Struct and Value
// are plain JSON, Any is the message inside. Lists and plain scalars are always written, empty ones too unless their
// rules say `omit_empty`; optional fields and messages only when set. In input null is absence, and a single value stands for a list of one.
#pragma once

#include <absl/status/status.h>
#include <google/protobuf/message.h>

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "libs/errors/errors.h"

namespace aima {

inline constexpr int kMaxJsonDepth = 64;

// Parses text, refusing what is nested deeper than kMaxJsonDepth or repeats a key of an object. INVALID_INPUT says
// where it went wrong.
absl::StatusOr<nlohmann::json> ParseJsonText(std::string_view text);

// Reads `json`, an object, into `message`. INVALID_INPUT names every field that is unknown or of the wrong type.
absl::Status ParseJson(const nlohmann::json& json, google::protobuf::Message& message);

// Appends `message` as JSON. `factory` makes the messages inside Any fields, from the pool of `message`'s
// descriptor; without it those of the program itself are used.
void AppendJson(const google::protobuf::Message& message, std::string& out,
                google::protobuf::MessageFactory* factory = nullptr);
std::string ToJson(const google::protobuf::Message& message, google::protobuf::MessageFactory* factory = nullptr);

// Appends `text` as a JSON string, quotes included. Invalid UTF-8 is replaced.
void AppendJsonString(std::string_view text, std::string& out);

// The JSON form of an enum value, and the value of a JSON form (or of the proto name); null if there is none.
std::string EnumText(const google::protobuf::EnumValueDescriptor& value);
const google::protobuf::EnumValueDescriptor* FindEnumValue(const google::protobuf::EnumDescriptor& type,
                                                           std::string_view text);
// All but the _UNSPECIFIED one.
std::vector<std::string> EnumTexts(const google::protobuf::EnumDescriptor& type);

}  // namespace aima
