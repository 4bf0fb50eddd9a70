#include "services/cli/environment.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>

namespace aima::cli {
namespace {

namespace fs = std::filesystem;

// The first of the directories, relative to `base`, that is there.
std::string FirstOf(const fs::path& base, const std::vector<const char*>& candidates) {
  std::error_code ignored;
  for (const char* candidate : candidates) {
    const fs::path path = (base / candidate).lexically_normal();
    if (fs::is_directory(path, ignored)) return path;
  }
  return "";
}

}  // namespace

Places FindPlaces() {
  std::error_code ignored;
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored);
  const fs::path folder = program.parent_path();
  Places places{.program = program};
  places.libexec = FirstOf(folder, {"../libexec/aima", "."});
  while (places.libexec.size() > 1 && places.libexec.back() == '/') places.libexec.pop_back();
  places.share = FirstOf(folder, {"../share/aima"});
  return places;
}

std::vector<std::string> EnvironmentWith(const std::map<std::string, std::string>& variables) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry; ++entry) {
    const std::string text = *entry;
    if (!variables.contains(text.substr(0, text.find('=')))) all.push_back(text);
  }
  for (const auto& [name, value] : variables) all.push_back(name + "=" + value);
  return all;
}

std::string Variable(const char* name, const std::string& otherwise) {
  const char* value = std::getenv(name);
  return value && *value ? value : otherwise;
}

}  // namespace aima::cli
