// Talking to a model: one question, or a conversation on the terminal.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "services/cli/gateway_client.h"
#include "services/cli/session.h"

namespace aima::cli {

class Conversation {
 public:
  // `options` are fields of inference.chat, such as temperature. With `verbose`, each answer is followed by its
  // figures.
  Conversation(Session& session, GatewayClient& client, std::string model, nlohmann::ordered_json options,
               bool verbose);

  void SetSystem(const std::string& text);

  // Prints the answer as it comes and keeps both. Ctrl-C ends the answer, not the conversation: what was said stays
  // said.
  absl::Status Ask(const std::string& question);

  // Reads questions until the end of input; lines that begin with / are commands, which /help lists.
  absl::Status Converse();

 private:
  // True if it was a command. Sets `ends` for /bye.
  bool Command(const std::string& line, bool& ends);
  // Says whom it talks to, or why not to `name`; without a name, whom it could talk to.
  void SetModel(const std::string& name);
  void SetOption(const std::string& field, const std::string& value);
  // For a question that was longer than the context: the commands that give it room.
  absl::Status WithContextRemedy(const absl::Status& status) const;
  void TellFigures(const nlohmann::ordered_json& last) const;

  Session& session_;
  GatewayClient& client_;
  std::string model_;
  nlohmann::ordered_json options_;
  bool verbose_;
  nlohmann::ordered_json messages_ = nlohmann::ordered_json::array();
};

// The fields of inference.chat that `session.arguments` gives as flags, taken out of them, with a bound on the length
// of an answer if there is none; and the flags of a conversation itself.
struct ChatFlags {
  nlohmann::ordered_json options = nlohmann::ordered_json::object();
  std::string system;
  bool verbose = false;
  std::vector<std::string> words;  // what is no flag
};
absl::StatusOr<ChatFlags> TakeChatFlags(Session& session, const nlohmann::ordered_json& unit);

}  // namespace aima::cli
