// Reads the members of JSON objects that clients send, with errors that name them.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace aima::gateway {

// One object. What is absent, or null, has no value; what is of another type than asked for is an error, and the first
// error of an object and of all objects inside of it is kept in one place.
class JsonFields {
 public:
  using Json = nlohmann::json;

  // `path` is what errors call the object; empty is the body itself. Both arguments outlive this.
  JsonFields(const Json& object, std::string path, absl::Status& error);

  // The value; null if there is none.
  const Json* Find(std::string_view key) const;
  std::string Text(std::string_view key) const;
  std::string RequiredText(std::string_view key) const;
  std::optional<double> Number(std::string_view key) const;
  std::optional<int64_t> Integer(std::string_view key) const;
  bool Bool(std::string_view key, bool otherwise = false) const;
  const Json* List(std::string_view key) const;
  const Json* Object(std::string_view key) const;

  // What an error calls a member.
  std::string At(std::string_view key) const;
  // Notes that a member is wrong.
  void Refuse(std::string_view key, std::string_view why) const;
  // Notes the first member that is none of `known`.
  void AllowOnly(std::initializer_list<std::string_view> known, std::string_view why) const;
  // Copies a member as it is, under another name if one is given.
  void Copy(std::string_view key, Json& to, std::string_view as = {}) const;

  absl::Status& error() const { return error_; }

 private:
  const Json& object_;
  const std::string path_;
  absl::Status& error_;
};

// The parts of a path: "messages.2.role".
std::string PathOf(std::string_view parent, std::string_view member);
std::string PathOf(std::string_view parent, size_t index);

// JSON as text, whatever bytes its strings hold.
std::string DumpJson(const nlohmann::json& value);

// "field: what is wrong with it" of an error about an input, else its message.
std::string MessageOf(const absl::Status& status);

}  // namespace aima::gateway
