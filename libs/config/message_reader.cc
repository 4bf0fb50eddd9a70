#include "libs/config/message_reader.h"

#include <absl/strings/ascii.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>

#include <cmath>
#include <limits>

#include "libs/base/nearest.h"
#include "libs/unit/catalogue.h"
#include "libs/unit/quantity.h"

namespace aima::config {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

std::string UnknownKey(std::string_view key, const Descriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
  const std::vector<std::string> nearest = Nearest(key, names, 1);
  if (!nearest.empty()) return absl::StrCat("is not a key; did you mean ", nearest[0], "?");
  return absl::StrCat("is not a key; there are ", absl::StrJoin(names, ", "));
}

const char* KindText(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kList: return "a list";
    case YamlNode::Kind::kMap: return "a section";
    default: return "a value";
  }
}

// Sets the field, or adds to it if it is a list.
template <class Set, class Add, class Value>
void Store(Message& message, const FieldDescriptor& field, Set set, Add add, Value value) {
  const Reflection& reflection = *message.GetReflection();
  if (field.is_repeated()) {
    (reflection.*add)(&message, &field, std::move(value));
  } else {
    (reflection.*set)(&message, &field, std::move(value));
  }
}

}  // namespace

void MessageReader::Read(const YamlNode& tree, Message& message) {
  if (tree.kind == YamlNode::Kind::kNull) return;
  if (tree.kind != YamlNode::Kind::kMap) return Add("file", tree, "must consist of sections such as `api:`");
  Map(tree, message, "");
}

void MessageReader::Map(const YamlNode& node, Message& message, const std::string& prefix) {
  const Descriptor& type = *message.GetDescriptor();
  for (const YamlNode& entry : node.items) {
    const FieldDescriptor* field = type.FindFieldByName(entry.key);
    if (!field) {
      Add(prefix + entry.key, entry, UnknownKey(entry.key, type));
    } else if (entry.kind != YamlNode::Kind::kNull) {
      Field(entry, *field, message, prefix + entry.key);
    }
  }
}

void MessageReader::Field(const YamlNode& node, const FieldDescriptor& field, Message& message,
                          const std::string& path) {
  lines_[path] = node.line;
  if (field.is_repeated()) {
    if (node.kind != YamlNode::Kind::kList) return Add(path, node, "must be a list");
    message.GetReflection()->ClearField(&message, &field);
    for (const YamlNode& item : node.items) Scalar(item, field, message, path);
  } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    if (node.kind != YamlNode::Kind::kMap) return Add(path, node, "is a section and takes keys of its own");
    Map(node, *message.GetReflection()->MutableMessage(&message, &field), path + ".");
  } else {
    Scalar(node, field, message, path);
  }
}

void MessageReader::Scalar(const YamlNode& node, const FieldDescriptor& field, Message& message,
                           const std::string& path) {
  if (node.kind != YamlNode::Kind::kScalar) {
    return Add(path, node, absl::StrCat("must be one value, not ", KindText(node)));
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return Store(message, field, &Reflection::SetString, &Reflection::AddString, node.text);
    case FieldDescriptor::CPPTYPE_BOOL:
      if (node.quoted || (node.text != "true" && node.text != "false")) {
        return Add(path, node, "must be true or false");
      }
      return Store(message, field, &Reflection::SetBool, &Reflection::AddBool, node.text == "true");
    default: return Number(node, field, message, path);
  }
}

void MessageReader::Number(const YamlNode& node, const FieldDescriptor& field, Message& message,
                           const std::string& path) {
  const unit::v1::Quantity quantity = RulesOf(field).quantity();
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE) {
    double number = 0;
    if (node.quoted || !absl::SimpleAtod(node.text, &number) || !std::isfinite(number)) {
      return Add(path, node, "must be a number");
    }
    return Store(message, field, &Reflection::SetDouble, &Reflection::AddDouble, number);
  }
  int64_t number = 0;
  if (quantity != unit::v1::QUANTITY_UNSPECIFIED) {
    const absl::StatusOr<int64_t> parsed = ParseQuantity(node.text, quantity);
    if (!parsed.ok()) {
      return Add(path, node, std::string(parsed.status().message()));
    }
    number = *parsed;
  } else if (node.quoted || !absl::SimpleAtoi(node.text, &number)) {
    return Add(path, node, "must be a whole number");
  }
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_INT64) {
    return Store(message, field, &Reflection::SetInt64, &Reflection::AddInt64, number);
  }
  if (number < std::numeric_limits<int32_t>::min() || number > std::numeric_limits<int32_t>::max()) {
    return Add(path, node, "is too large");
  }
  Store(message, field, &Reflection::SetInt32, &Reflection::AddInt32, static_cast<int32_t>(number));
}

void MessageReader::Set(std::string_view assignment, Message& message) {
  const size_t equals = assignment.find('=');
  const std::string path(assignment.substr(0, equals));
  if (equals == std::string_view::npos || path.empty()) {
    violations.push_back({std::string(assignment), "is not of the form section.key=value"});
    return;
  }
  Message* target = &message;
  const std::vector<std::string> segments = absl::StrSplit(path, '.');
  for (size_t i = 0; i < segments.size(); ++i) {
    const FieldDescriptor* field = target->GetDescriptor()->FindFieldByName(segments[i]);
    if (!field) {
      violations.push_back({path, UnknownKey(segments[i], *target->GetDescriptor())});
      return;
    }
    const bool section = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (section != (i + 1 < segments.size())) {
      violations.push_back({path, section ? "is a section; name one of its keys" : "has no keys of its own"});
      return;
    }
    if (section) {
      target = target->GetReflection()->MutableMessage(target, field);
      continue;
    }
    YamlNode node;
    node.kind = YamlNode::Kind::kScalar;
    node.text = std::string(assignment.substr(equals + 1));
    if (field->is_repeated()) {
      std::string text = node.text;
      if (text.starts_with('[') && text.ends_with(']')) text = text.substr(1, text.size() - 2);
      node.kind = YamlNode::Kind::kList;
      for (absl::string_view item : absl::StrSplit(text, ',', absl::SkipWhitespace())) {
        YamlNode& entry = node.items.emplace_back();
        entry.kind = YamlNode::Kind::kScalar;
        entry.text = std::string(absl::StripAsciiWhitespace(item));
      }
    }
    Field(node, *field, *target, path);
  }
}

std::string MessageReader::Locate(const std::string& path, const std::string& description) const {
  const auto line = lines_.find(path.substr(0, path.find('[')));
  return line == lines_.end() || line->second == 0 ? description
                                                   : absl::StrCat("line ", line->second, ": ", description);
}

void MessageReader::Add(const std::string& path, const YamlNode& node, std::string_view description) {
  const absl::string_view text(description.data(), description.size());
  violations.push_back(
      {path, node.line == 0 ? std::string(description) : absl::StrCat("line ", node.line, ": ", text)});
}

}  // namespace aima::config
