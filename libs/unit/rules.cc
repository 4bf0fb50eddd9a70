#include "libs/unit/rules.h"

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>
#include <absl/strings/str_cat.h>
#include <re2/re2.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "libs/unit/catalogue.h"
#include "libs/unit/json_codec.h"

namespace aima {
namespace {

using google::protobuf::Descriptor;
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

// What there is to do for messages of one type: most fields need nothing.
struct Plan {
  struct Field {
    const FieldDescriptor* field;
    const Rules* rules;
    const Plan* inner;  // of the messages in it; null if there is nothing to do in them
  };
  std::vector<Field> checked;
  std::vector<Field> defaulted;
};

// The plans of all types that a message may hold. Those of the program's own types are made once per thread, which is
// once per process; types of other pools come and go.
class Plans {
 public:
  static const Plan* Of(const Descriptor& type, Plans& fresh) {
    thread_local Plans own;
    const bool lasting = type.file()->pool() == google::protobuf::DescriptorPool::generated_pool();
    return (lasting ? own : fresh).Find(type);
  }

 private:
  const Plan* Find(const Descriptor& type) {
    std::unique_ptr<Plan>& entry = plans_[&type];
    if (entry) return entry.get();
    entry = std::make_unique<Plan>();
    Plan* plan = entry.get();  // `entry` moves when others are added
    building_.insert(&type);
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      const bool has_rules = field.options().HasExtension(unit::v1::rules);
      const Rules& rules = field.options().GetExtension(unit::v1::rules);
      const Plan* inner = nullptr;
      if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        inner = Find(*field.message_type());
        // A type within itself is not known to be empty yet.
        const bool open = building_.contains(field.message_type());
        if (!open && inner->checked.empty() && inner->defaulted.empty()) inner = nullptr;
      }
      if (has_rules || inner || field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
        plan->checked.push_back({&field, &rules, inner});
      }
      const bool message = field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
      if (message ? inner && !field.is_map() : field.has_optional_keyword() && !rules.default_().empty()) {
        plan->defaulted.push_back({&field, &rules, inner});
      }
    }
    building_.erase(&type);
    return plan;
  }

  absl::flat_hash_map<const Descriptor*, std::unique_ptr<Plan>> plans_;
  absl::flat_hash_set<const Descriptor*> building_;
};

// Where in a message a field is; written out only for those that break a rule.
struct Path {
  const Path* parent;
  const std::string* name;
  int index = -1;

  std::string Text() const {
    return absl::StrCat(parent ? absl::StrCat(parent->Text(), ".") : "", *name, index < 0 ? "" : absl::StrCat("[", index, "]"));
  }
};

class Checker {
 public:
  void Check(const Message& message, const Plan& plan, const Path* parent) {
    for (const Plan::Field& field : plan.checked) {
      if (violations.size() < kMaxViolations) CheckField(message, field, parent);
    }
  }

  std::vector<FieldViolation> violations;

 private:
  void CheckField(const Message& message, const Plan::Field& planned, const Path* parent) {
    const Reflection& reflection = *message.GetReflection();
    const FieldDescriptor& field = *planned.field;
    const Rules& rules = *planned.rules;
    const Path path{parent, &field.name()};
    if (field.is_repeated()) {
      const int size = reflection.FieldSize(message, &field);
      if (rules.required() && size == 0) return Add(path, "is required");
      if (rules.has_min_items() && size < static_cast<int>(rules.min_items())) {
        return Add(path, absl::StrCat("needs at least ", rules.min_items(), " entries"));
      }
      if (rules.has_max_items() && size > static_cast<int>(rules.max_items())) {
        return Add(path, TooManyText(size, rules));
      }
      for (int i = 0; i < size && violations.size() < kMaxViolations; ++i) {
        const Path item{parent, &field.name(), field.is_map() ? -1 : i};
        if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
          if (planned.inner) Check(reflection.GetRepeatedMessage(message, &field, i), *planned.inner, &item);
        } else {
          CheckRepeatedScalar(message, field, rules, i, item);
        }
      }
      return;
    }
    const bool set = reflection.HasField(message, &field);
    if (!set) {
      // A plain scalar at its zero value counts as not given: proto3 cannot tell the two apart.
      if (rules.required()) Add(path, "is required");
      return;
    }
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      if (planned.inner) Check(reflection.GetMessage(message, &field), *planned.inner, &path);
      return;
    }
    CheckScalar(message, field, rules, path);
  }

  void CheckScalar(const Message& message, const FieldDescriptor& field, const Rules& rules, const Path& path) {
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
                           const Path& path) {
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

  void CheckText(const std::string& text, const Rules& rules, const Path& path) {
    if (rules.has_min_len() && text.size() < rules.min_len()) {
      Add(path, absl::StrCat("must have at least ", rules.min_len(), " bytes"));
    } else if (rules.has_max_len() && text.size() > rules.max_len()) {
      Add(path, absl::StrCat("has ", text.size(), " bytes, at most ", rules.max_len(), " are allowed"));
    } else if (!rules.pattern().empty() && !RE2::FullMatch(text, Compiled(rules.pattern()))) {
      Add(path, absl::StrCat("must match ", rules.pattern()));
    }
  }

  template <class Number>
  void CheckNumber(Number number, const Rules& rules, const Path& path) {
    // Written so that NaN fails: it is not between any two bounds.
    if (rules.has_min() && !(static_cast<double>(number) >= rules.min())) {
      Add(path, absl::StrCat("must be at least ", rules.min()));
    } else if (rules.has_max() && !(static_cast<double>(number) <= rules.max())) {
      Add(path, absl::StrCat("must be at most ", rules.max()));
    }
  }

  void CheckEnum(const google::protobuf::EnumDescriptor& type, int number, const Path& path) {
    if (!type.FindValueByNumber(number)) Add(path, absl::StrCat(number, " is not a value of ", type.name()));
  }

  void Add(const Path& path, std::string description) { violations.push_back({path.Text(), std::move(description)}); }
};

void ApplyPlanned(Message& message, const Plan& plan) {
  const Reflection& reflection = *message.GetReflection();
  for (const Plan::Field& planned : plan.defaulted) {
    const FieldDescriptor& field = *planned.field;
    if (planned.inner && field.is_repeated()) {
      for (int j = 0; j < reflection.FieldSize(message, &field); ++j) {
        ApplyPlanned(*reflection.MutableRepeatedMessage(&message, &field, j), *planned.inner);
      }
      continue;
    }
    if (reflection.HasField(message, &field) == (planned.inner == nullptr)) continue;
    if (planned.inner) {
      ApplyPlanned(*reflection.MutableMessage(&message, &field), *planned.inner);
      continue;
    }
    nlohmann::json object;
    object[field.name()] = nlohmann::json::parse(planned.rules->default_(), nullptr, false);
    // The lint test over units.binpb proves that every default parses.
    ParseJson(object, message).IgnoreError();
  }
}

}  // namespace

void ApplyDefaults(Message& message) {
  Plans fresh;
  ApplyPlanned(message, *Plans::Of(*message.GetDescriptor(), fresh));
}

std::string TooManyText(size_t size, const Rules& rules) {
  return absl::StrCat("has ", size, " entries, at most ", rules.max_items(), " are allowed");
}

std::vector<FieldViolation> BrokenRules(const Message& message) {
  Plans fresh;
  Checker checker;
  checker.Check(message, *Plans::Of(*message.GetDescriptor(), fresh), nullptr);
  return std::move(checker.violations);
}

}  // namespace aima
