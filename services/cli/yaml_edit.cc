#include "services/cli/yaml_edit.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>

#include <vector>

#include "libs/base/status_macros.h"
#include "libs/config/yaml_tree.h"
#include "services/cli/command_line.h"

namespace aima::cli {
namespace {

using config::YamlNode;

const YamlNode* Member(const YamlNode& map, const std::string& key) {
  for (const YamlNode& item : map.items) {
    if (item.key == key) return &item;
  }
  return nullptr;
}

size_t Indent(const std::string& line) {
  const size_t first = line.find_first_not_of(' ');
  return first == std::string::npos ? 0 : first;
}

bool SaysNothing(const std::string& line) {
  const size_t first = line.find_first_not_of(" \t\r");
  return first == std::string::npos || line[first] == '#';
}

// Where the comment behind a value begins, with the spaces before it; the end of the line if there is none.
size_t CommentOf(const std::string& line, size_t from) {
  char quote = 0;
  for (size_t i = from; i < line.size(); ++i) {
    if (quote == '"' && line[i] == '\\') {
      ++i;
    } else if (quote != 0) {
      if (line[i] == quote) quote = 0;
    } else if ((line[i] == '"' || line[i] == '\'') && line.find_last_not_of(" [,:", i - 1) < i) {
      quote = line[i];
    } else if (line[i] == '#' && i > 0 && (line[i - 1] == ' ' || line[i - 1] == '\t')) {
      return line.find_last_not_of(" \t", i - 1) + 1;
    }
  }
  const size_t last = line.find_last_not_of(" \t\r");
  return last == std::string::npos ? line.size() : last + 1;
}

absl::Status InTheWay(int line, const std::string& what) {
  return WithRemedy(absl::FailedPreconditionError(absl::StrCat("line ", line, " ", what, "; nothing was changed")),
                    "Change it with an editor; `aima config validate` then says whether it is right.");
}

// The line behind the last one that belongs to what begins at `begin` with `indent` spaces.
size_t EndOf(const std::vector<std::string>& lines, size_t begin, size_t indent, bool list) {
  size_t end = begin + 1;
  for (size_t i = end; i < lines.size(); ++i) {
    if (SaysNothing(lines[i])) continue;
    const bool item = list && Indent(lines[i]) == indent && lines[i].substr(indent, 1) == "-";
    if (Indent(lines[i]) <= indent && !item) break;
    end = i + 1;
  }
  return end;
}

}  // namespace

absl::StatusOr<std::string> EditYaml(std::string_view text, const std::string& section, const std::string& key,
                                     const std::optional<std::string>& value) {
  ASSIGN_OR_RETURN(const YamlNode tree, config::ParseYaml(text));
  std::vector<std::string> lines = absl::StrSplit(absl::string_view(text.data(), text.size()), '\n');
  const bool ended = lines.back().empty();  // with a line end, as files do
  if (ended) lines.pop_back();
  const YamlNode* place = Member(tree, section);
  const YamlNode* setting = place ? Member(*place, key) : nullptr;
  const auto joined = [&] { return absl::StrCat(absl::StrJoin(lines, "\n"), lines.empty() ? "" : "\n"); };

  if (!setting && !value) return joined();
  if (!place) {
    if (!lines.empty() && !lines.back().empty()) lines.emplace_back();
    lines.push_back(section + ":");
    lines.push_back(absl::StrCat("  ", key, ": ", *value));
    return joined();
  }
  const auto section_line = static_cast<size_t>(place->line) - 1;
  if (section_line >= lines.size() || Indent(lines[section_line]) != 0) {
    return InTheWay(place->line, absl::StrCat("has the section ", section, " in a place of its own"));
  }
  if (place->kind == YamlNode::Kind::kMap && (place->items.empty() || place->items[0].line == place->line)) {
    return InTheWay(place->line, absl::StrCat("has the whole section ", section, " in braces"));
  }
  if (!setting) {
    const size_t indent = place->items.empty() ? 2 : Indent(lines[static_cast<size_t>(place->items[0].line) - 1]);
    const size_t at = EndOf(lines, section_line, 0, false);
    lines.insert(lines.begin() + static_cast<long>(at), absl::StrCat(std::string(indent, ' '), key, ": ", *value));
    return joined();
  }
  const auto line = static_cast<size_t>(setting->line) - 1;
  const size_t indent = Indent(lines[line]);
  const size_t colon = lines[line].find(':', indent);
  const std::string name(absl::StripAsciiWhitespace(lines[line].substr(indent, colon - indent)));
  if (colon == std::string::npos || (name != key && name != "\"" + key + "\"" && name != "'" + key + "'")) {
    return InTheWay(setting->line, absl::StrCat("has ", key, " in a form that is not `", key, ": value`"));
  }
  const size_t end = EndOf(lines, line, indent, setting->kind == YamlNode::Kind::kList);
  if (value) {
    const std::string comment = lines[line].substr(CommentOf(lines[line], colon + 1));
    lines[line] =
        absl::StrCat(lines[line].substr(0, colon + 1), " ", *value, absl::StripTrailingAsciiWhitespace(comment));
    lines.erase(lines.begin() + static_cast<long>(line) + 1, lines.begin() + static_cast<long>(end));
  } else {
    lines.erase(lines.begin() + static_cast<long>(line), lines.begin() + static_cast<long>(end));
    // A section without settings is no section.
    if (place->items.size() == 1) lines.erase(lines.begin() + static_cast<long>(section_line));
  }
  return joined();
}

}  // namespace aima::cli
