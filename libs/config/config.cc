#include "libs/config/config.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/strip.h>
#include <pwd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "libs/base/status_macros.h"
#include "libs/config/message_reader.h"
#include "libs/config/yaml_tree.h"
#include "libs/errors/errors.h"
#include "libs/unit/rules.h"

namespace aima::config {
namespace {

namespace fs = std::filesystem;

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kMaxFileBytes + 1, '\0');
  if (file) file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file && !file.eof()) {
    return InvalidInput(path, absl::StrCat("cannot be read: ", std::strerror(errno)));
  }
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

std::string Home() {
  if (const char* home = std::getenv("HOME"); home && *home) return home;
  const passwd* user = getpwuid(getuid());
  return user ? user->pw_dir : "/";
}

// Absolute, with `~` expanded; empty stays empty.
std::string Expand(const std::string& path) {
  if (path.empty()) return path;
  fs::path expanded = path;
  if (path == "~" || path.starts_with("~/")) expanded = Home() + path.substr(1);
  std::error_code error;
  const fs::path absolute = fs::absolute(expanded, error);
  std::string text = (error ? expanded : absolute).lexically_normal().string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

// Fills in what depends on other settings.
void ResolvePaths(v1::Config& config) {
  v1::General& general = *config.mutable_general();
  general.set_data_dir(Expand(general.data_dir()));
  v1::Model& model = *config.mutable_model();
  model.set_storage_dir(model.storage_dir().empty() ? general.data_dir() + "/models"
                                                    : Expand(model.storage_dir()));
  for (std::string& root : *model.mutable_import_roots()) root = Expand(root);
  v1::Logging& logging = *config.mutable_logging();
  logging.set_file(Expand(logging.file()));
  if (!logging.dir().empty()) {
    logging.set_dir(Expand(logging.dir()));
  } else if (!logging.file().empty()) {
    logging.set_dir(fs::path(logging.file()).parent_path().string());
  } else {
    logging.set_dir(general.data_dir() + "/logs");
  }
  v1::Api& api = *config.mutable_api();
  api.set_tls_cert(Expand(api.tls_cert()));
  api.set_tls_key(Expand(api.tls_key()));
}

// Every section is there, so that code may read any of them.
void AddSections(v1::Config& config) {
  const google::protobuf::Descriptor& type = *config.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) config.GetReflection()->MutableMessage(&config, type.field(i));
}

}  // namespace

absl::StatusOr<v1::Config> Load(const Sources& sources) {
  v1::Config config;
  MessageReader reader;
  if (!sources.file.empty()) {
    ASSIGN_OR_RETURN(const std::string text, ReadFile(sources.file));
    const absl::StatusOr<YamlNode> tree = ParseYaml(text);
    if (!tree.ok()) {
      return InvalidInput(sources.file, absl::string_view(tree.status().message()));
    }
    reader.Read(*tree, config);
  }
  if (const char* data_dir = std::getenv("AIMA_DATA_DIR"); data_dir && *data_dir) {
    config.mutable_general()->set_data_dir(data_dir);
  }
  for (const std::string& set : sources.sets) reader.Set(set, config);
  if (!reader.violations.empty()) return InvalidInput(std::move(reader.violations));

  AddSections(config);
  ApplyDefaults(config);
  std::vector<FieldViolation> broken = BrokenRules(config);
  for (FieldViolation& violation : broken) {
    violation.description = reader.Locate(violation.field, violation.description);
  }
  if (config.general().data_dir().empty()) broken.push_back({"general.data_dir", "must not be empty"});
  if (!broken.empty()) return InvalidInput(std::move(broken));
  ResolvePaths(config);
  return config;
}

}  // namespace aima::config
