#include "services/cli/table.h"

#include <absl/strings/str_cat.h>

#include <algorithm>

namespace aima::cli {
namespace {

// Characters, not bytes: continuation bytes of UTF-8 take no room.
size_t Width(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(),
                                           [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

}  // namespace

std::string FormatTable(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const std::vector<std::string>& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Width(row[i]));
  }
  std::string text;
  for (const std::vector<std::string>& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line.append(widths[i] - Width(row[i]) + 2, ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&text, line, "\n");
  }
  return text;
}

std::string ShortDuration(double seconds) {
  const auto whole = [](double number) { return static_cast<long>(number); };
  if (seconds < 60) return absl::StrCat(whole(seconds), "s");
  if (seconds < 3600) return absl::StrCat(whole(seconds / 60), "m");
  if (seconds < 86400) return absl::StrCat(whole(seconds / 3600), "h");
  return absl::StrCat(whole(seconds / 86400), "d");
}

}  // namespace aima::cli
