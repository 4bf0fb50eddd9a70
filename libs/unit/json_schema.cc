#include "libs/unit/json_schema.h"

#include <absl/strings/match.h>

#include <set>

#include "libs/unit/catalogue.h"
#include "libs/unit/json_codec.h"
#include "libs/unit/quantity.h"

namespace aima {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using nlohmann::ordered_json;

class SchemaWriter {
 public:
  explicit SchemaWriter(SchemaUse use, const SchemaAddress* address = nullptr) : use_(use), address_(address) {}

  ordered_json Message(const Descriptor& type) {
    const std::string& name = type.full_name();
    if (name == "google.protobuf.Timestamp") return {{"type", "string"}, {"format", "date-time"}};
    if (name == "google.protobuf.Duration") return {{"type", "string"}, {"pattern", "^-?[0-9]+(\\.[0-9]+)?s$"}};
    if (name == "google.protobuf.Struct" || name == "google.protobuf.Any") return {{"type", "object"}};
    if (name == "google.protobuf.Value") return ordered_json::object();
    if (name == "google.protobuf.ListValue") return {{"type", "array"}, {"items", ordered_json::object()}};
    // A type inside itself is described once, and is any object from there on.
    if (!open_.insert(&type).second) return {{"type", "object"}};
    ordered_json schema = {{"type", "object"}};
    ordered_json properties = ordered_json::object();
    ordered_json required = ordered_json::array();
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      properties[field.name()] = Field(field);
      if (use_ == SchemaUse::kInput ? RulesOf(field).required() : address_ && IsAlwaysWritten(field)) {
        required.push_back(field.name());
      }
    }
    schema["properties"] = std::move(properties);
    if (!required.empty()) schema["required"] = std::move(required);
    if (!address_ || use_ == SchemaUse::kInput) schema["additionalProperties"] = false;
    open_.erase(&type);
    return schema;
  }

 private:
  // As json_codec.h says.
  static bool IsAlwaysWritten(const FieldDescriptor& field) {
    return !field.has_presence() && !(field.is_repeated() && RulesOf(field).omit_empty());
  }

  // A message as part of another.
  ordered_json Inner(const Descriptor& type) {
    if (!address_ || HasOwnJsonForm(type)) return Message(type);
    return {{"$ref", (*address_)(type)}};
  }

  ordered_json Field(const FieldDescriptor& field) {
    const unit::v1::Rules rules = use_ == SchemaUse::kInput ? RulesOf(field) : unit::v1::Rules();
    ordered_json schema;
    if (field.is_map()) {
      schema = {{"type", "object"}, {"additionalProperties", Single(*field.message_type()->map_value(), {})}};
    } else if (field.is_repeated()) {
      schema = {{"type", "array"}, {"items", Single(field, rules)}};
      // A text alone is read as a list of one.
      if (use_ == SchemaUse::kInput && field.type() == FieldDescriptor::TYPE_STRING) schema["type"] = {"array", "string"};
      if (rules.has_min_items()) schema["minItems"] = rules.min_items();
      if (rules.has_max_items()) schema["maxItems"] = rules.max_items();
    } else {
      schema = Single(field, rules);
      if (!rules.default_().empty()) schema["default"] = ordered_json::parse(rules.default_(), nullptr, false);
    }
    const std::string comment = CommentOf(field);
    if (!comment.empty()) schema["description"] = comment + UnitText(field);
    if (rules.secret()) schema["writeOnly"] = true;
    return schema;
  }

  // What the number counts, which the type does not tell.
  std::string UnitText(const FieldDescriptor& field) const {
    const bool input = use_ == SchemaUse::kInput;
    switch (RulesOf(field).quantity()) {
      case unit::v1::BYTES: return input ? " In bytes, or as text such as \"64KB\" or \"2GiB\"." : " In bytes.";
      case unit::v1::MILLISECONDS:
        return input ? " In milliseconds, or as text such as \"30s\" or \"5m\"." : " In milliseconds.";
      default: return "";
    }
  }

  ordered_json Single(const FieldDescriptor& field, const unit::v1::Rules& rules) {
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_MESSAGE: return Inner(*field.message_type());
      case FieldDescriptor::CPPTYPE_BOOL: return {{"type", "boolean"}};
      case FieldDescriptor::CPPTYPE_ENUM: return Enum(field);
      case FieldDescriptor::CPPTYPE_STRING: return Text(field, rules);
      case FieldDescriptor::CPPTYPE_FLOAT:
      case FieldDescriptor::CPPTYPE_DOUBLE: return Number("number", rules);
      default: break;
    }
    ordered_json number = Number("integer", rules);
    if (rules.quantity() == unit::v1::QUANTITY_UNSPECIFIED) return number;
    number["type"] = {"integer", "string"};
    number["pattern"] = QuantityPattern(rules.quantity());  // binds texts only, as the bounds bind numbers
    return number;
  }

  ordered_json Enum(const FieldDescriptor& field) const {
    std::vector<std::string> texts = EnumTexts(*field.enum_type());
    if (use_ == SchemaUse::kOutput && static_cast<int>(texts.size()) < field.enum_type()->value_count()) {
      texts.push_back(EnumText(*field.enum_type()->FindValueByNumber(0)));
    }
    return {{"type", "string"}, {"enum", std::move(texts)}};
  }

  static ordered_json Text(const FieldDescriptor& field, const unit::v1::Rules& rules) {
    ordered_json schema = {{"type", "string"}};
    if (field.type() == FieldDescriptor::TYPE_BYTES) {
      schema["contentEncoding"] = "base64";
      return schema;
    }
    if (rules.has_min_len()) schema["minLength"] = rules.min_len();
    if (rules.has_max_len()) schema["maxLength"] = rules.max_len();
    if (!rules.pattern().empty()) schema["pattern"] = "^(?:" + rules.pattern() + ")$";
    return schema;
  }

  static ordered_json Number(const char* type, const unit::v1::Rules& rules) {
    ordered_json schema = {{"type", type}};
    const auto bound = [&](const char* key, double value) {
      if (value == static_cast<double>(static_cast<int64_t>(value))) {
        schema[key] = static_cast<int64_t>(value);
      } else {
        schema[key] = value;
      }
    };
    if (rules.has_min()) bound("minimum", rules.min());
    if (rules.has_max()) bound("maximum", rules.max());
    return schema;
  }

  const SchemaUse use_;
  const SchemaAddress* const address_;
  std::set<const Descriptor*> open_;
};

}  // namespace

ordered_json SchemaOf(const Descriptor& message, SchemaUse use) { return SchemaWriter(use).Message(message); }

ordered_json SharedSchemaOf(const Descriptor& message, SchemaUse use, const SchemaAddress& address) {
  return SchemaWriter(use, &address).Message(message);
}

bool HasOwnJsonForm(const Descriptor& message) {
  return absl::StartsWith(message.full_name(), "google.protobuf.");
}

}  // namespace aima
