#include "libs/http/sse.h"

#include <algorithm>

namespace aima::http {

std::optional<std::string_view> SseParser::NextLine() {
  const size_t end = buffer_.find_first_of("\r\n", read_);
  if (end == std::string::npos) return std::nullopt;
  size_t next = end + 1;
  if (buffer_[end] == '\r') {
    if (next == buffer_.size()) return std::nullopt;  // its \n may still come
    if (buffer_[next] == '\n') ++next;
  }
  const std::string_view line(buffer_.data() + read_, end - read_);
  read_ = next;
  return line;
}

void SseParser::Field(std::string_view line) {
  const size_t colon = line.find(':');
  const std::string_view name = line.substr(0, colon);
  std::string_view value;
  if (colon != std::string_view::npos) {
    value = line.substr(colon + 1);
    if (!value.empty() && value.front() == ' ') value.remove_prefix(1);
  }
  if (name == "data") {
    if (has_data_) current_.data += '\n';
    current_.data += value;
    has_data_ = true;
  } else if (name == "event") {
    current_.event = value;
  } else if (name == "id" && value.find('\0') == std::string_view::npos) {
    current_.id = value;
  }
}

std::optional<SseEvent> SseParser::Next() {
  while (const std::optional<std::string_view> line = NextLine()) {
    if (!line->empty()) {
      Field(*line);
      continue;
    }
    if (!has_data_) {
      current_.event.clear();
      continue;
    }
    SseEvent event = std::move(current_);
    current_ = {};
    current_.id = event.id;
    has_data_ = false;
    return event;
  }
  buffer_.erase(0, read_);
  read_ = 0;
  return std::nullopt;
}

std::string FormatSse(std::string_view event, std::string_view data, std::string_view id) {
  std::string text;
  text.reserve(data.size() + event.size() + id.size() + 32);
  if (!event.empty()) text.append("event: ").append(event).append("\n");
  if (!id.empty()) text.append("id: ").append(id).append("\n");
  while (true) {
    const size_t end = std::min(data.find_first_of("\r\n"), data.size());
    text.append("data: ").append(data.substr(0, end)).append("\n");
    if (end == data.size()) break;
    const bool pair = data[end] == '\r' && end + 1 < data.size() && data[end + 1] == '\n';
    data.remove_prefix(end + (pair ? 2 : 1));
  }
  text += '\n';
  return text;
}

}  // namespace aima::http
