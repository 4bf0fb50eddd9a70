#include "services/cli/progress_display.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace aima::cli {

namespace {

using nlohmann::ordered_json;

constexpr size_t kBar = 24;
constexpr size_t kItemsMax = 8;
constexpr double kStep = 10;  // percent between two lines where no line can be redrawn

double NumberIn(const ordered_json& object, const char* field) {
  const auto found = object.find(field);
  return found != object.end() && found->is_number() ? found->get<double>() : 0;
}

std::string TextIn(const ordered_json& object, const char* field) {
  const auto found = object.find(field);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

std::string Bar(double percent) {
  const auto full = static_cast<size_t>(std::clamp(percent, 0.0, 100.0) / 100 * kBar);
  std::string bar = "[" + std::string(full, '=');
  if (full < kBar) bar += ">" + std::string(kBar - full - 1, ' ');
  return bar + "]";
}

// "12.3 MB of 40 MB  3.1 MB/s  0:09 left", as far as it is known.
std::string Figures(const ordered_json& of) {
  std::string text;
  if (NumberIn(of, "size") > 0) {
    text = absl::StrCat("  ", BytesText(NumberIn(of, "done")), " of ", BytesText(NumberIn(of, "size")));
  }
  if (NumberIn(of, "speed") > 0) absl::StrAppend(&text, "  ", BytesText(NumberIn(of, "speed")), "/s");
  if (NumberIn(of, "eta") > 0) absl::StrAppend(&text, "  ", DurationText(NumberIn(of, "eta")), " left");
  return text;
}

// No longer than the terminal is wide, and nothing in it that would move the cursor.
std::string Fitted(std::string line, size_t width) {
  std::erase_if(line, [](char c) { return static_cast<unsigned char>(c) < ' '; });
  if (width > 0 && line.size() >= width) {
    line.resize(width - 1);
    while (!line.empty() && (static_cast<unsigned char>(line.back()) & 0xc0) == 0x80) line.pop_back();
    if (!line.empty() && static_cast<unsigned char>(line.back()) >= 0xc0) line.pop_back();
  }
  return line;
}

size_t WidthOf(FILE* out) {
  winsize size{};
  return ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

}  // namespace

std::string BytesText(double bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "kB", "MB", "GB", "TB"};
  size_t unit = 0;
  while (bytes >= 999.5 && unit + 1 < kUnits.size()) {
    bytes /= 1000;
    ++unit;
  }
  return absl::StrFormat("%.*f %s", unit == 0 || bytes >= 99.95 ? 0 : 1, bytes, kUnits[unit]);
}

std::string DurationText(double seconds) {
  if (!(seconds < 360'000)) return "days";
  const auto whole = static_cast<int>(std::ceil(seconds));
  if (whole < 3600) return absl::StrFormat("%d:%02d", whole / 60, whole % 60);
  return absl::StrFormat("%d:%02d:%02d", whole / 3600, whole / 60 % 60, whole % 60);
}

std::vector<std::string> ProgressLines(const ordered_json& step, size_t width) {
  const double percent = NumberIn(step, "percent");
  const std::string bar = absl::StrFormat("%3.0f%% %s%s", std::floor(percent), Bar(percent), Figures(step));
  const std::string message = TextIn(step, "message");
  std::vector<std::string> lines;
  if (bar.size() + 2 + message.size() < width) {
    lines.push_back(Fitted(absl::StrCat(bar, "  ", message), width));
  } else {
    lines = {Fitted(message, width), Fitted(bar, width)};
  }
  const auto items = step.find("items");
  if (items == step.end() || !items->is_array() || items->size() < 2) return lines;
  for (const ordered_json& item : *items) {
    const double size = NumberIn(item, "size"), done = NumberIn(item, "done");
    if (!item.is_object() || done <= 0 || done >= size || lines.size() > kItemsMax) continue;
    lines.push_back(Fitted(absl::StrFormat("     %s %3.0f%%%s  %s", Bar(100 * done / size),
                                           std::floor(100 * done / size), Figures(item), TextIn(item, "name")),
                           width));
  }
  return lines;
}

void ProgressDisplay::Show(const ordered_json& step) {
  if (terminal_) {
    std::string text = lines_ > 1 ? absl::StrFormat("\r\033[%dA", lines_ - 1) : "\r";
    text += "\033[J";
    const std::vector<std::string> lines = ProgressLines(step, WidthOf(out_));
    for (size_t i = 0; i < lines.size(); ++i) absl::StrAppend(&text, i == 0 ? "" : "\n", lines[i]);
    lines_ = lines.size();
    fputs(text.c_str(), out_);
    fflush(out_);
    return;
  }
  const double percent = NumberIn(step, "percent");
  const std::string message = TextIn(step, "message");
  const bool last = step.contains("result") && step["result"].is_object();
  if (message == last_message_ && percent < last_percent_ + kStep && !last) return;
  last_message_ = message;
  last_percent_ = percent;
  fputs(absl::StrFormat("%3.0f%% %s%s\n", std::floor(percent), message, Figures(step)).c_str(), out_);
  fflush(out_);
}

void ProgressDisplay::End() {
  if (lines_ > 0) fputs("\n", out_);
  lines_ = 0;
}

}  // namespace aima::cli
