#include "libs/unit/catalogue.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>
#include <absl/strings/strip.h>
#include <google/protobuf/descriptor.pb.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "libs/base/nearest.h"

namespace aima {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::MethodDescriptor;

std::string SnakeCase(const std::string& name) {
  std::string snake;
  for (size_t i = 0; i < name.size(); ++i) {
    if (i > 0 && absl::ascii_isupper(name[i])) snake += '_';
    snake += absl::ascii_tolower(name[i]);
  }
  return snake;
}

bool IsStreamForm(const MethodDescriptor& method) {
  return method.server_streaming() && absl::EndsWith(method.name(), "Stream");
}

}  // namespace

std::string CleanComment(const std::string& comment) {
  std::vector<std::string> lines = absl::StrSplit(comment, '\n');
  std::string text;
  for (std::string& line : lines) {
    absl::StripAsciiWhitespace(&line);
    if (line.empty()) {
      if (!text.empty() && text.back() != '\n') text += '\n';
    } else {
      if (!text.empty() && text.back() != '\n') text += ' ';
      text += line;
    }
  }
  absl::StripTrailingAsciiWhitespace(&text);
  return text;
}

std::string UnitName(const MethodDescriptor& method) {
  std::string noun(absl::StripSuffix(method.service()->name(), "Service"));
  std::string verb(IsStreamForm(method) ? absl::StripSuffix(method.name(), "Stream")
                                        : absl::string_view(method.name()));
  return absl::StrCat(SnakeCase(noun), ".", SnakeCase(verb));
}

std::string DomainOf(const FileDescriptor& file) {
  const std::vector<std::string> parts = absl::StrSplit(file.package(), '.');
  return parts.size() >= 2 && parts[0] == "aima" ? parts[1] : "";
}

unit::v1::Unit UnitOptions(const MethodDescriptor& method) {
  unit::v1::Unit options = method.options().GetExtension(unit::v1::unit);
  const auto& service = method.service()->options();
  const int groups = service.ExtensionSize(unit::v1::error_groups);
  if (groups == 0) return options;
  std::vector<std::string> errors;
  for (const std::string& name : options.errors()) {
    const unit::v1::ErrorGroup* named = nullptr;
    for (int i = 0; i < groups; ++i) {
      const unit::v1::ErrorGroup& group = service.GetExtension(unit::v1::error_groups, i);
      if (group.name() == name) named = &group;
    }
    if (named) {
      errors.insert(errors.end(), named->errors().begin(), named->errors().end());
    } else {
      errors.push_back(name);
    }
  }
  options.mutable_errors()->Assign(errors.begin(), errors.end());
  return options;
}

unit::v1::Rules RulesOf(const FieldDescriptor& field) { return field.options().GetExtension(unit::v1::rules); }

std::string EventType(const Descriptor& message) { return message.options().GetExtension(unit::v1::event).type(); }

absl::StatusOr<std::unique_ptr<Catalogue>> Catalogue::Load(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return Parse(bytes.str());
}

absl::StatusOr<std::unique_ptr<Catalogue>> Catalogue::Parse(std::string_view file_descriptor_set) {
  google::protobuf::FileDescriptorSet set;
  if (!set.ParseFromArray(file_descriptor_set.data(), static_cast<int>(file_descriptor_set.size()))) {
    return absl::InvalidArgumentError("not a FileDescriptorSet");
  }
  std::unique_ptr<Catalogue> catalogue(new Catalogue());
  for (const auto& proto : set.file()) {
    const FileDescriptor* file = catalogue->pool_.BuildFile(proto);
    if (!file) return absl::InvalidArgumentError(absl::StrCat(proto.name(), " does not fit its imports"));
    catalogue->files_.push_back(file);
    for (int i = 0; i < file->service_count(); ++i) catalogue->Add(*file->service(i));
    for (int i = 0; i < file->message_type_count(); ++i) catalogue->Add(*file->message_type(i));
    for (int i = 0; i < file->enum_type_count(); ++i) catalogue->Add(*file->enum_type(i));
  }
  std::sort(catalogue->units_.begin(), catalogue->units_.end(),
            [](const UnitInfo& a, const UnitInfo& b) { return a.name < b.name; });
  for (size_t i = 0; i < catalogue->units_.size(); ++i) {
    const UnitInfo& unit = catalogue->units_[i];
    catalogue->by_name_[unit.name] = i;
    for (const auto& view : unit.options.views()) {
      ViewInfo info;
      info.uri = view.uri();
      info.segments = absl::StrSplit(absl::StripPrefix(view.uri(), "asms://"), '/');
      info.unit = &unit;
      info.view = view;
      catalogue->views_.push_back(std::move(info));
    }
  }
  return catalogue;
}

void Catalogue::Add(const google::protobuf::ServiceDescriptor& service) {
  for (int i = 0; i < service.method_count(); ++i) {
    const MethodDescriptor& method = *service.method(i);
    if (!method.options().HasExtension(unit::v1::unit)) continue;
    const std::string name = UnitName(method);
    auto existing = std::find_if(units_.begin(), units_.end(), [&](const UnitInfo& unit) { return unit.name == name; });
    if (existing == units_.end()) {
      existing = units_.emplace(units_.end());
      existing->name = name;
      existing->domain = DomainOf(*service.file());
    }
    (method.server_streaming() ? existing->stream : existing->unary) = &method;
    if (!method.server_streaming() || !existing->unary) {
      existing->options = UnitOptions(method);
      existing->description = CommentOf(method);
    }
  }
}

void Catalogue::Add(const Descriptor& message) {
  const std::string type = EventType(message);
  if (type.empty()) return;
  events_.push_back({type, DomainOf(*message.file()), CommentOf(message), &message});
}

void Catalogue::Add(const google::protobuf::EnumDescriptor& type) {
  for (int i = 0; i < type.value_count(); ++i) {
    const auto& value = *type.value(i);
    if (!value.options().HasExtension(unit::v1::reason)) continue;
    reasons_.push_back({value.name(), DomainOf(*type.file()), CommentOf(value),
                        value.options().GetExtension(unit::v1::reason)});
  }
}

const UnitInfo* Catalogue::Find(std::string_view name) const {
  const auto found = by_name_.find(std::string(name));
  return found == by_name_.end() ? nullptr : &units_[found->second];
}

std::vector<std::string> Catalogue::Nearest(std::string_view name) const {
  std::vector<std::string> names;
  for (const UnitInfo& unit : units_) {
    if (unit.options.access() != unit::v1::INTERNAL) names.push_back(unit.name);
  }
  return aima::Nearest(name, names, 3);
}

Catalogue::Match Catalogue::FindView(std::string_view uri) const {
  const std::vector<std::string> segments =
      absl::StrSplit(absl::StripPrefix(absl::string_view(uri.data(), uri.size()), "asms://"), '/');
  Match best;
  for (const ViewInfo& view : views_) {
    if (view.segments.size() != segments.size()) continue;
    Match match;
    match.view = &view;
    bool fits = true;
    for (size_t i = 0; fits && i < segments.size(); ++i) {
      const std::string& pattern = view.segments[i];
      if (pattern.size() > 2 && pattern.front() == '{' && pattern.back() == '}') {
        fits = !segments[i].empty();
        match.variables.emplace_back(pattern.substr(1, pattern.size() - 2), segments[i]);
      } else {
        fits = pattern == segments[i];
      }
    }
    // asms://alerts/active is an address of its own, even where asms://alerts/{id} would fit too.
    if (fits && (!best.view || match.variables.size() < best.variables.size())) best = std::move(match);
  }
  return best;
}

std::unique_ptr<google::protobuf::Message> Catalogue::New(const Descriptor& type) const {
  return std::unique_ptr<google::protobuf::Message>(factory_.GetPrototype(&type)->New());
}

}  // namespace aima
