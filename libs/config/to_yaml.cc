#include <absl/strings/str_cat.h>

#include <charconv>

#include "libs/config/config.h"
#include "libs/unit/catalogue.h"
#include "libs/unit/json_codec.h"
#include "libs/unit/quantity.h"

namespace aima::config {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// A JSON string is a YAML string too.
std::string Quoted(const std::string& text) {
  std::string out;
  AppendJsonString(text, out);
  return out;
}

std::string Integer(int64_t number, const FieldDescriptor& field) {
  const unit::v1::Quantity quantity = RulesOf(field).quantity();
  return quantity == unit::v1::QUANTITY_UNSPECIFIED ? absl::StrCat(number) : FormatQuantity(number, quantity);
}

// The fewest digits that read back to the same number.
std::string Shortest(double number) {
  char text[32];
  return std::string(text, std::to_chars(text, text + sizeof text, number).ptr);
}

std::string ValueText(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  if (field.is_repeated()) {
    std::string list = "[";
    for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
      absl::StrAppend(&list, i ? ", " : "", Quoted(reflection.GetRepeatedString(message, &field, i)));
    }
    return list + "]";
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING: return Quoted(reflection.GetString(message, &field));
    case FieldDescriptor::CPPTYPE_BOOL: return reflection.GetBool(message, &field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_DOUBLE: return Shortest(reflection.GetDouble(message, &field));
    case FieldDescriptor::CPPTYPE_INT32: return Integer(reflection.GetInt32(message, &field), field);
    default: return Integer(reflection.GetInt64(message, &field), field);
  }
}

}  // namespace

std::string ToYaml(const v1::Config& config, bool with_secrets) {
  std::string yaml;
  const google::protobuf::Descriptor& type = *config.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& section = *type.field(i);
    const Message& message = config.GetReflection()->GetMessage(config, &section);
    absl::StrAppend(&yaml, i ? "\n" : "", section.name(), ":\n");
    for (int j = 0; j < section.message_type()->field_count(); ++j) {
      const FieldDescriptor& field = *section.message_type()->field(j);
      const bool hidden = RulesOf(field).secret() && !with_secrets;
      absl::StrAppend(&yaml, "  ", field.name(), ": ", hidden ? "\"\"" : ValueText(message, field), "\n");
    }
  }
  return yaml;
}

}  // namespace aima::config
