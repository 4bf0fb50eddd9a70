// How engines are spoken to. One implementation per kind of HTTP interface.
#pragma once

#include <absl/status/statusor.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "aima/inference/v1/inference.pb.h"
#include "services/inference/directory.h"

namespace aima::inference {

// What to send to an engine.
struct EngineRequest {
  std::string path;
  std::string body;  // JSON
};

// Part of a function call, of which several make up the whole.
struct ToolPiece {
  int index = 0;
  std::string id;
  std::string name;
  std::string arguments;
};

// What some bytes of an engine's answer add to it.
struct Delta {
  std::string text;
  std::string reasoning;
  std::vector<ToolPiece> tools;
  std::optional<v1::FinishReason> finish;
  std::string stop_text;  // the text at which it stopped, if the engine tells it
  std::optional<v1::Usage> usage;
  int pieces = 0;     // of the engine that said something: about as many as tokens
  bool done = false;  // the engine says that nothing follows

  bool empty() const { return text.empty() && reasoning.empty() && tools.empty(); }
  // Keeps the strings' memory.
  void Clear();
};

// Takes an engine's streamed answer apart as it arrives.
class AnswerReader {
 public:
  virtual ~AnswerReader() = default;
  // Adds what `bytes` complete to `delta`. Fails if the engine reports a failure or sends what is no answer.
  virtual absl::Status Feed(std::string_view bytes, Delta& delta) = 0;
};

// Stateless; one object serves all requests.
class Dialect {
 public:
  virtual ~Dialect() = default;

  // Requests for a streamed answer.
  virtual absl::StatusOr<EngineRequest> Chat(const v1::ChatRequest& request, const Endpoint& engine) const = 0;
  virtual absl::StatusOr<EngineRequest> Complete(const v1::CompleteRequest& request,
                                                 const Endpoint& engine) const = 0;
  virtual std::unique_ptr<AnswerReader> NewReader(const Endpoint& engine) const = 0;

  // A request whose answer comes whole.
  virtual absl::StatusOr<EngineRequest> Embed(const v1::EmbedRequest& request, const Endpoint& engine) const = 0;
  virtual absl::StatusOr<v1::EmbedResponse> ReadEmbeddings(const std::string& body,
                                                           const Endpoint& engine) const = 0;

  // What an answer with an HTTP status that is not 200 means.
  virtual absl::Status ErrorOf(int http_status, const std::string& body, const Endpoint& engine) const = 0;
};

// The dialect of an engine, by the name that engine descriptions use. INFERENCE_REQUEST_REFUSED if there is none.
absl::StatusOr<const Dialect*> DialectOf(const Endpoint& engine);

}  // namespace aima::inference
