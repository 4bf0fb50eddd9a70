// JSON to messages (json_codec.h).
#include <absl/strings/escaping.h>
#include <absl/strings/match.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/time/time.h>
#include <google/protobuf/struct.pb.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "libs/base/nearest.h"
#include "libs/unit/catalogue.h"
#include "libs/unit/json_codec.h"
#include "libs/unit/quantity.h"
#include "libs/unit/rules.h"

namespace aima {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using nlohmann::json;

// Builds the document while bounding its depth and refusing repeated keys.
class BoundedSax {
 public:
  explicit BoundedSax(json& out) : dom_(out, false) {}

  bool null() { return dom_.null(); }
  bool boolean(bool value) { return dom_.boolean(value); }
  bool number_integer(json::number_integer_t value) { return dom_.number_integer(value); }
  bool number_unsigned(json::number_unsigned_t value) { return dom_.number_unsigned(value); }
  bool number_float(json::number_float_t value, const std::string& text) { return dom_.number_float(value, text); }
  bool string(std::string& value) { return dom_.string(value); }
  bool binary(json::binary_t& value) { return dom_.binary(value); }
  bool start_object(size_t size) {
    keys_.emplace_back();
    return Deeper() && dom_.start_object(size);
  }
  bool key(std::string& name) {
    if (!keys_.back().insert(name).second) {
      error = absl::StrCat("the key \"", name.substr(0, 100), "\" occurs twice in one object");
      return false;
    }
    return dom_.key(name);
  }
  bool end_object() {
    keys_.pop_back();
    --depth_;
    return dom_.end_object();
  }
  bool start_array(size_t size) { return Deeper() && dom_.start_array(size); }
  bool end_array() {
    --depth_;
    return dom_.end_array();
  }
  bool parse_error(size_t position, const std::string& token, const json::exception& exception) {
    error = absl::StrCat("is not valid JSON at byte ", position, ", near \"",
                         absl::CHexEscape(token.substr(0, 40)), "\"");
    return false;
  }

  std::string error;

 private:
  bool Deeper() {
    if (++depth_ <= kMaxJsonDepth) return true;
    error = absl::StrCat("is nested deeper than ", kMaxJsonDepth, " levels");
    return false;
  }

  nlohmann::detail::json_sax_dom_parser<json> dom_;
  std::vector<std::set<std::string>> keys_;
  int depth_ = 0;
};

class Reader {
 public:
  void Object(const json& object, Message& message, const std::string& prefix) {
    const Descriptor& type = *message.GetDescriptor();
    for (const auto& [key, value] : object.items()) {
      if (Enough()) return;
      const FieldDescriptor* field = type.FindFieldByName(key);
      if (!field) {
        const std::string name = key.substr(0, kMaxKey);
        Add(prefix + name, UnknownText(name, type));
      } else if (!value.is_null()) {
        Field(value, *field, message, prefix + key);
      }
    }
  }

  // A value of a message field.
  void Nested(const json& value, Message& message, const std::string& path) {
    const std::string& name = message.GetDescriptor()->full_name();
    if (name == "google.protobuf.Timestamp") return Time(value, message, path);
    if (name == "google.protobuf.Duration") return Duration(value, message, path);
    if (name == "google.protobuf.Value") return Free(value, message, path);
    if (name == "google.protobuf.ListValue") {
      if (!value.is_array()) return Add(path, Expected("a list", value));
      return Field(value, *message.GetDescriptor()->FindFieldByName("values"), message, path);
    }
    if (!value.is_object()) return Add(path, Expected("an object", value));
    if (name == "google.protobuf.Any") return Add(path, "cannot be given as JSON");
    if (name == "google.protobuf.Struct") {
      return Map(value, *message.GetDescriptor()->FindFieldByName("fields"), message, path);
    }
    Object(value, message, path + ".");
  }

  std::vector<FieldViolation> violations;

 private:
  static constexpr size_t kMaxKey = 100;  // bytes of a key that is not a field's

  bool Enough() const { return violations.size() >= kMaxViolations; }

  static std::string UnknownText(const std::string& key, const Descriptor& type) {
    std::vector<std::string> names;
    for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
    const std::vector<std::string> nearest = Nearest(key, names, 1);
    if (!nearest.empty()) return absl::StrCat("is not a field; did you mean ", nearest[0], "?");
    return names.empty() ? "is not a field; there are none here"
                         : absl::StrCat("is not a field; there are ", absl::StrJoin(names, ", "));
  }

  void Field(const json& value, const FieldDescriptor& field, Message& message, const std::string& path) {
    if (field.is_map()) return Map(value, field, message, path);
    if (!field.is_repeated()) return Single(value, field, message, path);
    if (!value.is_array()) return Single(value, field, message, path);
    // A message takes many times the bytes of its JSON: those that are too many are not made.
    const unit::v1::Rules& rules = RulesOf(field);
    if (rules.has_max_items() && value.size() > rules.max_items()) return Add(path, TooManyText(value.size(), rules));
    for (size_t i = 0; i < value.size() && !Enough(); ++i) {
      Single(value[i], field, message, absl::StrCat(path, "[", i, "]"));
    }
  }

  void Map(const json& value, const FieldDescriptor& field, Message& message, const std::string& path) {
    if (!value.is_object()) return Add(path, Expected("an object", value));
    const FieldDescriptor& key = *field.message_type()->map_key();
    for (const auto& [name, item] : value.items()) {
      if (Enough()) return;
      Message* entry = message.GetReflection()->AddMessage(&message, &field);
      Single(key.cpp_type() == FieldDescriptor::CPPTYPE_STRING ? json(name) : json::parse(name, nullptr, false), key,
             *entry, path);
      Single(item, *field.message_type()->map_value(), *entry, absl::StrCat(path, ".", name));
    }
  }

  // Sets the field, or adds one item to it if it is a list.
  void Single(const json& value, const FieldDescriptor& field, Message& message, const std::string& path) {
    const Reflection& r = *message.GetReflection();
    const auto store = [&](auto set, auto add, auto parsed) {
      if (field.is_repeated()) {
        (r.*add)(&message, &field, std::move(parsed));
      } else {
        (r.*set)(&message, &field, std::move(parsed));
      }
    };
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return Nested(value,
                      field.is_repeated() ? *r.AddMessage(&message, &field) : *r.MutableMessage(&message, &field),
                      path);
      case FieldDescriptor::CPPTYPE_BOOL:
        if (!value.is_boolean()) return Add(path, Expected("true or false", value));
        return store(&Reflection::SetBool, &Reflection::AddBool, value.get<bool>());
      case FieldDescriptor::CPPTYPE_STRING: {
        if (!value.is_string()) return Add(path, Expected("a string", value));
        std::string text = value.get<std::string>();
        if (field.type() == FieldDescriptor::TYPE_BYTES) {
          std::string bytes;
          if (!absl::Base64Unescape(text, &bytes)) return Add(path, "is not base64");
          text = std::move(bytes);
        }
        return store(&Reflection::SetString, &Reflection::AddString, std::move(text));
      }
      case FieldDescriptor::CPPTYPE_ENUM: {
        const auto* found =
            value.is_string() ? FindEnumValue(*field.enum_type(), value.get_ref<const std::string&>()) : nullptr;
        if (!found) return Add(path, absl::StrCat("must be one of ", absl::StrJoin(EnumTexts(*field.enum_type()), ", ")));
        return store(&Reflection::SetEnumValue, &Reflection::AddEnumValue, found->number());
      }
      case FieldDescriptor::CPPTYPE_INT32:
        return Integer<int32_t>(value, field, path, [&](int32_t n) { store(&Reflection::SetInt32, &Reflection::AddInt32, n); });
      case FieldDescriptor::CPPTYPE_INT64:
        return Integer<int64_t>(value, field, path, [&](int64_t n) { store(&Reflection::SetInt64, &Reflection::AddInt64, n); });
      case FieldDescriptor::CPPTYPE_UINT32:
        return Integer<uint32_t>(value, field, path, [&](uint32_t n) { store(&Reflection::SetUInt32, &Reflection::AddUInt32, n); });
      case FieldDescriptor::CPPTYPE_UINT64:
        return Integer<uint64_t>(value, field, path, [&](uint64_t n) { store(&Reflection::SetUInt64, &Reflection::AddUInt64, n); });
      case FieldDescriptor::CPPTYPE_FLOAT:
        if (!value.is_number()) return Add(path, Expected("a number", value));
        return store(&Reflection::SetFloat, &Reflection::AddFloat, value.get<float>());
      case FieldDescriptor::CPPTYPE_DOUBLE:
        if (!value.is_number()) return Add(path, Expected("a number", value));
        return store(&Reflection::SetDouble, &Reflection::AddDouble, value.get<double>());
    }
  }

  template <class Number, class Store>
  void Integer(const json& value, const FieldDescriptor& field, const std::string& path, Store store) {
    constexpr auto kMin = std::numeric_limits<Number>::min();
    constexpr auto kMax = std::numeric_limits<Number>::max();
    if (value.is_number_unsigned()) {
      const uint64_t number = value.get<uint64_t>();
      if (number > static_cast<uint64_t>(kMax)) return Add(path, absl::StrCat("must be at most ", kMax));
      return store(static_cast<Number>(number));
    }
    if (value.is_number_integer()) {
      const int64_t number = value.get<int64_t>();  // negative, or it would be unsigned
      if (std::is_unsigned_v<Number> || number < static_cast<int64_t>(kMin)) {
        return Add(path, absl::StrCat("must be at least ", kMin));
      }
      return store(static_cast<Number>(number));
    }
    if (value.is_number_float()) {
      const double number = value.get<double>();
      // 2^53: above it a double does not tell neighbouring integers apart.
      if (number != std::floor(number) || std::abs(number) > 9007199254740992.0) return Add(path, Expected("an integer", value));
      return Integer<Number>(json(static_cast<int64_t>(number)), field, path, store);
    }
    if (value.is_string()) {
      const std::string& text = value.get_ref<const std::string&>();
      const auto quantity = RulesOf(field).quantity();
      int64_t parsed = 0;
      if (quantity != unit::v1::QUANTITY_UNSPECIFIED) {
        const absl::StatusOr<int64_t> amount = ParseQuantity(text, quantity);
        if (!amount.ok()) return Add(path, std::string(amount.status().message()));
        return Integer<Number>(json(*amount), field, path, store);
      }
      // Clients that hold numbers in doubles send large ones as text.
      if (sizeof(Number) == 8 && absl::SimpleAtoi(text, &parsed)) return Integer<Number>(json(parsed), field, path, store);
    }
    Add(path, Expected("an integer", value));
  }

  void Time(const json& value, Message& message, const std::string& path) {
    absl::Time time;
    std::string problem;
    if (!value.is_string() ||
        !absl::ParseTime(absl::RFC3339_full, value.get_ref<const std::string&>(), &time, &problem)) {
      return Add(path, "must be a time such as 2026-01-31T12:00:00Z");
    }
    const int64_t seconds = absl::ToUnixSeconds(time);
    SetSecondsAndNanos(message, seconds, absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds)));
  }

  void Duration(const json& value, Message& message, const std::string& path) {
    absl::Duration duration;
    if (value.is_number()) {
      duration = absl::Seconds(value.get<double>());
    } else if (!value.is_string() || !absl::ParseDuration(value.get_ref<const std::string&>(), &duration)) {
      return Add(path, "must be a duration such as \"30s\"");
    }
    if (duration == absl::InfiniteDuration() || duration == -absl::InfiniteDuration()) return Add(path, "must be finite");
    const int64_t seconds = absl::ToInt64Seconds(duration);
    SetSecondsAndNanos(message, seconds, absl::ToInt64Nanoseconds(duration - absl::Seconds(seconds)));
  }

  static void SetSecondsAndNanos(Message& message, int64_t seconds, int64_t nanos) {
    const Descriptor& type = *message.GetDescriptor();
    message.GetReflection()->SetInt64(&message, type.FindFieldByName("seconds"), seconds);
    message.GetReflection()->SetInt32(&message, type.FindFieldByName("nanos"), static_cast<int32_t>(nanos));
  }

  void Free(const json& value, Message& message, const std::string& path) {
    const Descriptor& type = *message.GetDescriptor();
    const Reflection& r = *message.GetReflection();
    const auto field = [&](const char* name) { return type.FindFieldByName(name); };
    switch (value.type()) {
      case json::value_t::null: return r.SetEnumValue(&message, field("null_value"), 0);
      case json::value_t::boolean: return r.SetBool(&message, field("bool_value"), value.get<bool>());
      case json::value_t::string: return r.SetString(&message, field("string_value"), value.get<std::string>());
      case json::value_t::object: return Nested(value, *r.MutableMessage(&message, field("struct_value")), path);
      case json::value_t::array: return Nested(value, *r.MutableMessage(&message, field("list_value")), path);
      default: return r.SetDouble(&message, field("number_value"), value.get<double>());
    }
  }

  static std::string Expected(const char* what, const json& value) {
    return absl::StrCat("must be ", what, ", not ", value.is_null() ? "null" : value.type_name());
  }

  void Add(const std::string& path, std::string description) { violations.push_back({path, std::move(description)}); }
};

}  // namespace

absl::StatusOr<json> ParseJsonText(std::string_view text) {
  json document;
  BoundedSax sax(document);
  if (!json::sax_parse(text.begin(), text.end(), &sax)) return InvalidInput("", absl::StrCat("the body ", sax.error));
  return document;
}

absl::Status ParseJson(const json& json, Message& message) {
  if (!json.is_object()) return InvalidInput("", absl::StrCat("the input must be an object, not ", json.type_name()));
  Reader reader;
  if (message.GetDescriptor()->full_name() == "google.protobuf.Struct") {
    reader.Nested(json, message, "");
  } else {
    reader.Object(json, message, "");
  }
  if (reader.violations.empty()) return absl::OkStatus();
  return InvalidInput(std::move(reader.violations));
}

}  // namespace aima
