#include "services/engine/launch.h"

#include <absl/strings/str_cat.h>

#include <cstdlib>

#include "libs/base/status_macros.h"

namespace aima::engine {
namespace {

std::optional<std::string> ValueOf(const LaunchValues& values, std::string_view name) {
  if (name == "model_path") return values.model_path;
  if (name == "served_name") return values.served_name;
  if (name == "host") return values.host;
  if (name == "port") return absl::StrCat(values.port);
  if (name == "context_length") return absl::StrCat(values.context_length);
  if (name == "parallel") return absl::StrCat(values.parallel);
  if (name == "threads") return absl::StrCat(values.threads);
  if (name == "api_key") return values.api_key;
  if (name == "data_dir") return values.data_dir;
  return std::nullopt;
}

// One pass: what a value contains is never read as a placeholder.
absl::StatusOr<std::string> Fill(const std::string& text, const LaunchValues& values) {
  std::string filled;
  for (size_t at = 0; at < text.size();) {
    const size_t open = text.find('{', at);
    const size_t close = open == std::string::npos ? std::string::npos : text.find('}', open);
    if (close == std::string::npos) {
      filled += text.substr(at);
      break;
    }
    const std::string name = text.substr(open + 1, close - open - 1);
    const std::optional<std::string> value = ValueOf(values, name);
    if (!value) return absl::InternalError(absl::StrCat("'", text, "': there is no placeholder {", name, "}"));
    filled += text.substr(at, open - at) + *value;
    at = close + 1;
  }
  return filled;
}

const v1::ExitCode* FindExitCode(const v1::EngineSpec& spec, const process::Exit& exit) {
  for (const v1::ExitCode& code : spec.exit_codes()) {
    if (code.code() == exit.ShellCode()) return &code;
  }
  return nullptr;
}

}  // namespace

std::optional<std::string> ReadEnvironment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

std::vector<std::string> BasicEnvironment(const Environment& environment) {
  std::vector<std::string> variables;
  for (const char* name : {"PATH", "HOME", "LANG", "TMPDIR"}) {
    const std::optional<std::string> value = environment(name);
    if (value) variables.push_back(absl::StrCat(name, "=", *value));
  }
  return variables;
}

absl::StatusOr<process::Command> MakeCommand(const v1::EngineSpec& spec, const std::vector<std::string>& program,
                                             const LaunchValues& values, const Environment& environment) {
  process::Command command;
  command.argv = program;
  std::vector<std::string> args(spec.launch().args().begin(), spec.launch().args().end());
  for (const v1::ConditionalArgs& some : spec.launch().when()) {
    if (some.model_type() == values.model_type) args.insert(args.end(), some.args().begin(), some.args().end());
  }
  for (const std::string& arg : args) {
    ASSIGN_OR_RETURN(std::string filled, Fill(arg, values));
    command.argv.push_back(std::move(filled));
  }
  command.env = BasicEnvironment(environment);
  for (const std::string& name : spec.launch().pass_env()) {
    const std::optional<std::string> value = environment(name);
    if (value) command.env.push_back(absl::StrCat(name, "=", *value));
  }
  for (const auto& [name, value] : spec.launch().env()) {
    ASSIGN_OR_RETURN(const std::string filled, Fill(value, values));
    command.env.push_back(absl::StrCat(name, "=", filled));
  }
  return command;
}

std::string ExplainExit(const v1::EngineSpec& spec, const process::Exit& exit) {
  const v1::ExitCode* known = FindExitCode(spec, exit);
  return known ? absl::StrCat(exit.ToString(), ": ", known->meaning()) : exit.ToString();
}

bool MeansPortTaken(const v1::EngineSpec& spec, const process::Exit& exit) {
  const v1::ExitCode* known = FindExitCode(spec, exit);
  return known && known->port_taken();
}

}  // namespace aima::engine
