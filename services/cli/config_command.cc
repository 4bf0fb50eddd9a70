// aima config: settings, where they come from, and their file.
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/ascii.h>
#include <absl/strings/str_split.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iostream>

#include "libs/base/nearest.h"
#include "libs/base/status_macros.h"
#include "libs/config/yaml_tree.h"
#include "libs/errors/errors.h"
#include "libs/unit/json_codec.h"
#include "libs/unit/quantity.h"
#include "libs/unit/catalogue.h"
#include "services/cli/cluster.h"
#include "services/cli/commands.h"
#include "services/cli/files.h"
#include "services/cli/output.h"
#include "services/cli/pid_file.h"
#include "services/cli/settings.h"
#include "services/cli/supervisor.h"
#include "services/cli/table.h"
#include "services/cli/yaml_edit.h"

namespace aima::cli {
namespace {

using nlohmann::ordered_json;

constexpr char kRemedy[] = "`aima config show` lists all keys, with -o wide also what they are.";

// Every wrong key of a file on a line of its own.
absl::Status Explain(const std::string& file, const absl::Status& status) {
  if (status.ok()) return status;
  const ErrorDetails details = DetailsOf(status);
  if (details.violations.empty()) return WithRemedy(status, kRemedy);
  std::vector<std::string> lines;
  ordered_json fields = ordered_json::array();
  for (const FieldViolation& violation : details.violations) {
    const bool of_file = violation.field == file;
    lines.push_back(of_file ? violation.description : absl::StrCat(violation.field, ": ", violation.description));
    fields.push_back({{"field", of_file ? "" : violation.field}, {"description", violation.description}});
  }
  const ordered_json error = {{"code", "INVALID_INPUT"},
                              {"message", absl::StrCat(file, " is not valid")},
                              {"details", {{"file", file}, {"fields", fields}}}};
  return WithErrorObject(
      WithRemedy(absl::InvalidArgumentError(absl::StrCat(file, " is not valid:\n  ", absl::StrJoin(lines, "\n  "))),
                 kRemedy),
      error.dump());
}

absl::StatusOr<Setting> Find(const std::vector<Setting>& settings, const std::string& key) {
  std::vector<std::string> names;
  for (const Setting& setting : settings) {
    if (setting.key == key) return setting;
    names.push_back(setting.key);
  }
  const std::vector<std::string> near = Nearest(key, names, 2);
  return WithRemedy(
      absl::NotFoundError(absl::StrCat("there is no setting ", key,
                                       near.empty() ? "" : "; did you mean " + absl::StrJoin(near, " or ") + "?")),
      kRemedy);
}

// Text as it is, everything else as YAML.
std::string Plain(const std::string& value) {
  const ordered_json json = ordered_json::parse(value, nullptr, false);
  return json.is_string() ? json.get<std::string>() : value;
}

std::string Shown(const Setting& setting) {
  return setting.secret && setting.value.empty() ? "(secret)" : setting.value;
}

// What the running cluster was started with, where that is something else.
std::vector<std::pair<std::string, std::string>> OtherwiseRunning(const Globals& globals,
                                                                  const std::vector<Setting>& settings) {
  std::vector<std::pair<std::string, std::string>> differences;
  const std::string file = EffectiveConfigFile(globals.data_dir);
  if (!SupervisorLock::IsHeld(SupervisorFile(globals.data_dir)) || access(file.c_str(), R_OK) != 0) return differences;
  const absl::StatusOr<std::vector<Setting>> running = Settings(globals, file);
  if (!running.ok()) return differences;
  for (size_t i = 0; i < settings.size(); ++i) {
    // The address of the private database is filled in when it starts.
    if ((*running)[i].value != settings[i].value && !settings[i].secret) {
      differences.emplace_back(settings[i].key, (*running)[i].value);
    }
  }
  return differences;
}

absl::Status Show(Session& session, const std::string& file) {
  const bool changed = session.arguments.Flag("changed");
  const std::optional<std::string> section = session.arguments.Next();
  RETURN_IF_ERROR(session.arguments.Done("config show"));
  const absl::StatusOr<std::vector<Setting>> all = Settings(session.globals, file);
  if (!all.ok()) return Explain(file, all.status());
  std::vector<Setting> settings = *all;
  if (section) {
    std::erase_if(settings, [&](const Setting& setting) {
      return setting.key != *section && !setting.key.starts_with(*section + ".");
    });
    if (settings.empty()) return Find(*all, *section).status();
  }
  const auto differences = OtherwiseRunning(session.globals, *all);
  if (changed) std::erase_if(settings, [](const Setting& setting) { return setting.is_default; });
  if (session.globals.output == "name") {
    for (const Setting& setting : settings) std::cout << setting.key << "\n";
  } else if (session.globals.output != "table") {
    ordered_json list = ordered_json::array();
    for (const Setting& setting : settings) {
      ordered_json item = {
          {"key", setting.key}, {"value", ordered_json::parse(setting.value, nullptr, false)}, {"from", setting.from}};
      if (item["value"].is_discarded()) item["value"] = setting.value;
      if (setting.secret) item["value"] = setting.value.empty() ? ordered_json("(secret)") : ordered_json("");
      for (const auto& [key, value] : differences) {
        if (key == setting.key) item["running"] = Plain(value);
      }
      list.push_back(std::move(item));
    }
    std::cout << Format({{"file", file}, {"settings", list}}, session.globals.output);
  } else {
    std::vector<std::vector<std::string>> rows = {{"KEY", "VALUE", "FROM"}};
    if (session.globals.wide) rows[0].emplace_back("WHAT IT IS");
    for (const Setting& setting : settings) {
      rows.push_back({setting.key, Shown(setting), setting.from});
      if (session.globals.wide) rows.back().push_back(setting.what);
    }
    std::cout << FormatTable(rows) << std::flush;
    if (!differences.empty()) {
      std::cerr
          << "\nThe running cluster was started with other values; `aima stop` and `aima start` take these over:\n";
      for (const auto& [key, value] : differences) std::cerr << "  " << key << ": " << value << "\n";
    }
  }
  return absl::OkStatus();
}

absl::Status Get(Session& session, const std::string& file) {
  const std::optional<std::string> key = session.arguments.Next();
  if (!key) return UsageOf(*session.command, "get needs a key, such as api.listen_addr");
  RETURN_IF_ERROR(session.arguments.Done("config get"));
  const absl::StatusOr<std::vector<Setting>> settings = Settings(session.globals, file);
  if (!settings.ok()) return Explain(file, settings.status());
  ASSIGN_OR_RETURN(const Setting setting, Find(*settings, *key));
  if (session.globals.output == "table") {
    std::cout << (setting.secret && setting.value.empty() ? "(secret)" : Plain(setting.value)) << "\n";
  } else {
    std::cout << Format({{"key", setting.key}, {"value", Plain(setting.value)}, {"from", setting.from}},
                        session.globals.output);
  }
  return absl::OkStatus();
}

const google::protobuf::FieldDescriptor* FieldOf(const std::string& key) {
  const size_t dot = key.find('.');
  const auto* section = config::v1::Config::descriptor()->FindFieldByName(key.substr(0, dot));
  return section ? section->message_type()->FindFieldByName(key.substr(dot + 1)) : nullptr;
}

// A bare number would be milliseconds in the file, and is seconds to most people.
absl::Status CheckUnit(const std::string& key, const std::string& value) {
  const auto* field = FieldOf(key);
  if (!field || RulesOf(*field).quantity() != unit::v1::MILLISECONDS || value == "0") return absl::OkStatus();
  const bool bare = value.find_first_not_of("0123456789.") == std::string::npos;
  if (!bare && ParseQuantity(value, unit::v1::MILLISECONDS).ok()) return absl::OkStatus();
  const std::string number = bare && !value.empty() ? value : "10";
  return WithRemedy(absl::InvalidArgumentError(absl::StrCat(key, " is a time and needs its unit: ", number, "s, ", number,
                                                            "m, ", number, "h or ", number, "ms; not '", value, "'")),
                    "Nothing was changed.");
}

// What is wrong with a file that was not written, without the lines that it would have had.
absl::Status WithoutLines(const absl::Status& status) {
  std::string text(status.message());
  constexpr std::string_view kLine = ": line ";
  for (size_t at = text.find(kLine); at != std::string::npos; at = text.find(kLine, at + 1)) {
    const size_t end = text.find_first_not_of("0123456789", at + kLine.size());
    if (end != std::string::npos && end > at + kLine.size() && text[end] == ':') text.erase(at, end - at);
  }
  return absl::Status(status.code(), text);
}

// The value as YAML on one line. Text is quoted, so that "on" and "1e3" stay what they are.
std::string YamlOf(const std::string& key, const std::string& value) {
  const auto* field = FieldOf(key);
  const auto quoted = [](const std::string& text) {
    std::string out;
    AppendJsonString(text, out);
    return out;
  };
  if (!field) return quoted(value);
  if (field->is_repeated()) {
    std::string text = value;
    if (text.starts_with('[') && text.ends_with(']')) text = text.substr(1, text.size() - 2);
    std::vector<std::string> items;
    for (const absl::string_view item : absl::StrSplit(text, ',', absl::SkipWhitespace())) {
      items.push_back(quoted(Plain(std::string(absl::StripAsciiWhitespace(item)))));
    }
    return absl::StrCat("[", absl::StrJoin(items, ", "), "]");
  }
  const bool text = field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_STRING;
  return text || RulesOf(*field).quantity() != unit::v1::QUANTITY_UNSPECIFIED ? quoted(value) : value;
}

absl::Status Change(Session& session, const std::string& named, const std::string& key,
                    const std::optional<std::string>& value) {
  // A link stays one.
  std::error_code unresolved;
  const std::filesystem::path resolved = std::filesystem::canonical(named, unresolved);
  const std::string file = unresolved ? named : resolved.string();
  const absl::StatusOr<std::vector<Setting>> before = Settings(session.globals, file);
  // A wrong file can be set right key by key, so only keys that are none end this.
  if (before.ok()) {
    RETURN_IF_ERROR(Find(*before, key).status());
  }
  if (value) RETURN_IF_ERROR(CheckUnit(key, *value));
  std::string text;
  const bool there = access(file.c_str(), F_OK) == 0;
  if (there) {
    ASSIGN_OR_RETURN(text, ReadFile(file));
  }
  const size_t dot = key.find('.');
  ASSIGN_OR_RETURN(const std::string edited,
                   EditYaml(text, key.substr(0, dot), key.substr(dot + 1),
                            value ? std::optional<std::string>(YamlOf(key, *value)) : std::nullopt));
  // A wrong key can be taken out of a file that has others; what is no YAML is never made.
  if (const auto yaml = config::ParseYaml(edited); !yaml.ok()) {
    return WithRemedy(yaml.status(), absl::StrCat(file, " was not changed: mend it by hand first."));
  }
  // Proven before it takes the place of the file: what cannot be started with is never written.
  const std::string draft = absl::StrCat(file, ".", getpid(), ".new");
  struct stat info = {};
  const mode_t mode = stat(file.c_str(), &info) == 0 ? info.st_mode & 0777 : 0600;
  RETURN_IF_ERROR(MakePrivateDirectory(session.globals.data_dir));
  RETURN_IF_ERROR(WriteFile(draft, edited, mode));
  const absl::StatusOr<std::vector<Setting>> after = Settings(session.globals, draft);
  unlink(draft.c_str());
  if (!after.ok() && before.ok()) return WithRemedy(WithoutLines(after.status()), absl::StrCat(file, " was not changed."));
  RETURN_IF_ERROR(WriteFile(file, edited, mode));
  if (!after.ok()) {
    std::cerr << "Written, but " << file << " is not valid yet; `aima config validate` says why.\n";
    return absl::OkStatus();
  }
  // With the lines of the file as it now is. What was no setting, and was taken out, is not among them.
  const absl::StatusOr<std::vector<Setting>> now = Settings(session.globals, file);
  RETURN_IF_ERROR(now.status());
  const absl::StatusOr<Setting> found = Find(*now, key);
  if (!found.ok()) {
    std::cout << key << " is no longer in " << file << "\n";
    return absl::OkStatus();
  }
  const Setting& setting = *found;
  if (session.globals.output == "table") {
    std::cout << key << ": " << Shown(setting) << "   (" << setting.from << ")\n";
  } else {
    std::cout << Format({{"key", key}, {"value", Plain(setting.value)}, {"from", setting.from}},
                        session.globals.output);
  }
  if (SupervisorLock::IsHeld(SupervisorFile(session.globals.data_dir))) {
    std::cerr << "The running cluster follows after `aima stop` and `aima start`.\n";
  }
  return absl::OkStatus();
}

absl::Status Validate(Session& session, const std::string& own) {
  const std::optional<std::string> given = session.arguments.Next();
  RETURN_IF_ERROR(session.arguments.Done("config validate"));
  const std::string file = given.value_or(own);
  if (access(file.c_str(), F_OK) != 0) {
    if (given) return absl::NotFoundError("there is no file " + file);
    std::cerr << "There is no " << file << "; every setting has its default.\n";
    return absl::OkStatus();
  }
  const absl::StatusOr<config::v1::Config> config = config::Load({.file = file});
  if (!config.ok()) return Explain(file, config.status());
  if (session.globals.output == "table") {
    std::cout << file << " is valid\n";
  } else {
    std::cout << Format({{"file", file}, {"valid", true}}, session.globals.output);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ConfigCommand(Session& session) {
  const std::string verb = session.arguments.Next().value_or("show");
  ASSIGN_OR_RETURN(const std::optional<std::string> given, session.arguments.Value("config"));
  const std::string file = given.value_or(ConfigFileOf(session.globals.data_dir));
  if (verb == "show") return Show(session, file);
  if (verb == "get") return Get(session, file);
  if (verb == "validate") return Validate(session, file);
  if (verb == "path") {
    RETURN_IF_ERROR(session.arguments.Done("config path"));
    std::cout << file << "\n";
    if (access(file.c_str(), F_OK) != 0) std::cerr << "It is not there: every setting has its default.\n";
    return absl::OkStatus();
  }
  if (verb != "set" && verb != "unset") return UsageOf(*session.command, absl::StrCat("knows no ", verb));
  std::optional<std::string> key = session.arguments.Next();
  std::optional<std::string> value;
  if (verb == "set") {
    value = session.arguments.Next();
    // aima config set section.key=value is meant as well.
    if (const size_t equals = key ? key->find('=') : std::string::npos; !value && equals != std::string::npos) {
      value = key->substr(equals + 1);
      key->resize(equals);
    }
    if (!key || !value) return UsageOf(*session.command, "set needs a key and a value");
  }
  if (!key) return UsageOf(*session.command, "unset needs a key");
  if (key->find('.') == std::string::npos) return UsageError(*key + " is not of the form section.key");
  RETURN_IF_ERROR(session.arguments.Done("config " + verb));
  return Change(session, file, *key, value);
}

}  // namespace aima::cli
