// Answers of OpenAI's Responses API, made of those of inference.chat.
#pragma once

#include <absl/status/status.h>

#include <nlohmann/json.hpp>
#include <string>

#include "services/gateway/translation.h"

namespace aima::gateway::responses {

// The response to a whole answer. `request` is what it repeats of the request.
nlohmann::json ResponseOf(const nlohmann::json& answer, const std::string& id, const nlohmann::json& request);

// The events of a streamed response, numbered. Text, thoughts and the arguments of calls come as the model makes them.
// A stream that fails ends with an `error` event, which clients raise, and with response.failed.
class ResponseStream : public StreamForm {
 public:
  ResponseStream(std::string id, nlohmann::json request);

  const char* content_type() const override { return "text/event-stream"; }
  void Begin(std::string& out) override;
  void Add(const nlohmann::json& chunk, std::string& out) override;
  void End(std::string& out) override;
  void Fail(const absl::Status& status, std::string& out) override;
  std::string_view alive() const override { return ": still working\n\n"; }

 private:
  enum class Item { kNone, kThoughts, kText, kCall };

  void Event(const char* type, nlohmann::json event, std::string& out);
  void Open(Item kind, nlohmann::json item, std::string& out);
  // Ends the item that is open.
  void Close(const char* status, std::string& out);
  void AddText(Item kind, const std::string& text, std::string& out);
  void AddCallPart(const nlohmann::json& part, std::string& out);
  void AddArguments(const std::string& arguments, std::string& out);
  void AddMissingCalls(const nlohmann::json& calls, std::string& out);
  // The response as it is now.
  nlohmann::json Now(const char* status) const;

  const std::string id_;
  const nlohmann::json request_;
  const int64_t created_at_;
  int64_t number_ = 0;
  Item open_ = Item::kNone;
  nlohmann::json item_;                             // that is open
  nlohmann::json output_ = nlohmann::json::array();  // items that have ended
  std::string text_;                                // of the open item: text, thoughts or arguments
  int call_ = -1;                                   // index of the last call, as the engine counts
  std::string nameless_;                            // arguments of a call whose name has not come yet
  nlohmann::json end_;                              // the last chunk
};

}  // namespace aima::gateway::responses
