#include "libs/telemetry/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <cerrno>
#include <mutex>
#include <utility>

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

// Standard error. spdlog's own sink flushes after each line, and a write per line would be a tenth of what a small call
// costs.
class StandardError : public spdlog::sinks::base_sink<std::mutex>, public std::enable_shared_from_this<StandardError> {
 public:
  ~StandardError() override { flush_(); }

  // Lets lines wait for the end of the turn that `loop` is in; null: writes each at once.
  void GatherOn(Loop* loop) {
    const std::lock_guard<std::mutex> lock(mutex_);
    loop_ = loop;
    flush_();
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    formatter_->format(message, lines_);
    if (!loop_ || lines_.size() > kMostBytes) return flush_();
    if (std::exchange(posted_, true)) return;
    boost::asio::post(*loop_, [weak = weak_from_this()] {
      const std::shared_ptr<StandardError> self = weak.lock();
      if (!self) return;
      const std::lock_guard<std::mutex> lock(self->mutex_);
      self->posted_ = false;
      self->flush_();
    });
  }

  void flush_() override {
    for (size_t done = 0; done < lines_.size();) {
      const ssize_t written = write(STDERR_FILENO, lines_.data() + done, lines_.size() - done);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) break;  // there is nowhere to complain
      done += written;
    }
    lines_.clear();
  }

 private:
  static constexpr size_t kMostBytes = 32 << 10;

  Loop* loop_ = nullptr;
  bool posted_ = false;
  spdlog::memory_buf_t lines_;
};

}  // namespace

void SetUpLogging(std::string_view process, const std::string& level, const std::string& format) {
  const bool json = format != "text";
  auto formatter = std::make_unique<spdlog::pattern_formatter>(spdlog::pattern_time_type::utc);
  formatter->add_flag<Escaped>('*', json);
  formatter->set_pattern(json ? "{\"time\":\"%Y-%m-%dT%H:%M:%S.%eZ\",\"level\":\"%l\",\"process\":\"" +
                                    std::string(process) + "\",\"message\":%*}"
                              : "%Y-%m-%dT%H:%M:%S.%eZ %-5l " + std::string(process) + " %*");
  auto logger = std::make_shared<spdlog::logger>(std::string(process), std::make_shared<StandardError>());
  logger->set_formatter(std::move(formatter));
  logger->set_level(spdlog::level::from_str(level));
  logger->flush_on(spdlog::level::warn);
  spdlog::set_default_logger(std::move(logger));
}

LogGathering::LogGathering(Loop& loop) : logger_(spdlog::default_logger()) { Gather(&loop); }

LogGathering::~LogGathering() { Gather(nullptr); }

void LogGathering::Gather(Loop* loop) {
  for (const spdlog::sink_ptr& sink : logger_->sinks()) {
    if (const auto ours = std::dynamic_pointer_cast<StandardError>(sink)) ours->GatherOn(loop);
  }
}

}  // namespace aima
