#include "libs/unit/rules.h"

#include <absl/container/flat_hash_map.h>
#include <absl/strings/str_cat.h>
#include <re2/re2.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "libs/unit/catalogue.h"
#include "libs/unit/json_codec.h"

namespace aima {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using unit::v1::Rules;

// Patterns are compiled once per thread, which is once per process: one thread runs all handlers.
const RE2& Compiled(const std::string& pattern) {
  thread_local absl::flat_hash_map<std::string, std::unique_ptr<RE2>> compiled;
  std::unique_ptr<RE2>& entry = compiled[pattern];
  if (!entry) entry = std::make_unique<RE2>(pattern);
  return *entry;
}

class Checker {
 public:
  void Check(const Message& message, const std::string& prefix) {
    const google::protobuf::Descriptor& type = *message.GetDescriptor();
    for (int i = 0; i < type.field_count(); ++i) CheckField(message, *type.field(i), prefix);
  }

  std::vector<FieldViolation> violations;

 private:
  void CheckField(const Message& message, const FieldDescriptor& field, const std::string& prefix) {
    const Reflection& reflection = *message.GetReflection();
    const Rules& rules = field.options().GetExtension(unit::v1::rules);
    const std::string path = prefix + field.name();
    if (field.is_repeated()) {
      const int size = reflection.FieldSize(message, &field);
      if (rules.required() && size == 0) return Add(path, "is required");
      if (rules.has_min_items() && size < static_cast<int>(rules.min_items())) {
        return Add(path, absl::StrCat("needs at least ", rules.min_items(), " entries"));
      }
      if (rules.has_max_items() && size > static_cast<int>(rules.max_items())) {
        return Add(path, absl::StrCat("has ", size, " entries, at most ", rules.max_items(), " are allowed"));
      }
      for (int i = 0; i < size; ++i) {
        const std::string item = field.is_map() ? path : absl::StrCat(path, "[", i, "]");
        if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
          Check(reflection.GetRepeatedMessage(message, &field, i), item + ".");
        } else {
          CheckRepeatedScalar(message, field, rules, i, item);
        }
      }
      return;
    }
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      if (reflection.HasField(message, &field)) {
        Check(reflection.GetMessage(message, &field), path + ".");
      } else if (rules.required()) {
        Add(path, "is required");
      }
      return;
    }
    const bool set = reflection.HasField(message, &field);
    if (!set) {
      // A plain scalar at its zero value counts as not given: proto3 cannot tell the two apart.
      if (rules.required()) Add(path, "is required");
      return;
    }
    CheckScalar(message, field, rules, path);
  }

  void CheckScalar(const Message& message, const FieldDescriptor& field, const Rules& rules, const std::string& path) {
    const Reflection& reflection = *message.GetReflection();
    std::string scratch;
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        return CheckText(reflection.GetStringReference(message, &field, &scratch), rules, path);
      case FieldDescriptor::CPPTYPE_INT32: return CheckNumber(reflection.GetInt32(message, &field), rules, path);
      case FieldDescriptor::CPPTYPE_INT64: return CheckNumber(reflection.GetInt64(message, &field), rules, path);
      case FieldDescriptor::CPPTYPE_UINT32: return CheckNumber(reflection.GetUInt32(message, &field), rules, path);
      case FieldDescriptor::CPPTYPE_UINT64: return CheckNumber(reflection.GetUInt64(message, &field), rules, path);
      case FieldDescriptor::CPPTYPE_FLOAT: return CheckNumber(reflection.GetFloat(message, &field), rules, path);
      case FieldDescriptor::CPPTYPE_DOUBLE: return CheckNumber(reflection.GetDouble(message, &field), rules, path);
      case FieldDescriptor::CPPTYPE_ENUM:
        return CheckEnum(*field.enum_type(), reflection.GetEnumValue(message, &field), path);
      default: return;
    }
  }

  void CheckRepeatedScalar(const Message& message, const FieldDescriptor& field, const Rules& rules, int index,
                           const std::string& path) {
    const Reflection& reflection = *message.GetReflection();
    std::string scratch;
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        return CheckText(reflection.GetRepeatedStringReference(message, &field, index, &scratch), rules, path);
      case FieldDescriptor::CPPTYPE_INT32:
        return CheckNumber(reflection.GetRepeatedInt32(message, &field, index), rules, path);
      case FieldDescriptor::CPPTYPE_INT64:
        return CheckNumber(reflection.GetRepeatedInt64(message, &field, index), rules, path);
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return CheckNumber(reflection.GetRepeatedDouble(message, &field, index), rules, path);
      case FieldDescriptor::CPPTYPE_ENUM:
        return CheckEnum(*field.enum_type(), reflection.GetRepeatedEnumValue(message, &field, index), path);
      default: return;
    }
  }

  void CheckText(const std::string& text, const Rules& rules, const std::string& path) {
    if (rules.has_min_len() && text.size() < rules.min_len()) {
      Add(path, absl::StrCat("must have at least ", rules.min_len(), " bytes"));
    } else if (rules.has_max_len() && text.size() > rules.max_len()) {
      Add(path, absl::StrCat("has ", text.size(), " bytes, at most ", rules.max_len(), " are allowed"));
    } else if (!rules.pattern().empty() && !RE2::FullMatch(text, Compiled(rules.pattern()))) {
      Add(path, absl::StrCat("must match ", rules.pattern()));
    }
  }

  template <class Number>
  void CheckNumber(Number number, const Rules& rules, const std::string& path) {
    // Written so that NaN fails: it is not between any two bounds.
    if (rules.has_min() && !(static_cast<double>(number) >= rules.min())) {
      Add(path, absl::StrCat("must be at least ", rules.min()));
    } else if (rules.has_max() && !(static_cast<double>(number) <= rules.max())) {
      Add(path, absl::StrCat("must be at most ", rules.max()));
    }
  }

  void CheckEnum(const google::protobuf::EnumDescriptor& type, int number, const std::string& path) {
    if (!type.FindValueByNumber(number)) Add(path, absl::StrCat(number, " is not a value of ", type.name()));
  }

  void Add(const std::string& path, std::string description) { violations.push_back({path, std::move(description)}); }
};

}  // namespace

void ApplyDefaults(Message& message) {
  const google::protobuf::Descriptor& type = *message.GetDescriptor();
  const Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      if (field.is_map()) continue;
      if (field.is_repeated()) {
        for (int j = 0; j < reflection.FieldSize(message, &field); ++j) {
          ApplyDefaults(*reflection.MutableRepeatedMessage(&message, &field, j));
        }
      } else if (reflection.HasField(message, &field)) {
        ApplyDefaults(*reflection.MutableMessage(&message, &field));
      }
      continue;
    }
    if (!field.has_optional_keyword() || reflection.HasField(message, &field)) continue;
    const std::string& value = field.options().GetExtension(unit::v1::rules).default_();
    if (value.empty()) continue;
    nlohmann::json object;
    object[field.name()] = nlohmann::json::parse(value, nullptr, false);
    // The lint test over units.binpb proves that every default parses.
    ParseJson(object, message).IgnoreError();
  }
}

std::vector<FieldViolation> BrokenRules(const Message& message) {
  Checker checker;
  checker.Check(message, "");
  return std::move(checker.violations);
}

}  // namespace aima
