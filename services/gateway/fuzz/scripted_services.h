// Services that answer as an input of a fuzzer says.
#pragma once

#include <absl/status/statusor.h>
#include <absl/strings/str_cat.h>

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "aima/inference/v1/inference.pb.h"
#include "aima/unit/v1/errors.pb.h"
#include "libs/errors/errors.h"
#include "libs/rpc/client.h"
#include "libs/unit/json_codec.h"

namespace aima::gateway {

// Each line of the script is the next thing that whichever service is asked does; its first character says what:
//   {  answers this message, JSON
//   >  passes these bytes and the end of the line on, as an engine sent them; for Forward only
//   !  fails, with the reason that the next character names and the rest as its text
//   .  ends the stream
//   ,  takes a moment
//   ~  does nothing any more, until its caller leaves
// At the end of the script, and where a line is none of these or does not fit, all services are away.
class ScriptedServices : public rpc::Client {
 public:
  explicit ScriptedServices(Loop& loop) : loop_(loop) {}

  void Play(std::string_view script) {
    rest_ = script;
    forwarded_ = false;
  }
  // Whether bytes of an engine were passed on as they are: nothing can be said of them.
  bool forwarded() const { return forwarded_; }

  Task<absl::Status> CallUntyped(const CallContext&, const google::protobuf::Message&,
                                 google::protobuf::Message& response) override {
    CO_ASSIGN_OR_RETURN(const std::string_view line, co_await NextLine());
    if (line[0] != '{') co_return Failure(line);
    co_return Read(line, response);
  }

  Task<absl::Status> CallDomain(const std::string&, const CallContext&, const google::protobuf::Message&,
                                google::protobuf::Message&) override {
    co_return Away();
  }

  std::unique_ptr<RawReader> StreamUntyped(const CallContext&, const google::protobuf::Message&) override {
    return std::make_unique<Reader>(*this);
  }

 private:
  class Reader : public RawReader {
   public:
    explicit Reader(ScriptedServices& services) : services_(services) {}
    Task<absl::StatusOr<bool>> Next(google::protobuf::Message& message) override {
      CO_ASSIGN_OR_RETURN(const std::string_view line, co_await services_.NextLine());
      if (line == ".") co_return false;
      message.Clear();
      auto* chunk = dynamic_cast<inference::v1::ForwardChunk*>(&message);
      if (line[0] == '>' && chunk) {
        if (!begun_) Begin(*chunk);
        services_.forwarded_ = true;
        chunk->set_body(absl::StrCat(absl::string_view(line.data() + 1, line.size() - 1), "\n"));
      } else if (line[0] == '{' && !chunk) {
        CO_RETURN_IF_ERROR(services_.Read(line, message));
      } else {
        co_return services_.Failure(line);
      }
      begun_ = true;
      co_return true;
    }

   private:
    static void Begin(inference::v1::ForwardChunk& chunk) {
      chunk.set_status(200);
      auto* header = chunk.add_headers();
      header->set_name("content-type");
      header->set_value("text/event-stream");
    }
    ScriptedServices& services_;
    bool begun_ = false;
  };

  static absl::Status Away() { return Error(unit::v1::UNAVAILABLE, "away"); }

  Task<absl::StatusOr<std::string_view>> NextLine() {
    for (;;) {
      const size_t end = rest_.find('\n');
      const std::string_view line = rest_.substr(0, end);
      rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
      if (line.empty()) co_return Away();
      if (line == ",") {
        co_await boost::asio::post(loop_, boost::asio::use_awaitable);
      } else if (line == "~") {
        boost::asio::steady_timer never(loop_, boost::asio::steady_timer::time_point::max());
        co_await never.async_wait(boost::asio::use_awaitable);
      } else {
        co_return line;
      }
    }
  }

  absl::Status Read(std::string_view line, google::protobuf::Message& message) {
    const absl::StatusOr<nlohmann::json> json = ParseJsonText(line);
    return json.ok() && ParseJson(*json, message).ok() ? absl::OkStatus() : Away();
  }

  static absl::Status Failure(std::string_view line) {
    if (line[0] != '!' || line.size() < 2) return Away();
    const absl::string_view text(line.data() + 2, line.size() - 2);
    switch (line[1]) {
      case 'm': return Error(inference::v1::INFERENCE_MODEL_NOT_FOUND, text, {{"model", "m"}});
      case 'c': return Error(inference::v1::INFERENCE_CONTEXT_TOO_LONG, text);
      case 'f': return Error(inference::v1::INFERENCE_ENGINE_FAILED, text);
      case 'l': return Error(inference::v1::INFERENCE_ENGINE_LOST, text);
      case 'o': return Error(unit::v1::OVERLOADED, text, {{"retry_after_s", "7"}});
      case 'i': return InvalidInput("messages[0].content", text);
      case 'd': return Error(unit::v1::DEADLINE_EXCEEDED, text);
      case 'u': return Error(unit::v1::OUTCOME_UNKNOWN, text);
      default: return Error(unit::v1::UNAVAILABLE, text);
    }
  }

  Loop& loop_;
  std::string_view rest_;
  bool forwarded_ = false;
};

}  // namespace aima::gateway
