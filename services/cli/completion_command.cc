// aima completion: scripts for shells, which ask `aima __complete` what may come next. It answers with lines "word TAB
// description"; the line ":files" says that files can stand there.
#include <algorithm>
#include <iostream>

#include "services/cli/commands.h"
#include "services/cli/completion.h"

namespace aima::cli {
namespace {

constexpr char kBash[] = R"sh(# Completion of aima for bash: source <(aima completion bash)
_aima() {
  local line=${COMP_LINE:0:COMP_POINT} current prefix='' reply files='' IFS=$' \t\n'
  local -a words
  # Bash takes words apart at : and =, aima does not.
  read -ra words <<<"$line"
  [[ $line == *[[:space:]] ]] && words+=('')
  current=${words[${#words[@]}-1]}
  [[ $current == *[:=]* ]] && prefix=${current%"${current##*[:=]}"}
  COMPREPLY=()
  while IFS= read -r reply; do
    if [[ $reply == :files ]]; then
      files=yes
    else
      reply=${reply%%$'\t'*}
      # What a shell would read as more than a word reaches the line quoted.
      [[ $reply == *[!A-Za-z0-9_./:=@%+,-]* ]] && printf -v reply %q "$reply"
      COMPREPLY+=("${reply#"$prefix"}")
    fi
  done < <("${words[0]}" __complete -- "${words[@]:1}" 2>/dev/null)
  [[ $files ]] && compopt -o default
  [[ ${COMPREPLY[0]} == *[=./] ]] && compopt -o nospace
  return 0
}
complete -F _aima aima
)sh";

constexpr char kZsh[] = R"sh(#compdef aima
# Completion of aima for zsh: aima completion zsh > a folder of $fpath, as _aima; or source <(aima completion zsh)
_aima() {
  local reply word what files=''
  local -a values texts open open_texts
  while IFS= read -r reply; do
    if [[ $reply == :files ]]; then
      files=yes
      continue
    fi
    word=${reply%%$'\t'*} what=${reply#*$'\t'}
    [[ $what == $reply ]] && what=''
    if [[ $word == *[=./] ]]; then
      open+=("$word") open_texts+=("$word${what:+  -- $what}")
    else
      values+=("$word") texts+=("$word${what:+  -- $what}")
    fi
  done < <("${words[1]}" __complete -- "${(@)words[2,$CURRENT]}" 2>/dev/null)
  (( $#values )) && compadd -l -d texts -a values
  (( $#open )) && compadd -l -S '' -d open_texts -a open
  [[ -n $files ]] && _files
  (( $#values + $#open )) || [[ -n $files ]]
}
if [[ $funcstack[1] == _aima ]]; then
  _aima "$@"
elif (( $+functions[compdef] )); then
  compdef _aima aima
fi
)sh";

constexpr char kFish[] = R"sh(# Completion of aima for fish: aima completion fish > ~/.config/fish/completions/aima.fish
function __aima_complete
  set -l words (commandline -opc)
  set -l current (commandline -ct)
  for reply in ($words[1] __complete -- $words[2..-1] $current 2>/dev/null)
    if test "$reply" = :files
      __fish_complete_path $current
    else
      echo $reply
    end
  end
end
complete -c aima -f -a '(__aima_complete)'
)sh";

}  // namespace

absl::Status CompletionCommand(Session& session) {
  const std::string shell = session.arguments.Next().value_or("");
  for (const auto& [name, script] : {std::pair{"bash", kBash}, std::pair{"zsh", kZsh}, std::pair{"fish", kFish}}) {
    if (shell != name) continue;
    std::cout << script << std::flush;
    return absl::OkStatus();
  }
  return UsageOf(*session.command, "needs a shell: bash, zsh or fish");
}

absl::Status CompleteCommand(Session& session) {
  std::vector<std::string> words = session.arguments.words();
  if (!words.empty() && words.front() == "--") words.erase(words.begin());
  bool files = false;
  const auto control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  for (const Candidate& candidate : Candidates(session, std::move(words), files)) {
    if (std::any_of(candidate.word.begin(), candidate.word.end(), control)) continue;
    std::cout << candidate.word;
    if (!candidate.what.empty()) std::cout << '\t' << candidate.what;
    std::cout << '\n';
  }
  if (files) std::cout << ":files\n";
  std::cout << std::flush;
  return absl::OkStatus();
}

}  // namespace aima::cli
