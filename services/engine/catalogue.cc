#include "services/engine/catalogue.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "libs/base/status_macros.h"
#include "libs/config/yaml_tree.h"
#include "libs/errors/errors.h"
#include "libs/unit/json_codec.h"
#include "libs/unit/rules.h"

namespace aima::engine {
namespace {

using config::YamlNode;
using nlohmann::json;

// Plain YAML scalars are what they look like; quoted ones are text.
json ScalarToJson(const YamlNode& node) {
  int64_t whole = 0;
  if (node.quoted) return node.text;
  if (node.text == "true") return true;
  if (node.text == "false") return false;
  if (absl::SimpleAtoi(node.text, &whole)) return whole;
  return node.text;
}

json ToJsonTree(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull: return nullptr;
    case YamlNode::Kind::kScalar: return ScalarToJson(node);
    case YamlNode::Kind::kList: {
      json list = json::array();
      for (const YamlNode& item : node.items) list.push_back(ToJsonTree(item));
      return list;
    }
    case YamlNode::Kind::kMap: {
      json map = json::object();
      for (const YamlNode& item : node.items) map[item.key] = ToJsonTree(item);
      return map;
    }
  }
  return nullptr;
}

}  // namespace

absl::StatusOr<v1::EngineSpec> ParseEngineSpec(std::string_view yaml) {
  const absl::StatusOr<YamlNode> tree = config::ParseYaml(yaml);
  if (!tree.ok()) return InvalidInput("file", tree.status().message());
  if (tree->kind != YamlNode::Kind::kMap) return InvalidInput("file", "must consist of keys and values");
  v1::EngineSpec spec;
  RETURN_IF_ERROR(ParseJson(ToJsonTree(*tree), spec));
  ApplyDefaults(spec);
  std::vector<FieldViolation> violations = BrokenRules(spec);
  if (spec.install().detect().empty() && !spec.install().has_python()) {
    violations.push_back({"install", "needs `detect` or `python`"});
  }
  if (!violations.empty()) return InvalidInput(std::move(violations));
  return spec;
}

absl::StatusOr<EngineCatalogue> EngineCatalogue::Load(const std::string& directory) {
  EngineCatalogue catalogue;
  catalogue.directory_ = directory;
  if (!std::filesystem::is_directory(directory)) {
    return absl::FailedPreconditionError(absl::StrCat("there is no directory ", directory));
  }
  RETURN_IF_ERROR(catalogue.Add(directory));
  return catalogue;
}

absl::Status EngineCatalogue::Add(const std::string& directory) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (!fs::exists(directory, error)) return absl::OkStatus();
  for (fs::directory_iterator file(directory, error), end; !error && file != end; file.increment(error)) {
    const fs::path& path = file->path();
    if (path.extension() != ".yaml") continue;
    std::ifstream stream(path, std::ios::binary);
    std::ostringstream text;
    text << stream.rdbuf();
    absl::StatusOr<v1::EngineSpec> spec = ParseEngineSpec(text.str());
    std::string problem = spec.ok() ? "" : std::string(spec.status().message());
    if (spec.ok() && spec->name() != path.stem()) problem = absl::StrCat("name: must be ", path.stem().string());
    if (!problem.empty()) return absl::FailedPreconditionError(absl::StrCat(path.string(), ": ", problem));
    engines_[spec->name()] = *std::move(spec);
  }
  if (error) return absl::FailedPreconditionError(absl::StrCat("cannot read ", directory, ": ", error.message()));
  return absl::OkStatus();
}

const v1::EngineSpec* EngineCatalogue::Find(const std::string& name) const {
  const auto found = engines_.find(name);
  return found == engines_.end() ? nullptr : &found->second;
}

}  // namespace aima::engine
