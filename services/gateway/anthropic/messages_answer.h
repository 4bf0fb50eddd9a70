// Answers of Anthropic's Messages API, made of those of inference.chat.
#pragma once

#include <absl/status/status.h>

#include <nlohmann/json.hpp>
#include <string>

#include "services/gateway/translation.h"

namespace aima::gateway::anthropic {

// The message of a whole answer. `model` is as the client called it.
nlohmann::json MessageOf(const nlohmann::json& answer, const std::string& id, const std::string& model);

// {"type": "error", "error": {"type", "message"}, "request_id"}
nlohmann::json ErrorBody(const absl::Status& status, int http_status, const std::string& request_id);

// The events of a streamed answer. Text, thoughts and the arguments of calls come as the model makes them; a stream
// that fails ends with an `error` event, which the clients raise.
class MessageStream : public StreamForm {
 public:
  MessageStream(std::string id, std::string model, std::string request_id);

  const char* content_type() const override { return "text/event-stream"; }
  void Begin(std::string& out) override;
  void BeginWith(const nlohmann::json& first, std::string& out) override;
  void Add(const nlohmann::json& chunk, std::string& out) override;
  void End(std::string& out) override;
  void Fail(const absl::Status& status, std::string& out) override;
  std::string_view alive() const override { return "event: ping\ndata: {\"type\":\"ping\"}\n\n"; }

 private:
  enum class Block { kNone, kThinking, kText, kTool };

  void Open(Block kind, nlohmann::json block, std::string& out);
  void Close(std::string& out);
  void Delta(nlohmann::json delta, std::string& out);
  void AddCallPart(const nlohmann::json& part, std::string& out);
  void AddMissingCalls(const nlohmann::json& calls, std::string& out);

  const std::string id_;
  const std::string model_;
  const std::string request_id_;
  Block open_ = Block::kNone;
  int block_ = -1;                // index of the last block
  int call_ = -1;                 // index of the last call, as the engine counts
  size_t arguments_ = 0;          // bytes of its arguments that have been sent
  std::string nameless_;          // arguments of a call whose name has not come yet
  bool ended_ = false;
};

}  // namespace aima::gateway::anthropic
