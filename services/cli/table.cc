#include "services/cli/table.h"

#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <absl/time/time.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "services/cli/terminal.h"

namespace aima::cli {
namespace {

constexpr size_t kGap = 2;
constexpr size_t kNarrow = 6;  // a column is cut to no less while another can give

// Takes from the widest columns until the table fits. The first names the row: it gives when nobody else can.
void Shrink(std::vector<size_t>& widths, size_t room) {
  const auto total = [&] {
    size_t sum = widths.empty() ? 0 : (widths.size() - 1) * kGap;
    for (const size_t width : widths) sum += width;
    return sum;
  };
  while (total() > room) {
    size_t widest = 0;
    for (size_t i = 1; i < widths.size(); ++i) {
      if (widths[i] > kNarrow && (widest == 0 || widths[i] > widths[widest])) widest = i;
    }
    if (widths.empty() || widths[widest] <= kNarrow) return;
    --widths[widest];
  }
}

}  // namespace

TableStyle TableStyle::ForOutput(bool heading) {
  return {.width = CurrentAppearance().cut ? TerminalWidth(STDOUT_FILENO) : 0,
          .colours = HasColours(STDOUT_FILENO),
          .heading = heading};
}

std::string FormatTable(const std::vector<std::vector<std::string>>& rows) {
  return FormatTable(rows, TableStyle::ForOutput());
}

std::string FormatTable(std::vector<std::vector<std::string>> rows, const TableStyle& style) {
  std::vector<size_t> widths;
  for (const std::vector<std::string>& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], DisplayWidth(row[i]));
  }
  if (style.width > 0) {
    Shrink(widths, style.width);
    // Columns for which there is no room at all are left out, from the right: -o wide shows them.
    size_t used = 0, kept = 0;
    for (const size_t width : widths) {
      used += width + (kept > 0 ? kGap : 0);
      if (used > style.width && kept > 1) break;
      ++kept;
    }
    for (std::vector<std::string>& row : rows) row.resize(std::min(row.size(), kept));
  }
  std::string text;
  for (size_t r = 0; r < rows.size(); ++r) {
    std::string line;
    size_t used = 0;
    for (size_t i = 0; i < rows[r].size(); ++i) {
      const size_t room = style.width == 0 ? widths[i] : std::min(widths[i], style.width - std::min(used, style.width));
      std::string cell = CutTo(rows[r][i], room);
      const size_t width = DisplayWidth(cell);
      if (style.colours && !cell.empty()) {
        const Colour colour = style.heading && r == 0 ? Colour::kBold : ColourOfState(cell);
        cell = Painted(cell, colour, STDOUT_FILENO);
      }
      line += cell;
      used += widths[i] + kGap;
      if (i + 1 < rows[r].size() && (style.width == 0 || used < style.width))
        line.append(widths[i] - width + kGap, ' ');
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

std::string RelativeTime(const std::string& text) {
  absl::Time time;
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, text, &time, &error)) return text;
  const double seconds = absl::ToDoubleSeconds(absl::Now() - time);
  const double far = std::abs(seconds);
  if (far < 5) return "just now";
  struct Step {
    double seconds;
    const char* name;
  };
  constexpr Step kSteps[] = {{365 * 86400.0, "year"}, {30 * 86400.0, "month"}, {7 * 86400.0, "week"}, {86400.0, "day"},
                             {3600.0, "hour"},        {60.0, "minute"},        {1.0, "second"}};
  for (const Step& step : kSteps) {
    if (far < step.seconds) continue;
    const long count = static_cast<long>(far / step.seconds);
    const std::string amount = absl::StrCat(count, " ", step.name, count == 1 ? "" : "s");
    return seconds > 0 ? amount + " ago" : "in " + amount;
  }
  return text;
}

}  // namespace aima::cli
