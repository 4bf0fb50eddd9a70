// How engines are spoken to. One implementation per kind of HTTP interface.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "aima/inference/v1/inference.pb.h"
#include "libs/http/message.h"
#include "services/inference/directory.h"

namespace aima::inference {

// What to send to an engine.
struct EngineRequest {
  std::string path;
  std::string body;
  std::string content_type = "application/json";
  std::string method = "POST";
};

// What an engine answered, whole.
struct EngineAnswer {
  const http::Headers& headers;
  const std::string& body;
};

// One question whose answer comes whole: what is sent, and what the answer means.
template <class Response>
struct Exchange {
  EngineRequest request;
  std::function<absl::StatusOr<Response>(const EngineAnswer&)> read;
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
  std::optional<v1::Usage> read;  // of the conversation, told while it is being read
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
  // Whether the end of the stream is all that tells of the end of the answer.
  virtual bool EndsWithStream() const { return false; }
};

// How far an engine is with a video.
struct VideoJob {
  std::string id;
  bool running = false;  // false: still in a queue, or ended
  bool done = false;
  std::string failure;  // why it came to nothing
  double percent = 0;
  std::optional<double> seconds;  // length of the video
};

// How videos are made, which takes several requests: one begins a job, others look at it, and one fetches the video.
class VideoDialect {
 public:
  virtual ~VideoDialect() = default;
  virtual absl::StatusOr<Exchange<VideoJob>> Begin(const v1::GenerateVideoRequest& request,
                                                   const Endpoint& engine) const = 0;
  virtual Exchange<VideoJob> Look(const VideoJob& job, const Endpoint& engine) const = 0;
  virtual Exchange<v1::GenerateVideoResponse> Fetch(const VideoJob& job, const Endpoint& engine) const = 0;
  // Ends a job that nobody wants any more.
  virtual EngineRequest Drop(const VideoJob& job) const = 0;
};

// Stateless; one object serves all requests. What a dialect has no words for it refuses with
// INFERENCE_REQUEST_REFUSED, which is what the methods do that a dialect leaves out.
class Dialect {
 public:
  virtual ~Dialect() = default;

  // Requests for a streamed answer, and what takes it apart.
  virtual absl::StatusOr<EngineRequest> Chat(const v1::ChatRequest& request, const Endpoint& engine) const;
  virtual absl::StatusOr<EngineRequest> Complete(const v1::CompleteRequest& request, const Endpoint& engine) const;
  virtual std::unique_ptr<AnswerReader> NewReader(const Endpoint& engine) const = 0;

  // Questions whose answers come whole.
  virtual absl::StatusOr<Exchange<v1::EmbedResponse>> Embed(const v1::EmbedRequest& request,
                                                            const Endpoint& engine) const;
  virtual absl::StatusOr<Exchange<v1::RerankResponse>> Rerank(const v1::RerankRequest& request,
                                                              const Endpoint& engine) const;
  virtual absl::StatusOr<Exchange<v1::TranscribeResponse>> Transcribe(const v1::TranscribeRequest& request,
                                                                      const Endpoint& engine) const;
  virtual absl::StatusOr<Exchange<v1::SynthesizeResponse>> Synthesize(const v1::SynthesizeRequest& request,
                                                                      const Endpoint& engine) const;
  virtual absl::StatusOr<Exchange<v1::GenerateImageResponse>> GenerateImage(const v1::GenerateImageRequest& request,
                                                                            const Endpoint& engine) const;
  virtual absl::StatusOr<Exchange<v1::DetectResponse>> Detect(const v1::DetectRequest& request,
                                                              const Endpoint& engine) const;
  // Null if there are no words for videos.
  virtual const VideoDialect* Videos() const { return nullptr; }

  // Whether OpenAI's own paths, bodies and answers are understood too, so that they need not be translated.
  virtual bool TakesOpenAi() const { return false; }

  // What an answer with an HTTP status that is not 200 means.
  virtual absl::Status ErrorOf(int http_status, const std::string& body, const Endpoint& engine) const = 0;
};

// The dialect of an engine, by the name that engine descriptions use. INFERENCE_REQUEST_REFUSED if there is none.
absl::StatusOr<const Dialect*> DialectOf(const Endpoint& engine);

}  // namespace aima::inference
