#include "libs/telemetry/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <cstdio>

#include "libs/unit/json_codec.h"

namespace aima {
namespace {

// %* in a pattern: the message as a JSON string, or with its control characters escaped.
class Escaped : public spdlog::custom_flag_formatter {
 public:
  explicit Escaped(bool quoted) : quoted_(quoted) {}

  void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& out) override {
    std::string text;
    AppendJsonString(std::string_view(message.payload.data(), message.payload.size()), text);
    const std::string_view shown = quoted_ ? std::string_view(text) : std::string_view(text).substr(1, text.size() - 2);
    out.append(shown.data(), shown.data() + shown.size());
  }

  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<Escaped>(quoted_); }

 private:
  bool quoted_;
};

}  // namespace

void SetUpLogging(std::string_view process, const std::string& level, const std::string& format) {
  const bool json = format != "text";
  auto formatter = std::make_unique<spdlog::pattern_formatter>(spdlog::pattern_time_type::utc);
  formatter->add_flag<Escaped>('*', json);
  formatter->set_pattern(json ? "{\"time\":\"%Y-%m-%dT%H:%M:%S.%eZ\",\"level\":\"%l\",\"process\":\"" +
                                    std::string(process) + "\",\"message\":%*}"
                              : "%Y-%m-%dT%H:%M:%S.%eZ %-5l " + std::string(process) + " %*");
  auto logger = std::make_shared<spdlog::logger>(std::string(process), std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_formatter(std::move(formatter));
  logger->set_level(spdlog::level::from_str(level));
  // A write per line would be a tenth of what a small call costs. Lines go out together, once a second; what tells of
  // trouble goes out at once, with all before it.
  static char buffer[1 << 16];
  std::setvbuf(stderr, buffer, _IOFBF, sizeof(buffer));
  logger->flush_on(spdlog::level::warn);
  spdlog::set_default_logger(std::move(logger));
  spdlog::flush_every(std::chrono::seconds(1));
}

}  // namespace aima
