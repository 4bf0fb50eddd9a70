#include "services/inference/generation.h"

#include <absl/strings/str_cat.h>

#include <utility>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"

namespace aima::inference {
namespace {

constexpr size_t kMaxErrorBytes = 64 * 1024;
constexpr int kMaxTools = 128;

// Puts the pieces of function calls together.
void Join(const std::vector<ToolPiece>& pieces, std::vector<v1::ToolCall>& calls) {
  for (const ToolPiece& piece : pieces) {
    if (piece.index < 0 || piece.index >= kMaxTools) continue;
    if (calls.size() <= static_cast<size_t>(piece.index)) calls.resize(piece.index + 1);
    v1::ToolCall& call = calls[piece.index];
    if (!piece.id.empty()) call.set_id(piece.id);
    call.mutable_name()->append(piece.name);
    call.mutable_arguments()->append(piece.arguments);
  }
}

// Fills in what the engine left out.
void Settle(v1::Usage& usage, bool reported, int pieces) {
  if (!reported) usage.set_completion_tokens(pieces);
  if (usage.total_tokens() == 0) usage.set_total_tokens(usage.prompt_tokens() + usage.completion_tokens());
}

v1::Metrics MetricsOf(const RequestLog& log, absl::Time sent, absl::Time first, absl::Time last, int64_t tokens) {
  v1::Metrics metrics;
  if (first > sent) metrics.set_time_to_first_token_ms(absl::ToDoubleMilliseconds(first - sent));
  if (tokens > 1 && last > first) {
    metrics.set_tokens_per_second(static_cast<double>(tokens - 1) / absl::ToDoubleSeconds(last - first));
  }
  metrics.set_duration_ms(absl::ToDoubleMilliseconds(log.age()));
  metrics.set_queue_ms(absl::ToDoubleMilliseconds(log.queued()));
  return metrics;
}

// Reads the answer to its end.
Task<absl::StatusOr<Outcome>> ReadAnswer(Dispatched& dispatched, const Dialect& dialect, const RequestLog& log,
                                         const std::function<Task<absl::Status>(const Delta&)>& sink) {
  const std::unique_ptr<AnswerReader> reader = dialect.NewReader(dispatched.engine());
  Outcome outcome;
  outcome.model = dispatched.lease.model().id;
  Delta delta;
  absl::Time first = absl::InfinitePast();
  absl::Time last = absl::InfinitePast();
  bool read_told = false;
  bool usage_reported = false;
  bool finished = false;
  int pieces = 0;
  while (!delta.done) {
    const absl::StatusOr<std::optional<std::string>> bytes = co_await dispatched.answer->Next();
    if (!bytes.ok() && !finished) co_return co_await dispatched.Broken(bytes.status());
    if (!bytes.ok() || !bytes->has_value()) {
      finished = finished || reader->EndsWithStream();
      break;
    }
    delta.Clear();
    CO_RETURN_IF_ERROR(reader->Feed(**bytes, delta));
    if (delta.finish) {
      outcome.finish = *delta.finish;
      finished = true;
    }
    if (!delta.stop_text.empty()) outcome.stop_text = delta.stop_text;
    if (delta.usage) {
      outcome.usage = *delta.usage;
      usage_reported = true;
    }
    finished = finished || delta.done;
    if (read_told) delta.read.reset();
    read_told = read_told || delta.read;
    if (delta.empty()) {
      if (delta.read) CO_RETURN_IF_ERROR(co_await sink(delta));
      continue;
    }
    last = absl::Now();
    if (first == absl::InfinitePast()) first = last;
    pieces += delta.pieces;
    Join(delta.tools, outcome.tool_calls);
    CO_RETURN_IF_ERROR(co_await sink(delta));
  }
  if (!finished) co_return co_await dispatched.Broken(absl::UnavailableError("its stream ended early"));
  Settle(outcome.usage, usage_reported, pieces);
  outcome.metrics = MetricsOf(log, dispatched.sent, first, last, outcome.usage.completion_tokens());
  co_return outcome;
}

Task<absl::StatusOr<Outcome>> Run(const CallContext& call, Dispatcher& dispatcher, RequestLog& log,
                                  const GenerationRequest& request) {
  const Dialect* dialect = nullptr;
  const Dispatcher::Make make = [&](const Endpoint& engine) -> absl::StatusOr<EngineRequest> {
    ASSIGN_OR_RETURN(dialect, DialectOf(engine));
    return request.make(*dialect, engine);
  };
  CO_ASSIGN_OR_RETURN(Dispatched dispatched,
                      co_await dispatcher.Send(call, {request.model, request.load}, request.ask, log, make));
  if (dispatched.answer->status() != 200) {
    CO_ASSIGN_OR_RETURN(const std::string body, co_await ReadAll(*dispatched.answer, kMaxErrorBytes));
    co_return dialect->ErrorOf(dispatched.answer->status(), body, dispatched.engine());
  }
  co_return co_await ReadAnswer(dispatched, *dialect, log, request.sink);
}

}  // namespace

Task<absl::StatusOr<Outcome>> Generate(CallContext call, Dispatcher& dispatcher, events::Outbox& outbox,
                                       GenerationRequest request) {
  RequestLog log(outbox, call, request.model, AskName(request.ask));
  absl::StatusOr<Outcome> outcome = co_await Run(call, dispatcher, log, request);
  if (!outcome.ok()) co_return log.Failed(outcome.status());
  log.Completed(outcome->usage.total_tokens());
  co_return outcome;
}

}  // namespace aima::inference
