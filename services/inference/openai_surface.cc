#include "services/inference/openai_surface.h"

#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <utility>

#include "libs/base/status_macros.h"
#include "libs/base/utf8.h"
#include "libs/errors/errors.h"
#include "libs/http/sse.h"
#include "libs/unit/json_codec.h"
#include "services/inference/form.h"
#include "services/inference/openai_rerank.h"
#include "services/inference/openai_dialect.h"
#include "services/inference/rerank.h"
#include "services/inference/shorten.h"

namespace aima::inference {
namespace {

constexpr size_t kMaxErrorBytes = 64 * 1024;
constexpr size_t kMaxEmbeddingBytes = 64 << 20;
constexpr size_t kTailBytes = 2048;
constexpr std::string_view kJsonType = "application/json";
constexpr std::string_view kEventStream = "text/event-stream";

v1::ForwardChunk Head(int status, std::string_view content_type) {
  v1::ForwardChunk chunk;
  chunk.set_status(status);
  v1::Header& header = *chunk.add_headers();
  header.set_name("content-type");
  header.set_value(ValidUtf8(std::string(content_type)));
  return chunk;
}

v1::ForwardChunk ErrorAnswer(const absl::Status& status) {
  v1::ForwardChunk chunk = Head(HttpStatusOf(status), kJsonType);
  chunk.set_body(OpenAiErrorBody(status));
  const Metadata metadata = DetailsOf(status).metadata;
  if (const auto retry = metadata.find("retry_after_s"); retry != metadata.end()) {
    v1::Header& header = *chunk.add_headers();
    header.set_name("retry-after");
    header.set_value(retry->second);
  }
  return chunk;
}

v1::ForwardChunk WrongMethod(const v1::ForwardRequest& request, const std::string& path, const char* allow) {
  v1::ForwardChunk chunk = ErrorAnswer(
      Error(unit::v1::INVALID_INPUT, absl::StrCat(path, " is asked with ", allow, ", not ", request.method()), {{"allow", allow}}));
  v1::Header& header = *chunk.add_headers();
  header.set_name("allow");
  header.set_value(allow);
  return chunk;
}

std::string HeaderOf(const v1::ForwardRequest& request, std::string_view name) {
  for (const v1::Header& header : request.headers()) {
    if (http::EqualsIgnoringCase(header.name(), name)) return header.value();
  }
  return "";
}

// The same error, which knows what the member of the request is called that was too long.
absl::Status NamingInput(const absl::Status& status, Ask ask) {
  if (!HasReason(status, v1::INFERENCE_CONTEXT_TOO_LONG)) return status;
  ErrorDetails details = DetailsOf(status);
  details.metadata["param"] = ask == Ask::kChat       ? "messages"
                              : ask == Ask::kComplete ? "prompt"
                              : ask == Ask::kRerank   ? "documents"
                                                      : "input";
  return Error(v1::INFERENCE_CONTEXT_TOO_LONG, details.message, std::move(details.metadata));
}

bool IsEventStream(const http::ResponseStream& answer) {
  return answer.headers().Get("content-type").substr(0, kEventStream.size()) == kEventStream;
}

// The end of a stream, where engines report usage.
class Tail {
 public:
  void Add(std::string_view bytes) {
    if (bytes.size() > kTailBytes) bytes.remove_prefix(bytes.size() - kTailBytes);
    bytes_ += bytes;
    if (bytes_.size() > 4 * kTailBytes) bytes_.erase(0, bytes_.size() - kTailBytes);
  }
  bool Has(std::string_view text) const { return bytes_.find(text) != std::string::npos; }
  int64_t Tokens() const {
    constexpr std::string_view kUsage = "\"usage\":";
    const size_t at = bytes_.rfind(kUsage);
    if (at == std::string::npos) return 0;
    return ReadOpenAiUsage(std::string_view(bytes_).substr(at + kUsage.size())).total_tokens();
  }

 private:
  std::string bytes_;
};

// Embeddings of the length that was asked for.
Task<absl::Status> PassShortenedOn(Dispatched& dispatched, int dimensions, RequestLog& log,
                                   StreamWriter<v1::ForwardChunk>& out) {
  absl::StatusOr<std::string> body = co_await ReadAll(*dispatched.answer, kMaxEmbeddingBytes);
  if (!body.ok()) co_return co_await out.Write(ErrorAnswer(log.Failed(co_await dispatched.Broken(body.status()))));
  absl::StatusOr<std::string> shortened = ShortenOpenAi(*body, dimensions, dispatched.engine());
  if (!shortened.ok()) co_return co_await out.Write(ErrorAnswer(log.Failed(shortened.status())));
  Tail tail;
  tail.Add(*body);
  log.Completed(tail.Tokens());
  v1::ForwardChunk chunk = Head(200, kJsonType);
  chunk.set_body(*std::move(shortened));
  co_return co_await out.Write(chunk);
}

}  // namespace

Task<absl::Status> OpenAiSurface::Serve(CallContext& call, const v1::ForwardRequest& request, Out& out) {
  static const Route kRoutes[] = {{"/v1/chat/completions", Ask::kChat, "chat.completion"},
                                  {"/v1/completions", Ask::kComplete, "text_completion"},
                                  {"/v1/embeddings", Ask::kEmbed, nullptr},
                                  {"/v1/rerank", Ask::kRerank, nullptr},
                                  {"/v1/audio/speech", Ask::kSynthesize, nullptr},
                                  {"/v1/audio/transcriptions", Ask::kTranscribe, nullptr, /*form=*/true},
                                  {"/v1/images/generations", Ask::kGenerateImage, nullptr}};
  // Decoded as by the gateway, which has decided on access by it. Ids may hold what must be encoded in a path.
  std::string path;
  const std::string_view target = request.path();
  if (!http::PercentDecode(target.substr(0, target.find('?')), /*plus=*/false, path)) {
    co_return co_await out.Write(ErrorAnswer(InvalidInput("path", "is not properly encoded")));
  }
  const bool models = path == "/v1/models" || absl::StartsWith(path, "/v1/models/");
  if (models && request.method() == "GET") co_return co_await Models(call, path, out);
  for (const Route& route : kRoutes) {
    if (route.path != path) continue;
    if (request.method() == "POST" && route.ask == Ask::kRerank) co_return co_await Rerank(call, request, route, out);
    if (request.method() == "POST") co_return co_await Ask(call, request, route, out);
    co_return co_await out.Write(WrongMethod(request, path, "POST"));
  }
  if (models) co_return co_await out.Write(WrongMethod(request, path, "GET"));
  co_return co_await out.Write(ErrorAnswer(
      Error(unit::v1::RESOURCE_NOT_FOUND, absl::StrCat("there is no ", request.method(), " ", path, " here"))));
}

Task<absl::Status> OpenAiSurface::Ask(CallContext& call, const v1::ForwardRequest& request, const Route& route,
                                      Out& out) {
  const std::string type = HeaderOf(request, "content-type");
  const absl::StatusOr<RequestScan> scan =
      route.form ? ScanForm(request.body(), type) : ScanRequest(request.body());
  if (!scan.ok()) co_return co_await out.Write(ErrorAnswer(scan.status()));
  const absl::StatusOr<int> dimensions = route.ask == Ask::kEmbed ? DimensionsAsked(request.body()) : 0;
  if (!dimensions.ok()) co_return co_await out.Write(ErrorAnswer(dimensions.status()));
  // Most engines end their work early for streams only: whole answers are put together here.
  bool assemble = false;
  RequestLog log(outbox_, call, scan->model, AskName(route.ask));
  const Dispatcher::Make make = [&](const Endpoint& engine) -> absl::StatusOr<EngineRequest> {
    const absl::StatusOr<const Dialect*> dialect = DialectOf(engine);
    if (!dialect.ok()) return dialect.status();
    if (!(*dialect)->TakesOpenAi()) {
      return Error(
          v1::INFERENCE_REQUEST_REFUSED,
          absl::StrCat("engine '", engine.instance_id, "' speaks ", engine.dialect, ", not OpenAI's interface"),
          {{"instance_id", engine.instance_id}});
    }
    if (route.form) return EngineRequest{route.path, EngineForm(request.body(), *scan, engine.served_name), type};
    assemble = route.object != nullptr && !scan->stream && !engine.cancels_whole_answers;
    return EngineRequest{route.path, EngineBody(request.body(), *scan, engine.served_name, assemble)};
  };
  absl::StatusOr<Dispatched> dispatched = co_await dispatcher_.Send(call, scan->model, route.ask, log, make);
  if (!dispatched.ok()) co_return co_await out.Write(ErrorAnswer(log.Failed(dispatched.status())));
  const int status = dispatched->answer->status();
  if (status != 200) {
    const absl::StatusOr<std::string> body = co_await ReadAll(*dispatched->answer, kMaxErrorBytes);
    absl::Status error = body.status();
    if (body.ok()) {
      error = OpenAiDialect().ErrorOf(status, *body, dispatched->engine());
    } else {
      error = co_await dispatched->Broken(error);
    }
    co_return co_await out.Write(ErrorAnswer(NamingInput(log.Failed(error), route.ask)));
  }
  if (*dimensions > 0) co_return co_await PassShortenedOn(*dispatched, *dimensions, log, out);
  if (assemble && IsEventStream(*dispatched->answer)) {
    co_return co_await Assemble(*dispatched, route.object, log, out);
  }
  co_return co_await PassOn(*dispatched, log, out);
}

// Rank models answer for themselves; of others the vectors are compared here, and the answer is written in the form
// that rank models use.
Task<absl::Status> OpenAiSurface::Rerank(CallContext& call, const v1::ForwardRequest& request, const Route& route,
                                         Out& out) {
  const absl::StatusOr<v1::RerankRequest> asked = ReadRerankRequest(request.body());
  if (!asked.ok()) co_return co_await out.Write(ErrorAnswer(asked.status()));
  const absl::StatusOr<ModelRecord> model = co_await router_.catalog().Resolve(call, asked->model());
  if (model.ok() && model->type != v1::MODEL_TYPE_EMBEDDING) co_return co_await Ask(call, request, route, out);
  RequestLog log(outbox_, call, asked->model(), AskName(route.ask));
  const absl::StatusOr<v1::RerankResponse> response = co_await Rank(call, router_, dispatcher_, log, *asked);
  if (!response.ok()) co_return co_await out.Write(ErrorAnswer(log.Failed(response.status())));
  log.Completed(response->usage().total_tokens());
  v1::ForwardChunk chunk = Head(200, kJsonType);
  chunk.set_body(RerankAnswer(*response));
  co_return co_await out.Write(chunk);
}

// Bytes as they come: what has arrived when the caller can take more is one piece.
Task<absl::Status> OpenAiSurface::PassOn(Dispatched& dispatched, RequestLog& log, Out& out) {
  const std::string_view type = dispatched.answer->headers().Get("content-type");
  const bool events = IsEventStream(*dispatched.answer);
  v1::ForwardChunk chunk = Head(200, type.empty() ? kJsonType : type);
  Tail tail;
  while (true) {
    absl::StatusOr<std::optional<std::string>> bytes = co_await dispatched.answer->Next();
    if (!bytes.ok()) {
      const absl::Status lost = log.Failed(co_await dispatched.Broken(bytes.status()));
      if (chunk.status() != 0) co_return co_await out.Write(ErrorAnswer(lost));
      if (!events) co_return lost;
      chunk.set_body(absl::StrCat("data: ", OpenAiErrorBody(lost), "\n\n"));
      co_return co_await out.Write(chunk);
    }
    if (!bytes->has_value()) break;
    tail.Add(**bytes);
    chunk.set_body(**std::move(bytes));
    const absl::Status written = co_await out.Write(chunk);
    if (!written.ok()) co_return log.Failed(written);
    if (chunk.status() != 0) chunk.Clear();
  }
  if (events && !tail.Has("[DONE]")) {
    log.Failed(Error(v1::INFERENCE_ENGINE_FAILED, "the engine's stream ended without [DONE]")).IgnoreError();
  } else {
    log.Completed(tail.Tokens());
  }
  if (chunk.status() != 0) co_return co_await out.Write(chunk);  // an empty body still has a head
  co_return absl::OkStatus();
}

Task<absl::Status> OpenAiSurface::Assemble(Dispatched& dispatched, const char* object, RequestLog& log, Out& out) {
  AnswerAssembler whole(object);
  absl::StatusOr<std::string> body = co_await Whole(dispatched, whole);
  if (!body.ok()) co_return co_await out.Write(ErrorAnswer(log.Failed(body.status())));
  log.Completed(ReadOpenAiUsage(whole.usage()).total_tokens());
  v1::ForwardChunk chunk = Head(200, kJsonType);
  chunk.set_body(*std::move(body));
  co_return co_await out.Write(chunk);
}

Task<absl::StatusOr<std::string>> OpenAiSurface::Whole(Dispatched& dispatched, AnswerAssembler& whole) {
  http::SseParser events;
  bool done = false;
  while (!done) {
    const absl::StatusOr<std::optional<std::string>> bytes = co_await dispatched.answer->Next();
    if (!bytes.ok() && !whole.complete()) co_return co_await dispatched.Broken(bytes.status());
    if (!bytes.ok() || !bytes->has_value()) break;
    events.Push(**bytes);
    while (const std::optional<http::SseEvent> event = events.Next()) {
      done = event->data == "[DONE]";
      if (done) break;
      CO_RETURN_IF_ERROR(whole.Add(event->data, dispatched.engine()));
    }
    CO_RETURN_IF_ERROR(CheckPending(events, dispatched.engine()));
  }
  if (!done && !whole.complete())
    co_return co_await dispatched.Broken(absl::UnavailableError("its stream ended early"));
  co_return whole.Finish();
}

Task<absl::Status> OpenAiSurface::Models(CallContext& call, const std::string& path, Out& out) {
  const absl::StatusOr<std::vector<ModelRecord>> models = co_await router_.catalog().All(call);
  if (!models.ok()) co_return co_await out.Write(ErrorAnswer(models.status()));
  const auto append = [](const ModelRecord& model, std::string& json) {
    json += R"({"id":)";
    AppendJsonString(model.id, json);
    absl::StrAppend(&json, R"(,"object":"model","created":)", model.created_at, R"(,"owned_by":"aima"})");
  };
  v1::ForwardChunk chunk = Head(200, kJsonType);
  std::string& json = *chunk.mutable_body();
  if (path != "/v1/models") {
    const absl::StatusOr<ModelRecord> model =
        co_await router_.catalog().Resolve(call, path.substr(sizeof("/v1/models/") - 1));
    if (!model.ok()) co_return co_await out.Write(ErrorAnswer(model.status()));
    append(*model, json);
    co_return co_await out.Write(chunk);
  }
  json = R"({"object":"list","data":[)";
  for (const ModelRecord& model : *models) {
    if (!model.ready) continue;
    if (json.back() != '[') json += ',';
    append(model, json);
  }
  json += "]}";
  co_return co_await out.Write(chunk);
}

}  // namespace aima::inference
