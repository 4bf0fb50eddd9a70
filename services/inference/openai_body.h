// Bodies of the OpenAI surface: what routing needs from a request, and answers put together from streams.
#pragma once

#include <absl/status/statusor.h>

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "services/inference/directory.h"

namespace aima::inference {

// Where something is in a text.
struct Span {
  size_t begin = 0;
  size_t end = 0;  // 0 if it is not there
  bool there() const { return end > 0; }
};

// What a request says about its routing.
struct RequestScan {
  std::string model;
  bool stream = false;
  Span model_at;
  Span stream_at;
  Span stream_options_at;
  size_t first_member = 0;  // just after the opening brace
};

// INVALID_INPUT if no model can have such a name: the rule that units declare for theirs.
absl::Status CheckModelName(std::string_view name);

// Looks through `body` without reading more than it must. INVALID_INPUT names what is missing or wrong; a repeated
// `model` or `stream` is refused, since it would be unclear who reads which.
absl::StatusOr<RequestScan> ScanRequest(std::string_view body);

// The body for an engine: `model` is written anew where the engine knows it by another name, and a stream with
// usage is asked for where `ask_for_stream`. Everything else stays byte for byte.
std::string EngineBody(std::string body, const RequestScan& scan, const std::string& served_name,
                       bool ask_for_stream);

// Puts a streamed answer together into the one that a caller gets who asked for no stream.
class AnswerAssembler {
 public:
  // `object` is what the whole calls itself: chat.completion or text_completion.
  explicit AnswerAssembler(std::string object) : object_(std::move(object)) {}

  // Adds one piece. Fails if it tells of an error or is no piece.
  absl::Status Add(std::string_view piece, const Endpoint& engine);
  // True once every choice has said why it ended.
  bool complete() const;
  std::string Finish() const;
  // As the engine wrote it; empty if it did not.
  const std::string& usage() const { return usage_; }

 private:
  using Members = std::vector<std::pair<std::string, std::string>>;  // key, raw value, in order of arrival
  struct Tool {
    Members fields;    // raw values
    std::string name;  // raw insides of strings
    std::string arguments;
  };
  struct Choice {
    Members texts;  // raw insides of strings
    std::map<int, Tool> tools;
    Members logprobs;           // raw insides of lists
    std::string finish_reason;  // raw; empty until it is known
  };

  static std::string& At(Members& members, std::string_view key);
  void AddChoice(class JsonCursor& json);
  static void AddDelta(class JsonCursor& json, Choice& choice);
  static void AddTool(class JsonCursor& json, Choice& choice);
  static void AddLogprobs(class JsonCursor& json, Choice& choice);
  void AppendChoice(int index, const Choice& choice, std::string& out) const;

  const std::string object_;
  Members fields_;  // raw values
  std::map<int, Choice> choices_;
  std::string usage_;
};

// A failure in OpenAI's form: {"error": {"message", "type", "param", "code"}}.
std::string OpenAiErrorBody(const absl::Status& status);

}  // namespace aima::inference
