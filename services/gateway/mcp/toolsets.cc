#include "services/gateway/mcp/toolsets.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>

#include <algorithm>
#include <set>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"

namespace aima::gateway::mcp {
namespace {

constexpr size_t kMaxSelection = 4000;

bool Names(const Tool& tool, std::string_view word) {
  return word == tool.domain || word == tool.name || word == tool.label ||
         std::find(tool.aliases.begin(), tool.aliases.end(), word) != tool.aliases.end();
}

}  // namespace

Toolsets::Toolsets(std::vector<const Tool*> tools, std::string configured)
    : tools_(std::move(tools)), configured_(std::move(configured)) {
  std::sort(tools_.begin(), tools_.end(), [](const Tool* a, const Tool* b) { return a->name < b->name; });
  std::set<std::string> domains;
  for (const Tool* tool : tools_) domains.insert(tool->domain);
  domains_.assign(domains.begin(), domains.end());
}

bool Toolsets::Mark(std::string_view word, std::vector<bool>& marks) const {
  bool any = word == "all";
  for (size_t i = 0; i < tools_.size(); ++i) {
    if (word != "all" && !Names(*tools_[i], word)) continue;
    marks[i] = true;
    any = true;
  }
  return any;
}

absl::Status Toolsets::Apply(std::string_view selection, int depth, std::vector<bool>& chosen,
                             std::vector<bool>& excluded, bool& any, bool& read_only) const {
  for (absl::string_view part : absl::StrSplit(absl::string_view(selection.data(), selection.size()), ',')) {
    absl::string_view word = absl::StripAsciiWhitespace(part);
    if (word.empty()) continue;
    if (word == "read-only" || word == "readonly") {
      read_only = true;
      continue;
    }
    if (word == "default" && depth == 0) {
      any = true;
      RETURN_IF_ERROR(Apply(configured_, 1, chosen, excluded, any, read_only));
      continue;
    }
    const bool without = word.front() == '-';
    if (without) word.remove_prefix(1);
    if (!without) any = true;
    // What the configuration names may belong to a service that is not part of this cluster.
    if (!Mark(std::string_view(word.data(), word.size()), without ? excluded : chosen) && depth == 0) {
      return InvalidInput("toolsets", absl::StrCat("'", word.substr(0, 100), "' is no toolset; there are default, all, read-only, ",
                                                   absl::StrJoin(domains_, ", "), ", and the names of tools"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<const Tool*>> Toolsets::Select(std::string_view selection) const {
  if (selection.size() > kMaxSelection) return InvalidInput("toolsets", "is too long");
  std::vector<bool> chosen(tools_.size()), excluded(tools_.size());
  bool any = false;
  bool read_only = false;
  RETURN_IF_ERROR(Apply(selection.empty() ? "default" : selection, 0, chosen, excluded, any, read_only));
  std::vector<const Tool*> tools;
  for (size_t i = 0; i < tools_.size(); ++i) {
    if ((chosen[i] || !any) && !excluded[i] && (!read_only || tools_[i]->read_only)) tools.push_back(tools_[i]);
  }
  return tools;
}

}  // namespace aima::gateway::mcp
