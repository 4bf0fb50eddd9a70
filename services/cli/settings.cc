#include "services/cli/settings.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>
#include <unistd.h>

#include <filesystem>
#include <map>

#include "libs/base/status_macros.h"
#include "libs/config/yaml_tree.h"
#include "libs/unit/catalogue.h"
#include "services/cli/environment.h"
#include "services/cli/files.h"
#include "services/cli/unit_description.h"

namespace aima::cli {
namespace {

// "section.key" with its value as it is written in lines of "section:" and "  key: value".
std::map<std::string, std::string> Flat(const std::string& yaml) {
  std::map<std::string, std::string> values;
  std::string section;
  for (const absl::string_view line : absl::StrSplit(yaml, '\n', absl::SkipEmpty())) {
    const size_t colon = line.find(':');
    if (colon == absl::string_view::npos || line[0] == '#') continue;
    if (line[0] != ' ') {
      section = std::string(line.substr(0, colon));
    } else {
      const absl::string_view key = line.substr(2, colon - 2);
      values[absl::StrCat(section, ".", key)] = std::string(line.substr(std::min(colon + 2, line.size())));
    }
  }
  return values;
}

// Comments of config.proto, which only the descriptors of the installation carry.
std::string Describe(const std::string& section, const std::string& key) {
  const Catalogue* catalogue = LocalCatalogue();
  const auto* type = catalogue ? catalogue->pool().FindMessageTypeByName("aima.config.v1.Config") : nullptr;
  const auto* part = type ? type->FindFieldByName(section) : nullptr;
  const auto* field = part && part->message_type() ? part->message_type()->FindFieldByName(key) : nullptr;
  return field ? CommentOf(*field) : "";
}

}  // namespace

std::string ConfigFileOf(const std::string& data_dir) { return data_dir + "/config.yaml"; }

absl::StatusOr<config::v1::Config> LoadSettings(const Globals& globals, const std::string& file) {
  config::Sources sources{.file = access(file.c_str(), F_OK) == 0 ? file : ""};
  if (globals.data_dir_given) sources.sets.push_back("general.data_dir=" + globals.data_dir);
  return config::Load(sources);
}

absl::StatusOr<std::vector<Setting>> Settings(const Globals& globals, const std::string& file) {
  ASSIGN_OR_RETURN(const config::v1::Config config, LoadSettings(globals, file));
  std::map<std::string, int> lines;
  if (access(file.c_str(), F_OK) == 0) {
    ASSIGN_OR_RETURN(const std::string text, ReadFile(file));
    ASSIGN_OR_RETURN(const config::YamlNode tree, config::ParseYaml(text));
    for (const config::YamlNode& section : tree.items) {
      for (const config::YamlNode& item : section.items) {
        if (item.kind != config::YamlNode::Kind::kNull) lines[section.key + "." + item.key] = item.line;
      }
    }
  }
  const std::map<std::string, std::string> values = Flat(config::ToYaml(config, /*with_secrets=*/true));
  std::vector<Setting> settings;
  const auto& type = *config.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const auto& section = *type.field(i);
    for (int k = 0; k < section.message_type()->field_count(); ++k) {
      const auto& field = *section.message_type()->field(k);
      Setting setting{.key = absl::StrCat(section.name(), ".", field.name())};
      const auto value = values.find(setting.key);
      if (value != values.end()) setting.value = value->second;
      setting.secret = RulesOf(field).secret();
      if (setting.secret && setting.value != "\"\"") setting.value.clear();
      setting.what = Describe(section.name(), field.name());
      const auto line = lines.find(setting.key);
      if (setting.key == "general.data_dir" && globals.data_dir_given) {
        setting.from = "--data-dir";
      } else if (setting.key == "general.data_dir" && !Variable("AIMA_DATA_DIR").empty()) {
        setting.from = "$AIMA_DATA_DIR";
      } else if (line != lines.end()) {
        setting.from = absl::StrCat(std::filesystem::path(file).filename().string(), ":", line->second);
      } else {
        setting.from = "default";
        setting.is_default = true;
      }
      settings.push_back(std::move(setting));
    }
  }
  return settings;
}

}  // namespace aima::cli
