#include "services/cli/yaml_edit.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "libs/base/status_macros.h"
#include "libs/config/yaml_tree.h"
#include "libs/unit/json_codec.h"
#include "services/cli/command_line.h"

namespace aima::cli {
namespace {

using config::YamlNode;
using Lines = std::vector<std::string>;

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

// The entries of a list that stands in lines of its own.
struct Entry {
  std::string text;
  Lines before;  // that say nothing: comments, empty ones
  Lines lines;
};

// Each entry behind a dash of its own.
bool IsInLines(const Lines& lines, const YamlNode& list) {
  return list.kind == YamlNode::Kind::kList && !list.items.empty() &&
         std::all_of(list.items.begin(), list.items.end(), [&](const YamlNode& item) {
           const std::string& line = lines[static_cast<size_t>(item.line) - 1];
           return item.line > list.line && line.substr(Indent(line), 1) == "-";
         });
}

std::vector<Entry> EntriesOf(const Lines& lines, const YamlNode& list, size_t end) {
  std::vector<Entry> entries;
  auto begin = static_cast<size_t>(list.line);  // behind the key
  for (size_t i = 0; i < list.items.size(); ++i) {
    const auto at = static_cast<size_t>(list.items[i].line) - 1;
    size_t behind = i + 1 < list.items.size() ? static_cast<size_t>(list.items[i + 1].line) - 1 : end;
    while (behind > at + 1 && SaysNothing(lines[behind - 1])) --behind;
    Entry entry{list.items[i].text, {}, {}};
    for (size_t line = begin; line < behind; ++line) (line < at ? entry.before : entry.lines).push_back(lines[line]);
    entries.push_back(std::move(entry));
    begin = behind;
  }
  return entries;
}

// The lines of such a list with other entries. One that was there before keeps its line, and every comment on a line of
// its own stays before what came after it.
Lines Rewritten(std::vector<Entry> entries, const YamlNode& wanted, size_t indent) {
  const auto is_wanted = [&](const Entry& entry) {
    return std::any_of(wanted.items.begin(), wanted.items.end(),
                       [&](const YamlNode& item) { return item.text == entry.text; });
  };
  Lines before;
  std::vector<Entry> kept;
  for (Entry& entry : entries) {
    before.insert(before.end(), entry.before.begin(), entry.before.end());
    if (!is_wanted(entry)) continue;
    entry.before = std::exchange(before, {});
    kept.push_back(std::move(entry));
  }
  Lines lines;
  for (const YamlNode& item : wanted.items) {
    const auto old = std::find_if(kept.begin(), kept.end(), [&](const Entry& one) { return one.text == item.text; });
    if (old != kept.end()) {
      lines.insert(lines.end(), old->before.begin(), old->before.end());
      lines.insert(lines.end(), old->lines.begin(), old->lines.end());
      kept.erase(old);
    } else {
      std::string text;
      AppendJsonString(item.text, text);
      lines.push_back(absl::StrCat(std::string(indent, ' '), "- ", text));
    }
  }
  for (const Entry& twice : kept) lines.insert(lines.end(), twice.before.begin(), twice.before.end());
  lines.insert(lines.end(), before.begin(), before.end());
  return lines;
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
  YamlNode wanted;
  if (value) {
    ASSIGN_OR_RETURN(const YamlNode parsed, config::ParseYaml(absl::StrCat("wanted: ", *value)));
    wanted = parsed.items[0];
  }
  if (wanted.kind == YamlNode::Kind::kList && IsInLines(lines, *setting)) {
    const size_t item_indent = Indent(lines[static_cast<size_t>(setting->items[0].line) - 1]);
    const Lines rewritten = Rewritten(EntriesOf(lines, *setting, end), wanted, item_indent);
    // A list without entries has no lines that begin with a dash.
    if (wanted.items.empty()) lines[line].insert(CommentOf(lines[line], colon + 1), " []");
    lines.erase(lines.begin() + static_cast<long>(line) + 1, lines.begin() + static_cast<long>(end));
    lines.insert(lines.begin() + static_cast<long>(line) + 1, rewritten.begin(), rewritten.end());
  } else if (value) {
    for (size_t i = line + 1; i < end; ++i) {
      if (lines[i].find('#', CommentOf(lines[i], 0)) == std::string::npos) continue;
      return InTheWay(setting->line, absl::StrCat("begins ", key, ", which has comments in its further lines"));
    }
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
