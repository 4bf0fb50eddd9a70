#include "services/gateway/mcp/prompts.h"

#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_replace.h>
#include <absl/strings/str_split.h>
#include <spdlog/spdlog.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <filesystem>

#include "services/gateway/mcp/field_values.h"

namespace aima::gateway::mcp {
namespace {

namespace fs = std::filesystem;

// A line that names an argument which was not given says nothing, and is left out.
std::string WithoutEmptyLines(const std::string& text, const std::vector<std::pair<std::string, std::string>>& values) {
  std::vector<std::string> lines;
  for (const absl::string_view part : absl::StrSplit(text, '\n')) {
    std::string line(part);
    const bool empty = std::any_of(values.begin(), values.end(), [&](const auto& value) {
      return value.second.empty() && absl::StrContains(line, value.first);
    });
    const bool second_blank = line.empty() && !lines.empty() && lines.back().empty();
    if (!empty && !second_blank) lines.push_back(std::move(line));
  }
  return absl::StrJoin(lines, "\n");
}

std::string Text(const YAML::Node& node, const char* key) { return node[key] ? node[key].as<std::string>() : ""; }

}  // namespace

absl::StatusOr<PromptSource::File> PromptSource::ReadFile(const std::string& path) {
  File file;
  try {
    const YAML::Node node = YAML::LoadFile(path);
    file = {Text(node, "name"), Text(node, "title"), Text(node, "description"), Text(node, "text"), {}};
    for (const YAML::Node& argument : node["arguments"]) {
      file.arguments.push_back({Text(argument, "name"), Text(argument, "description"),
                                argument["required"] && argument["required"].as<bool>(), Text(argument, "values")});
    }
  } catch (const YAML::Exception& exception) {
    return absl::InvalidArgumentError(exception.what());
  }
  if (file.name.empty() || file.text.empty()) return absl::InvalidArgumentError("a prompt needs a name and a text");
  return file;
}

PromptSource::PromptSource(const std::string& folder, const Catalogue& catalogue, UnitRunner& runner)
    : catalogue_(catalogue), runner_(runner) {
  std::error_code ignored;
  std::vector<std::string> paths;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    if (entry.path().extension() == ".yaml") paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths) {
    absl::StatusOr<File> file = ReadFile(path);
    if (!file.ok()) {
      spdlog::error("the prompt {} is left out: {}", path, std::string(file.status().message()));
      continue;
    }
    nlohmann::ordered_json entry = {{"name", file->name}, {"title", file->title}, {"description", file->description}};
    entry["arguments"] = nlohmann::ordered_json::array();
    for (const Argument& argument : file->arguments) {
      entry["arguments"].push_back(
          {{"name", argument.name}, {"description", argument.description}, {"required", argument.required}});
    }
    prompts_.push_back({file->name, unit::v1::READ, entry.dump()});
    files_[file->name] = *std::move(file);
  }
}

Task<Outcome> PromptSource::GetPrompt(Call& call, const Prompt& prompt, const Input& input) {
  const File& file = files_.at(prompt.name);
  std::vector<std::pair<std::string, std::string>> values;
  for (const Argument& argument : file.arguments) {
    const std::string given = TextMember(input.arguments, argument.name);
    if (given.empty() && argument.required) {
      co_return Outcome::Failure(kInvalidParams, absl::StrCat("the argument ", argument.name, " is required"));
    }
    values.emplace_back(absl::StrCat("{", argument.name, "}"), given);
  }
  json result = {{"description", file.description}};
  result["messages"] = json::array();
  result["messages"].push_back(
      {{"role", "user"}, {"content", {{"type", "text"}, {"text", absl::StrReplaceAll(WithoutEmptyLines(file.text, values), values)}}}});
  co_return Outcome::Result(Dump(result));
}

Task<Completion> PromptSource::CompleteArgument(Call& call, const Prompt& prompt, const std::string& name,
                                                const std::string& begun) {
  Completion completion;
  for (const Argument& argument : files_.at(prompt.name).arguments) {
    const size_t dot = argument.values.rfind('.');
    const UnitInfo* unit = dot == std::string::npos ? nullptr : catalogue_.Find(argument.values.substr(0, dot));
    if (argument.name != name || !unit) continue;
    completion.values = co_await FieldValues(catalogue_, runner_, call, *unit, argument.values.substr(dot + 1), begun);
  }
  co_return completion;
}

}  // namespace aima::gateway::mcp
