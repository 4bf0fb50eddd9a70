// JSON objects for engines, written without a tree in between.
#pragma once

#include <absl/strings/str_cat.h>
#include <google/protobuf/struct.pb.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>

#include "libs/errors/errors.h"
#include "libs/unit/json_codec.h"

namespace aima::inference {

// Writes the members of one JSON object.
class ObjectWriter {
 public:
  void Text(std::string_view key, std::string_view value) { AppendJsonString(value, Key(key)); }
  void Number(std::string_view key, double value) {
    if (!std::isfinite(value)) return;
    char digits[32];
    Key(key).append(digits, std::to_chars(digits, digits + sizeof(digits), value).ptr);
  }
  void Integer(std::string_view key, int64_t value) { absl::StrAppend(&Key(key), value); }
  void Texts(std::string_view key, const google::protobuf::RepeatedPtrField<std::string>& values) {
    std::string& out = Key(key);
    out += '[';
    for (const std::string& value : values) {
      if (out.back() != '[') out += ',';
      AppendJsonString(value, out);
    }
    out += ']';
  }
  void Json(std::string_view key, const google::protobuf::Message& value) { AppendJson(value, Key(key)); }
  // The key; the value is to be appended to what this returns.
  std::string& Key(std::string_view key) {
    if (out_.size() > 1) out_ += ',';
    AppendJsonString(key, out_);
    out_ += ':';
    return out_;
  }
  std::string Finish() && {
    out_ += '}';
    return std::move(out_);
  }

 private:
  std::string out_ = "{";
};

// Adds a caller's further fields for the engine; those that are fields of the request itself are refused.
template <class Names>
absl::Status AppendEngineOptions(const google::protobuf::Struct& options, const Names& own, ObjectWriter& body) {
  for (const auto& [key, value] : options.fields()) {
    const std::string& name = key;
    if (std::any_of(std::begin(own), std::end(own), [&](const char* one) { return name == one; })) {
      return InvalidInput(absl::StrCat("engine_options.", key), "is a field of the request itself");
    }
    body.Json(key, value);
  }
  return absl::OkStatus();
}

}  // namespace aima::inference
