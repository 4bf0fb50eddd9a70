#include "services/cli/log_reader.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>
#include <absl/strings/strip.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "services/cli/files.h"
#include "services/cli/terminal.h"

namespace aima::cli {
namespace {

using nlohmann::ordered_json;

constexpr size_t kPiece = 16 << 20;  // more than a file holds before the next is begun

// Bytes of a file from `from` on, at most `most`.
std::string Bytes(const std::string& path, size_t from, size_t most) {
  std::ifstream file(path, std::ios::binary);
  if (!file.seekg(static_cast<std::streamoff>(from))) return "";
  std::string text(most, '\0');
  file.read(text.data(), static_cast<std::streamsize>(most));
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

// The whole lines of `text`; what follows the last one goes into `rest`.
std::vector<std::string> Lines(std::string text, std::string& rest) {
  const size_t end = text.rfind('\n');
  rest = end == std::string::npos ? text : text.substr(end + 1);
  text.resize(end == std::string::npos ? 0 : end);
  if (end == std::string::npos) return {};
  return absl::StrSplit(text, '\n');
}

// The object that a line is; null if it is none.
ordered_json AsObject(const std::string& line) {
  if (!line.starts_with('{')) return nullptr;
  ordered_json json = ordered_json::parse(line, nullptr, false);
  return json.is_object() ? json : ordered_json();
}

std::string Dump(const ordered_json& json) {
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace

LogLine ReadLogLine(std::string text, const std::string& process) {
  LogLine line{.text = std::move(text), .message = "", .time = std::nullopt};
  std::string stamp;
  size_t length = 0;  // of the time at the beginning of a line that is not JSON
  if (const ordered_json json = AsObject(line.text); json.is_object()) {
    for (const char* key : {"time", "ts", "timestamp"}) {
      if (stamp.empty() && json.contains(key) && json[key].is_string()) stamp = json[key];
    }
  } else {
    length = std::min(line.text.find(' '), line.text.size());
    stamp = line.text.substr(0, length);
  }
  absl::Time time;
  std::string error;
  const bool dated = line.text.size() > 23 && line.text[4] == '-';
  if (absl::ParseTime(absl::RFC3339_full, stamp, &time, &error)) {
    line.stamped = true;
  } else if (const size_t end = dated ? line.text.find(" [", 19) : std::string::npos;
             end != std::string::npos &&
             absl::ParseTime("%Y-%m-%d %H:%M:%E3S %Z", line.text.substr(0, end), &time, &error)) {
    line.stamped = true;  // as PostgreSQL writes it
    length = end;
  } else if (dated && absl::ParseTime("%Y-%m-%d %H:%M:%E3S", line.text.substr(0, 23), absl::UTCTimeZone(), &time,
                                      &error)) {
    line.stamped = true;
    length = 23;
  }
  if (line.stamped) line.time = time;
  const absl::string_view whole = line.text;
  absl::string_view message = line.stamped ? absl::StripLeadingAsciiWhitespace(whole.substr(length)) : whole;
  // Who says it is told by the file.
  if (line.stamped && !process.empty()) absl::ConsumePrefix(&message, process + ": ");
  line.message = std::string(message);
  return line;
}

std::vector<LogLine> ReadLogLines(std::vector<std::string> texts, const std::string& process) {
  std::vector<LogLine> lines;
  std::optional<absl::Time> time;
  for (std::string& text : texts) {
    LogLine line = ReadLogLine(std::move(text), process);
    if (line.time && !time) {
      for (LogLine& earlier : lines) earlier.time = line.time;
    }
    if (line.time) time = line.time;
    line.time = time;
    lines.push_back(std::move(line));
  }
  return lines;
}

std::string ForPeople(const LogLine& line, bool colours) {
  const ordered_json json = AsObject(line.text);
  if (!json.is_object() && !line.stamped) return Harmless(line.text, /*one_line=*/true);
  std::string level, message = line.message, more;
  if (json.is_object()) {
    message.clear();
    for (const auto& [key, value] : json.items()) {
      const std::string text = value.is_string() ? value.get<std::string>() : Dump(value);
      if (key == "level" || key == "severity") {
        level = Harmless(text, /*one_line=*/true);
      } else if (key == "message" || key == "msg") {
        message = text;
      } else if (key != "time" && key != "ts" && key != "timestamp" && key != "process" && !text.empty()) {
        absl::StrAppend(&more, "  ", key, "=", text);
      }
    }
  }
  const std::string time = line.stamped ? absl::FormatTime("%m-%d %H:%M:%E3S", *line.time, absl::LocalTimeZone()) : "";
  std::string padded = level + std::string(level.size() < 5 ? 5 - level.size() : 0, ' ');
  if (colours && (level == "error" || level == "fatal" || level == "critical"))
    padded = "\033[31m" + padded + "\033[0m";
  if (colours && (level == "warn" || level == "warning")) padded = "\033[33m" + padded + "\033[0m";
  return absl::StrCat(time, " ", padded, " ", Harmless(message + more, /*one_line=*/true));
}

std::string ForPrograms(const LogLine& line, const std::string& process) {
  if (AsObject(line.text).is_object()) return line.text;
  ordered_json json = ordered_json::object();
  if (line.time) json["time"] = absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", *line.time, absl::UTCTimeZone());
  json["process"] = process;
  json["message"] = line.message;
  return Dump(json);
}

std::vector<std::string> LogFile::Last(size_t lines) {
  const size_t size = FileSize(path_);
  const size_t from = size > kPiece ? size - kPiece : 0;
  const std::string text = Bytes(path_, from, size - from);
  offset_ = from + text.size();
  std::vector<std::string> found = Lines(text, rest_);
  if (from > 0 && !found.empty()) found.erase(found.begin());  // begins in the middle of a line
  if (found.size() < lines && from == 0) {
    const std::string old = path_ + ".1";
    const size_t old_size = FileSize(old);
    const size_t old_from = old_size > kPiece ? old_size - kPiece : 0;
    std::string ignored;
    std::vector<std::string> before = Lines(Bytes(old, old_from, old_size - old_from), ignored);
    found.insert(found.begin(), before.begin(), before.end());
  }
  if (found.size() > lines) found.erase(found.begin(), found.end() - static_cast<long>(lines));
  return found;
}

std::vector<std::string> LogFile::More() {
  const size_t size = FileSize(path_);
  if (size < offset_) {  // emptied, or a new file
    offset_ = 0;
    rest_.clear();
  }
  if (size <= offset_) return {};
  const std::string fresh = Bytes(path_, offset_, std::min(size - offset_, kPiece));
  offset_ += fresh.size();
  return Lines(rest_ + fresh, rest_);
}

}  // namespace aima::cli
