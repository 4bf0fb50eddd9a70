// aima completion: scripts for shells, which ask `aima complete` what may come next.
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <iostream>

#include "services/cli/commands.h"
#include "services/cli/gateway_client.h"
#include "services/cli/schema_flags.h"
#include "services/cli/session.h"

namespace aima::cli {
namespace {

using nlohmann::ordered_json;

constexpr char kBash[] = R"sh(_aima() {
  local IFS=$'\n'
  COMPREPLY=($(aima complete -- "${COMP_WORDS[@]:1:$COMP_CWORD}" 2>/dev/null))
  [[ ${COMPREPLY[0]} == *[=.] ]] && compopt -o nospace
}
complete -o default -F _aima aima
)sh";

constexpr char kZsh[] = R"sh(#compdef aima
_aima() {
  local -a words_
  words_=(${(f)"$(aima complete -- "${(@)words[2,$CURRENT]}" 2>/dev/null)"})
  compadd -a words_ || _files
}
compdef _aima aima
)sh";

std::vector<std::string> UnitNames(Session& session, GatewayClient& client) {
  const absl::StatusOr<ordered_json> data = Await(session.loop, client.Get("units", absl::Seconds(2)));
  std::vector<std::string> names;
  if (!data.ok()) return names;
  for (const ordered_json& unit : data->value("units", ordered_json::array())) {
    if (unit.is_object() && unit.contains("name")) names.push_back(unit["name"].get<std::string>());
  }
  return names;
}

// What may stand in place of the last of `words`.
std::vector<std::string> Candidates(Session& session, const std::vector<std::string>& words) {
  if (words.size() <= 1) return CommandNames();
  const std::string& command = words[0];
  if (command == "key") {
    return words.size() == 2 ? std::vector<std::string>{"create", "list", "revoke"}
                             : std::vector<std::string>{"--role", "--name", "--expires"};
  }
  if (command == "completion") return {"bash", "zsh"};
  if (command == "events") {
    return words.size() == 2 ? std::vector<std::string>{"tail"} : std::vector<std::string>{"--type", "--after"};
  }
  if (command == "start") return {"--data-dir", "--config", "--set", "--foreground"};
  if (command == "stop") return {"--data-dir", "--keep-engines"};
  if (command != "exec" && command != "units") return {};
  auto client = GatewayClient::Connect(session.loop, session.globals);
  if (!client.ok()) return {};
  if (words.size() == 2) return UnitNames(session, **client);
  const absl::StatusOr<ordered_json> unit =
      Await(session.loop, (*client)->Get("units/" + words[1], absl::Seconds(2)));
  std::vector<std::string> flags = {"--input", "--timeout", "--async", "--output"};
  if (!unit.ok()) return flags;
  if (unit->value("streaming", false)) flags.push_back("--stream");
  for (const FlagHelp& flag : FlagsOf(unit->value("input_schema", ordered_json::object()))) {
    flags.push_back(flag.flag);
  }
  return flags;
}

}  // namespace

absl::Status CompletionCommand(Session& session) {
  const std::string shell = session.arguments.Next().value_or("");
  if (shell != "bash" && shell != "zsh") {
    return UsageError("aima completion needs a shell, bash or zsh: source <(aima completion bash)");
  }
  std::cout << (shell == "bash" ? kBash : kZsh);
  return absl::OkStatus();
}

absl::Status CompleteCommand(Session& session) {
  std::vector<std::string> words = session.arguments.words();
  if (!words.empty() && words.front() == "--") words.erase(words.begin());
  const std::string begun = words.empty() ? "" : words.back();
  for (const std::string& candidate : Candidates(session, words)) {
    if (candidate.starts_with(begun)) std::cout << candidate << "\n";
  }
  return absl::OkStatus();
}

}  // namespace aima::cli
