#include "services/cli/table.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>
#include <absl/time/clock.h>
#include <absl/time/time.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "services/cli/terminal.h"

namespace aima::cli {
namespace {

constexpr size_t kGap = 2;
constexpr size_t kNarrow = 10;  // a column that is cut to less tells nothing any more

// What a column is worth to who looks for a row: less is more.
enum Worth : size_t { kIdentity, kName, kState, kRest };

// By its heading: the id, else what ends with _ID, else the name, else the first column is what tells rows apart.
std::vector<Worth> WorthOf(const std::vector<std::string>& heading) {
  std::vector<Worth> worth(heading.size(), kRest);
  size_t identity = heading.size();
  const auto look = [&](auto fits) {
    for (size_t i = 0; identity == heading.size() && i < heading.size(); ++i) {
      if (fits(heading[i])) identity = i;
    }
  };
  look([](const std::string& text) { return text == "ID"; });
  look([](const std::string& text) { return text.ends_with("_ID"); });
  look([](const std::string& text) { return text == "NAME"; });
  look([](const std::string&) { return true; });
  for (size_t i = 0; i < heading.size(); ++i) {
    if (heading[i] == "NAME") worth[i] = kName;
    if (heading[i] == "STATE" || heading[i] == "STATUS") worth[i] = kState;
    if (i == identity) worth[i] = kIdentity;
  }
  return worth;
}

// How wide columns are shown; 0 is not at all. What tells rows apart is shown whole as long as it fits; of the others
// those are left out, from the right, for which there is no room at all, and the widest are cut.
std::vector<size_t> Fitted(const std::vector<size_t>& widths, const std::vector<Worth>& worth, size_t room) {
  std::vector<size_t> order;
  for (const Worth rank : {kIdentity, kName, kState, kRest}) {
    for (size_t i = 0; i < widths.size(); ++i) {
      if (worth[i] == rank) order.push_back(i);
    }
  }
  std::vector<size_t> shown(widths.size()), least(widths.size());
  size_t used = 0;
  for (const size_t i : order) {
    const size_t gap = used > 0 ? kGap : 0;
    const bool whole = worth[i] <= kName && used + gap + widths[i] <= room;
    least[i] = whole ? widths[i] : std::min(widths[i], worth[i] == kIdentity ? room : kNarrow);
    if (used > 0 && used + gap + least[i] > room) break;
    shown[i] = widths[i];
    used += gap + least[i];
  }
  const auto total = [&shown] {
    size_t sum = 0;
    for (const size_t width : shown) sum += width > 0 ? width + kGap : 0;
    return sum > 0 ? sum - kGap : 0;
  };
  while (total() > room) {
    // The first column gives when no other can.
    size_t widest = 0;
    for (size_t i = 1; i < shown.size(); ++i) {
      if (shown[i] > least[i] && (widest == 0 || shown[i] > shown[widest])) widest = i;
    }
    if (shown[widest] <= std::min<size_t>(least[widest], room)) break;
    --shown[widest];
  }
  return shown;
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
  if (style.width > 0 && !rows.empty()) {
    rows[0].resize(widths.size());
    const std::vector<size_t> shown =
        Fitted(widths, style.heading ? WorthOf(rows[0]) : std::vector<Worth>(widths.size(), kRest), style.width);
    for (std::vector<std::string>& row : rows) {
      size_t kept = 0;
      for (size_t i = 0; i < row.size(); ++i) {
        if (shown[i] > 0) std::swap(row[kept++], row[i]);
      }
      row.resize(kept);
    }
    widths = shown;
    std::erase(widths, size_t{0});
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

std::string Wrapped(const std::string& text, const std::string& indent) {
  const size_t terminal = TerminalWidth(STDOUT_FILENO);
  const size_t width = terminal > 30 && terminal < 100 ? terminal : 100;
  std::string out, line = indent;
  for (const absl::string_view word : absl::StrSplit(text, absl::ByAnyChar(" \n"), absl::SkipEmpty())) {
    if (line.size() > indent.size() && DisplayWidth(line) + 1 + word.size() > width) {
      absl::StrAppend(&out, line, "\n");
      line = indent;
    }
    absl::StrAppend(&line, line.size() > indent.size() ? " " : "", word);
  }
  return line.size() > indent.size() ? absl::StrCat(out, line, "\n") : out;
}

std::string TwoColumns(const std::vector<std::vector<std::string>>& rows) {
  size_t first = 0;
  for (const std::vector<std::string>& row : rows) first = std::max(first, DisplayWidth(row[0]));
  first = std::min<size_t>(first, 30) + 2;
  std::string text;
  for (const std::vector<std::string>& row : rows) {
    std::string rest = Wrapped(row.back(), std::string(first, ' '));
    const size_t width = DisplayWidth(row[0]);
    if (rest.empty()) rest = "\n";
    if (width + 2 <= first) {
      if (rest.size() >= first) rest.erase(0, width);
      absl::StrAppend(&text, row[0], rest);
    } else {
      absl::StrAppend(&text, row[0], "\n", rest);
    }
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
