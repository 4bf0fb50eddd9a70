// Server-sent events.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace aima::http {

struct SseEvent {
  std::string event;  // empty is "message"
  std::string data;
  std::string id;     // the last id that the stream gave
};

// Cuts a stream of bytes into events. Comments are skipped; \n, \r\n and \r end lines.
class SseParser {
 public:
  // Takes the next bytes of the stream.
  void Push(std::string_view bytes) { buffer_.append(bytes.data(), bytes.size()); }

  // The next whole event, nullopt if none has arrived yet.
  std::optional<SseEvent> Next();

  // Bytes that are not yet part of an event: what a caller bounds.
  size_t pending() const { return buffer_.size() - read_ + current_.data.size(); }

 private:
  std::optional<std::string_view> NextLine();
  void Field(std::string_view line);

  std::string buffer_;
  size_t read_ = 0;
  bool has_data_ = false;
  SseEvent current_;
};

// One event as text. Data of several lines becomes several data fields; `event` and `id` must be without line breaks.
std::string FormatSse(std::string_view event, std::string_view data, std::string_view id = {});

}  // namespace aima::http
