#include "services/gateway/json_fields.h"

#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cmath>

#include "libs/errors/errors.h"

namespace aima::gateway {
namespace {

absl::string_view View(std::string_view text) { return absl::string_view(text.data(), text.size()); }

constexpr double kLargestInteger = 9007199254740992.0;  // up to here every integer is a double

}  // namespace

JsonFields::JsonFields(const Json& object, std::string path, absl::Status& error)
    : object_(object), path_(std::move(path)), error_(error) {
  if (!object_.is_object() && error_.ok()) {
    error_ = InvalidInput(path_.empty() ? "body" : path_, "must be an object");
  }
}

const JsonFields::Json* JsonFields::Find(std::string_view key) const {
  if (!object_.is_object()) return nullptr;
  const auto found = object_.find(std::string(key));
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::string JsonFields::Text(std::string_view key) const {
  const Json* value = Find(key);
  if (value && value->is_string()) return value->get<std::string>();
  if (value) Refuse(key, "must be a string");
  return "";
}

std::string JsonFields::RequiredText(std::string_view key) const {
  std::string text = Text(key);
  if (text.empty()) Refuse(key, "is required");
  return text;
}

std::optional<double> JsonFields::Number(std::string_view key) const {
  const Json* value = Find(key);
  if (value && value->is_number()) return value->get<double>();
  if (value) Refuse(key, "must be a number");
  return std::nullopt;
}

std::optional<int64_t> JsonFields::Integer(std::string_view key) const {
  const std::optional<double> number = Number(key);
  if (!number) return std::nullopt;
  if (std::trunc(*number) == *number && std::abs(*number) <= kLargestInteger) return static_cast<int64_t>(*number);
  Refuse(key, "must be an integer");
  return std::nullopt;
}

bool JsonFields::Bool(std::string_view key, bool otherwise) const {
  const Json* value = Find(key);
  if (value && value->is_boolean()) return value->get<bool>();
  if (value) Refuse(key, "must be true or false");
  return otherwise;
}

const JsonFields::Json* JsonFields::List(std::string_view key) const {
  const Json* value = Find(key);
  if (!value || value->is_array()) return value;
  Refuse(key, "must be a list");
  return nullptr;
}

const JsonFields::Json* JsonFields::Object(std::string_view key) const {
  const Json* value = Find(key);
  if (!value || value->is_object()) return value;
  Refuse(key, "must be an object");
  return nullptr;
}

std::string JsonFields::At(std::string_view key) const { return PathOf(path_, key); }

void JsonFields::Refuse(std::string_view key, std::string_view why) const {
  if (error_.ok()) error_ = InvalidInput(At(key.substr(0, 200)), View(why));
}

void JsonFields::AllowOnly(std::initializer_list<std::string_view> known, std::string_view why) const {
  if (!object_.is_object()) return;
  for (const auto& [key, value] : object_.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) return Refuse(key, why);
  }
}

void JsonFields::Copy(std::string_view key, Json& to, std::string_view as) const {
  if (const Json* value = Find(key)) to[std::string(as.empty() ? key : as)] = *value;
}

std::string PathOf(std::string_view parent, std::string_view member) {
  return parent.empty() ? std::string(member) : absl::StrCat(View(parent), ".", View(member));
}

std::string PathOf(std::string_view parent, size_t index) { return absl::StrCat(View(parent), ".", index); }

std::string DumpJson(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string MessageOf(const absl::Status& status) {
  const ErrorDetails details = DetailsOf(status);
  if (details.violations.empty()) return details.message;
  const FieldViolation& first = details.violations[0];
  return first.field.empty() ? first.description : absl::StrCat(first.field, ": ", first.description);
}

}  // namespace aima::gateway
