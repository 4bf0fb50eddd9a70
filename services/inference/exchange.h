// Runs requests whose answers come whole, from beginning to end.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <string>
#include <utility>

#include "libs/base/status_macros.h"
#include "services/inference/dialect.h"
#include "services/inference/dispatcher.h"

namespace aima::inference {

// The largest answer that still travels between services.
inline constexpr size_t kMaxWholeAnswer = 60 << 20;

// Reads an engine's answer to its end, with what `exchange` knows of it.
template <class Response>
Task<absl::StatusOr<Response>> ReadWhole(Dispatched& dispatched, const Dialect& dialect,
                                         const Exchange<Response>& exchange) {
  const absl::StatusOr<std::string> body = co_await ReadAll(*dispatched.answer, kMaxWholeAnswer);
  if (!body.ok()) co_return co_await dispatched.Broken(body.status());
  const int status = dispatched.answer->status();
  if (status / 100 != 2) co_return dialect.ErrorOf(status, *body, dispatched.engine());
  co_return exchange.read({dispatched.answer->headers(), *body});
}

// Brings the request that `make` makes to an engine of the model, and returns what the engine answers.
template <class Response>
Task<absl::StatusOr<Response>> AskWhole(
    CallContext call, Dispatcher& dispatcher, RequestLog& log, Wanted wanted, Ask ask,
    std::function<absl::StatusOr<Exchange<Response>>(const Dialect&, const Endpoint&)> make) {
  const Dialect* dialect = nullptr;
  Exchange<Response> exchange;
  const Dispatcher::Make to_send = [&](const Endpoint& engine) -> absl::StatusOr<EngineRequest> {
    ASSIGN_OR_RETURN(dialect, DialectOf(engine));
    ASSIGN_OR_RETURN(exchange, make(*dialect, engine));
    return std::move(exchange.request);
  };
  CO_ASSIGN_OR_RETURN(Dispatched dispatched, co_await dispatcher.Send(call, wanted, ask, log, to_send));
  CO_ASSIGN_OR_RETURN(Response response, (co_await ReadWhole(dispatched, *dialect, exchange)));
  response.set_model(dispatched.lease.model().id);
  co_return response;
}

}  // namespace aima::inference
