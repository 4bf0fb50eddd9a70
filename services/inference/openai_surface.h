// The OpenAI surface, /v1/*: requests of clients, and answers of engines, byte for byte where that is possible.
#pragma once

#include "libs/base/stream.h"
#include "services/inference/dispatcher.h"
#include "services/inference/openai_body.h"

namespace aima::inference {

class OpenAiSurface {
 public:
  OpenAiSurface(Router& router, Dispatcher& dispatcher, events::Outbox& outbox)
      : router_(router), dispatcher_(dispatcher), outbox_(outbox) {}

  // Answers one HTTP request. Failures become answers in OpenAI's form, or the last event of a stream; a status
  // that is not OK means that the caller can no longer be told.
  Task<absl::Status> Serve(CallContext& call, const v1::ForwardRequest& request,
                           StreamWriter<v1::ForwardChunk>& out);

 private:
  struct Route {
    std::string path;
    Ask ask;
    const char* object;  // what a whole answer calls itself; null where engines are not asked for streams
    bool form = false;   // the request is a form with a file
  };
  using Out = StreamWriter<v1::ForwardChunk>;

  Task<absl::Status> Ask(CallContext& call, const v1::ForwardRequest& request, const Route& route, Out& out);
  Task<absl::Status> Rerank(CallContext& call, const v1::ForwardRequest& request, const Route& route, Out& out);
  Task<absl::Status> PassOn(Dispatched& dispatched, RequestLog& log, Out& out);
  Task<absl::Status> Assemble(Dispatched& dispatched, const char* object, RequestLog& log, Out& out);
  Task<absl::StatusOr<std::string>> Whole(Dispatched& dispatched, AnswerAssembler& whole);
  Task<absl::Status> Models(CallContext& call, const std::string& path, Out& out);

  Router& router_;
  Dispatcher& dispatcher_;
  events::Outbox& outbox_;
};

}  // namespace aima::inference
