#include "services/cli/json_changes.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <map>

#include "services/cli/terminal.h"

namespace aima::cli {
namespace {

using nlohmann::ordered_json;

std::string Short(const ordered_json& value) {
  const std::string text =
      value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  return Harmless(text, /*one_line=*/true);
}

std::string KeyOf(const ordered_json& item) {
  for (const auto& [key, value] : item.items()) {
    if (value.is_string()) return value.get<std::string>();
  }
  return "";
}

// The items of a list by their keys; empty if these do not tell them apart.
std::map<std::string, const ordered_json*> Keyed(const ordered_json& list) {
  std::map<std::string, const ordered_json*> keyed;
  for (const ordered_json& item : list) {
    if (!item.is_object() || KeyOf(item).empty() || !keyed.emplace(KeyOf(item), &item).second) return {};
  }
  return keyed;
}

void Compare(const std::string& path, const ordered_json& before, const ordered_json& now,
             std::vector<std::string>& lines) {
  if (before == now) return;
  if (before.is_object() && now.is_object()) {
    const std::string prefix = path.empty() ? "" : path + ".";
    for (const auto& [key, value] : now.items()) {
      const auto old = before.find(key);
      if (old == before.end()) {
        lines.push_back(absl::StrCat("+ ", prefix, key, ": ", Short(value)));
      } else {
        Compare(prefix + key, *old, value, lines);
      }
    }
    for (const auto& [key, value] : before.items()) {
      if (!now.contains(key)) lines.push_back(absl::StrCat("- ", prefix, key, ": ", Short(value)));
    }
    return;
  }
  if (before.is_array() && now.is_array()) {
    const auto old = Keyed(before), fresh = Keyed(now);
    if ((!old.empty() || before.empty()) && (!fresh.empty() || now.empty())) {
      for (const auto& [key, item] : fresh) {
        const auto found = old.find(key);
        const std::string place = absl::StrCat(path, "[", key, "]");
        if (found == old.end()) {
          lines.push_back(absl::StrCat("+ ", place, ": ", Short(*item)));
        } else {
          Compare(place, *found->second, *item, lines);
        }
      }
      for (const auto& [key, item] : old) {
        if (!fresh.contains(key)) lines.push_back(absl::StrCat("- ", path, "[", key, "]"));
      }
      return;
    }
  }
  lines.push_back(absl::StrCat(path.empty() ? "" : path + ": ", Short(before), " -> ", Short(now)));
}

}  // namespace

std::vector<std::string> Changes(const ordered_json& before, const ordered_json& now) {
  std::vector<std::string> lines;
  Compare("", before, now, lines);
  return lines;
}

}  // namespace aima::cli
