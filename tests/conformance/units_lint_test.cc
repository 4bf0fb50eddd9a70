// What every proto of the repository must say, checked over units.binpb as it is shipped.
#include <absl/strings/ascii.h>
#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>
#include <re2/re2.h>

#include <nlohmann/json.hpp>
#include <set>

#include "libs/unit/catalogue.h"
#include "libs/unit/json_codec.h"
#include "libs/unit/json_schema.h"
#include "libs/unit/rules.h"
#include "libs/unit/unit_names.h"

namespace aima {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::Message;
using ::testing::IsEmpty;

class UnitsLint : public ::testing::Test {
 protected:
  UnitsLint() : catalogue_(*Catalogue::Load(AIMA_BINARY_DIR "/share/aima/units.binpb")) {}

  std::vector<const FileDescriptor*> OurFiles() const {
    std::vector<const FileDescriptor*> ours;
    for (const FileDescriptor* file : catalogue_->files()) {
      if (absl::StartsWith(file->name(), "aima/")) ours.push_back(file);
    }
    return ours;
  }

  // Every problem of every message, nested ones included.
  template <class Check>
  std::vector<std::string> OverMessages(Check check) const {
    std::vector<std::string> problems;
    for (const FileDescriptor* file : OurFiles()) {
      for (int i = 0; i < file->message_type_count(); ++i) Walk(*file->message_type(i), check, problems);
    }
    return problems;
  }

  template <class Check>
  static void Walk(const Descriptor& type, Check check, std::vector<std::string>& problems) {
    if (type.options().map_entry()) return;
    check(type, problems);
    for (int i = 0; i < type.nested_type_count(); ++i) Walk(*type.nested_type(i), check, problems);
  }

  std::unique_ptr<Catalogue> catalogue_;
};

TEST_F(UnitsLint, ThereAreUnits) { EXPECT_GT(catalogue_->units().size(), 10u); }

TEST_F(UnitsLint, EveryRpcMessageFieldAndEnumValueHasAComment) {
  std::vector<std::string> bare = OverMessages([](const Descriptor& type, std::vector<std::string>& problems) {
    if (CommentOf(type).empty()) problems.push_back(type.full_name());
    for (int i = 0; i < type.field_count(); ++i) {
      if (CommentOf(*type.field(i)).empty()) problems.push_back(type.field(i)->full_name());
    }
    for (int i = 0; i < type.enum_type_count(); ++i) {
      for (int j = 0; j < type.enum_type(i)->value_count(); ++j) {
        if (CommentOf(*type.enum_type(i)->value(j)).empty()) problems.push_back(type.enum_type(i)->value(j)->full_name());
      }
    }
  });
  for (const FileDescriptor* file : OurFiles()) {
    for (int i = 0; i < file->service_count(); ++i) {
      if (CommentOf(*file->service(i)).empty()) bare.push_back(file->service(i)->full_name());
      for (int j = 0; j < file->service(i)->method_count(); ++j) {
        if (CommentOf(*file->service(i)->method(j)).empty()) bare.push_back(file->service(i)->method(j)->full_name());
      }
    }
    for (int i = 0; i < file->enum_type_count(); ++i) {
      const EnumDescriptor& type = *file->enum_type(i);
      if (CommentOf(type).empty()) bare.push_back(type.full_name());
      for (int j = 0; j < type.value_count(); ++j) {
        if (CommentOf(*type.value(j)).empty()) bare.push_back(type.value(j)->full_name());
      }
    }
  }
  EXPECT_THAT(bare, IsEmpty());
}

TEST_F(UnitsLint, EveryUnitDeclaresItsKindAndAccess) {
  for (const UnitInfo& unit : catalogue_->units()) {
    EXPECT_NE(unit.options.kind(), unit::v1::KIND_UNSPECIFIED) << unit.name;
    EXPECT_NE(unit.options.access(), unit::v1::ACCESS_UNSPECIFIED) << unit.name;
  }
}

TEST_F(UnitsLint, EveryRpcOfADomainIsAUnit) {
  for (const FileDescriptor* file : OurFiles()) {
    if (file->package() == "aima.gateway.v1") continue;  // the generic face: it has units in it, it is none
    for (int i = 0; i < file->service_count(); ++i) {
      for (int j = 0; j < file->service(i)->method_count(); ++j) {
        EXPECT_TRUE(file->service(i)->method(j)->options().HasExtension(unit::v1::unit))
            << file->service(i)->method(j)->full_name();
      }
    }
  }
}

TEST_F(UnitsLint, NamesDeriveFromPackageAndMethod) {
  for (const UnitInfo& unit : catalogue_->units()) {
    EXPECT_TRUE(RE2::FullMatch(unit.name, "[a-z][a-z0-9_]*\\.[a-z][a-z0-9_]*")) << unit.name;
    EXPECT_EQ(unit.method().service()->file()->package(), absl::StrCat("aima.", unit.domain, ".v1")) << unit.name;
    for (const auto* method : {unit.unary, unit.stream}) {
      if (!method) continue;
      // The message's name tells its unit, so that a request type belongs to one unit only. The streaming form takes
      // what the unary one takes.
      EXPECT_EQ(method->input_type()->name(), (unit.unary ? unit.unary : method)->name() + "Request")
          << method->full_name();
    }
  }
}

TEST_F(UnitsLint, CommandsCarryAnIdempotencyKeyAndQueriesDoNot) {
  for (const UnitInfo& unit : catalogue_->units()) {
    for (const auto* method : {unit.unary, unit.stream}) {
      if (!method) continue;
      const FieldDescriptor* key = method->input_type()->FindFieldByName("idempotency_key");
      EXPECT_EQ(key != nullptr, unit.command()) << method->full_name();
      if (key) EXPECT_EQ(key->number(), 90) << method->full_name();
    }
  }
}

TEST_F(UnitsLint, DeclaredReasonsExistAndAreUnique) {
  std::set<std::string> known;
  for (const ReasonInfo& reason : catalogue_->reasons()) {
    EXPECT_TRUE(known.insert(reason.name).second) << reason.name << " is declared twice";
    EXPECT_GE(reason.options.code(), 1) << reason.name;
    EXPECT_LE(reason.options.code(), 16) << reason.name;
    EXPECT_FALSE(reason.options.remedy().empty()) << reason.name;
  }
  for (const UnitInfo& unit : catalogue_->units()) {
    std::set<std::string> own;
    for (const std::string& reason : unit.options.errors()) {
      EXPECT_TRUE(own.insert(reason).second) << unit.name << " declares " << reason << " twice";
      EXPECT_TRUE(known.count(reason)) << unit.name << " fails with " << reason << ", which is declared nowhere";
    }
  }
}

TEST_F(UnitsLint, WhatCannotBeReachedIsUnavailable) {
  int seen = 0;
  for (const ReasonInfo& reason : catalogue_->reasons()) {
    if (!absl::EndsWith(reason.name, "_UNREACHABLE")) continue;
    ++seen;
    EXPECT_EQ(reason.options.code(), static_cast<int>(absl::StatusCode::kUnavailable)) << reason.name;
    EXPECT_TRUE(reason.options.retryable()) << reason.name;
  }
  EXPECT_GE(seen, 1);
}

TEST_F(UnitsLint, RemediesAreRightOnEveryFace) {
  for (const ReasonInfo& reason : catalogue_->reasons()) {
    const std::string& remedy = reason.options.remedy();
    EXPECT_EQ(remedy.find_first_of("<>"), std::string::npos) << reason.name << " has a place that nobody fills: " << remedy;
    EXPECT_FALSE(absl::StrContains(remedy, "aima exec")) << reason.name << ": write `model.list`, which each face shows its way";
    // Each unit is between backquotes, so that faces find it.
    for (const UnitInfo& unit : catalogue_->units()) {
      for (size_t at = remedy.find(unit.name); at != std::string::npos; at = remedy.find(unit.name, at + 1)) {
        const size_t end = at + unit.name.size();
        if (end < remedy.size() && (absl::ascii_isalnum(remedy[end]) || remedy[end] == '_')) continue;
        EXPECT_TRUE(at > 0 && remedy[at - 1] == '`' && end < remedy.size() && remedy[end] == '`') << reason.name << ": " << remedy;
      }
    }
    ShowUnits(remedy, [&](std::string_view name) {
      EXPECT_NE(catalogue_->Find(name), nullptr) << reason.name << " names the unit " << name;
      return std::string();
    });
  }
}

TEST_F(UnitsLint, CommentsOnIdempotencyKeysSayWhoseTheyAreAndHowLongTheyHold) {
  for (const UnitInfo& unit : catalogue_->units()) {
    const FieldDescriptor* key = unit.method().input_type()->FindFieldByName("idempotency_key");
    if (!key || absl::StartsWith(CommentOf(*key), "Accepted as every command does; ")) continue;
    std::string expected =
        "Any text of the caller's own, new for each call: a repeat with the same key within 48 hours does nothing again and "
        "gets the first answer.";
    if (unit.unary && unit.stream) expected += " A stream runs again.";
    if (unit.name == "operation.start") continue;  // gives the operation, as long as that is kept
    EXPECT_EQ(CommentOf(*key), expected) << unit.name;
  }
}

TEST_F(UnitsLint, SchemasSayThatQuantitiesMayBeTextAndInWhichUnitNumbersAre) {
  int seen = 0;
  for (const UnitInfo& unit : catalogue_->units()) {
    const Descriptor& input = *unit.method().input_type();
    const nlohmann::ordered_json schema = SchemaOf(input);
    for (int i = 0; i < input.field_count(); ++i) {
      const auto quantity = RulesOf(*input.field(i)).quantity();
      if (quantity == unit::v1::QUANTITY_UNSPECIFIED) continue;
      ++seen;
      const nlohmann::ordered_json& property = schema["properties"][input.field(i)->name()];
      EXPECT_EQ(property["type"], nlohmann::ordered_json({"integer", "string"})) << unit.name << ": " << property.dump();
      EXPECT_TRUE(absl::StrContains(property["description"].get<std::string>(),
                                    quantity == unit::v1::BYTES ? "In bytes, or" : "In milliseconds, or"))
          << unit.name << ": " << property.dump();
    }
  }
  EXPECT_GE(seen, 5);
  // What answers hold are numbers.
  const Descriptor& instance = *catalogue_->pool().FindMessageTypeByName("aima.engine.v1.Instance");
  const nlohmann::ordered_json told = SchemaOf(instance, SchemaUse::kOutput)["properties"]["idle_timeout"];
  EXPECT_EQ(told["type"], "integer") << told.dump();
  EXPECT_TRUE(absl::StrContains(told["description"].get<std::string>(), " In milliseconds.")) << told.dump();
}

TEST_F(UnitsLint, AListOfTextsMayBeOneText) {
  const nlohmann::ordered_json input = SchemaOf(*catalogue_->Find("inference.embed")->method().input_type())["properties"]["input"];
  EXPECT_EQ(input["type"], nlohmann::ordered_json({"array", "string"})) << input.dump();
  EXPECT_EQ(input["items"]["type"], "string");
}

TEST_F(UnitsLint, GroupsOfReasonsHaveNamesOfTheirOwnAndAreUsed) {
  for (const auto* file : catalogue_->files()) {
    for (int i = 0; i < file->service_count(); ++i) {
      const auto& service = *file->service(i);
      std::set<std::string> used;
      for (int j = 0; j < service.method_count(); ++j) {
        const auto unit = service.method(j)->options().GetExtension(unit::v1::unit);
        used.insert(unit.errors().begin(), unit.errors().end());
      }
      std::set<std::string> names;
      for (int j = 0; j < service.options().ExtensionSize(unit::v1::error_groups); ++j) {
        const unit::v1::ErrorGroup& group = service.options().GetExtension(unit::v1::error_groups, j);
        EXPECT_TRUE(names.insert(group.name()).second) << service.full_name() << " has two groups " << group.name();
        EXPECT_TRUE(used.count(group.name())) << "no unit of " << service.full_name() << " uses " << group.name();
        EXPECT_GT(group.errors_size(), 1) << group.name();
        for (const ReasonInfo& reason : catalogue_->reasons()) EXPECT_NE(group.name(), reason.name);
      }
    }
  }
}

TEST_F(UnitsLint, ExamplesParseAndPassTheirRules) {
  for (const UnitInfo& unit : catalogue_->units()) {
    if (unit.options.access() != unit::v1::INTERNAL) EXPECT_GT(unit.options.examples_size(), 0) << unit.name;
    for (const auto& example : unit.options.examples()) {
      std::unique_ptr<Message> input = catalogue_->New(*unit.method().input_type());
      absl::StatusOr<nlohmann::json> json = ParseJsonText(example.input());
      ASSERT_TRUE(json.ok()) << unit.name << ": " << json.status();
      const absl::Status parsed = ParseJson(*json, *input);
      EXPECT_TRUE(parsed.ok()) << unit.name << ": " << parsed;
      ApplyDefaults(*input);
      for (const FieldViolation& broken : BrokenRules(*input)) {
        ADD_FAILURE() << unit.name << ": " << broken.field << " " << broken.description;
      }
    }
  }
}

TEST_F(UnitsLint, DefaultsParseAndPassTheirRulesAndPatternsCompile) {
  const auto problems = OverMessages([&](const Descriptor& type, std::vector<std::string>& found) {
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      const unit::v1::Rules rules = RulesOf(field);
      if (!rules.pattern().empty() && !RE2(rules.pattern()).ok()) found.push_back(field.full_name() + ": pattern");
      if (rules.default_().empty()) continue;
      if (!field.has_optional_keyword()) found.push_back(field.full_name() + ": a default needs `optional`");
      std::unique_ptr<Message> message = catalogue_->New(type);
      nlohmann::json object;
      object[field.name()] = nlohmann::json::parse(rules.default_(), nullptr, false);
      if (object[field.name()].is_discarded() || !ParseJson(object, *message).ok()) {
        found.push_back(field.full_name() + ": default");
      }
      for (const FieldViolation& broken : BrokenRules(*message)) {
        if (broken.field == field.name()) found.push_back(field.full_name() + ": default " + broken.description);
      }
    }
  });
  EXPECT_THAT(problems, IsEmpty());
}

TEST_F(UnitsLint, ViewsNameFieldsOfTheirQueryAndEventsThatExist) {
  std::set<std::string> events;
  for (const EventInfo& event : catalogue_->events()) events.insert(event.type);
  std::set<std::string> uris;
  for (const ViewInfo& view : catalogue_->views()) {
    EXPECT_TRUE(uris.insert(view.uri).second) << view.uri << " is declared twice";
    EXPECT_TRUE(absl::StartsWith(view.uri, "asms://")) << view.uri;
    EXPECT_FALSE(view.unit->command()) << view.uri << " reads through a command";
    for (const std::string& segment : view.segments) {
      if (segment.front() != '{') continue;
      const std::string name = segment.substr(1, segment.size() - 2);
      EXPECT_NE(view.unit->method().input_type()->FindFieldByName(name), nullptr) << view.uri << ": " << name;
    }
    for (const std::string& type : view.view.refresh_on()) EXPECT_TRUE(events.count(type)) << view.uri << ": " << type;
  }
}

TEST_F(UnitsLint, EventTypesBelongToTheirDomain) {
  std::set<std::string> types;
  for (const EventInfo& event : catalogue_->events()) {
    EXPECT_TRUE(types.insert(event.type).second) << event.type << " is declared twice";
    EXPECT_TRUE(RE2::FullMatch(event.type, "[a-z_]+\\.[a-z_]+")) << event.type;
  }
}

TEST_F(UnitsLint, ADomainImportsNoOtherDomain) {
  const std::set<std::string> shared = {"unit", "google"};
  for (const FileDescriptor* file : OurFiles()) {
    for (int i = 0; i < file->dependency_count(); ++i) {
      const std::string domain = DomainOf(*file->dependency(i));
      EXPECT_TRUE(domain.empty() || domain == DomainOf(*file) || shared.count(domain))
          << file->name() << " imports " << file->dependency(i)->name();
    }
  }
}

TEST_F(UnitsLint, EverySchemaIsAClosedObjectWithDescriptions) {
  for (const UnitInfo& unit : catalogue_->units()) {
    const nlohmann::ordered_json schema = SchemaOf(*unit.method().input_type());
    EXPECT_EQ(schema["type"], "object") << unit.name;
    EXPECT_EQ(schema["additionalProperties"], false) << unit.name;
    for (const auto& [name, property] : schema["properties"].items()) {
      EXPECT_FALSE(property.value("description", "").empty()) << unit.name << "." << name;
    }
  }
}

}  // namespace
}  // namespace aima
