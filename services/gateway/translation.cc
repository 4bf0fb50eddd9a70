#include "services/gateway/translation.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "aima/unit/v1/errors.pb.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "libs/unit/json_codec.h"
#include "services/gateway/json_fields.h"
#include "services/gateway/stream_answer.h"

namespace aima::gateway {
namespace {

namespace asio = boost::asio;
using namespace boost::asio::experimental::awaitable_operators;  // NOLINT: operators
using nlohmann::json;

constexpr auto kQuiet = asio::as_tuple(asio::use_awaitable);

// Clients of these APIs wait at least this long for a whole answer.
constexpr absl::Duration kWholeAnswer = absl::Minutes(10);

// The answer to a client while a unit streams: what the unit's messages become, and signs of life in between.
class Line {
 public:
  Line(Loop& loop, http::Exchange& exchange, StreamForm& form, http::Headers headers)
      : answer_(exchange, std::move(headers)), form_(form), free_(loop, asio::steady_timer::time_point::max()) {}

  bool begun() const { return answer_.begun(); }

  Task<absl::Status> Put(const json& message) {
    co_await Acquire();
    std::string out;
    if (!answer_.begun()) form_.BeginWith(message, out);
    form_.Add(message, out);
    const absl::Status status = co_await Write(out);
    Release();
    co_return status;
  }

  Task<void> End(const absl::Status& status) {
    std::string out = Beginning();
    status.ok() ? form_.End(out) : form_.Fail(status, out);
    co_await answer_.End(out);
  }

  // Gives signs of life whenever nothing was sent for so long. Ends when it is cancelled, or when the client has gone.
  Task<void> KeepAlive(Loop& loop, absl::Duration patience) {
    asio::steady_timer timer(loop);
    for (;;) {
      // A write that waits for a slow client is not looked at again and again.
      const absl::Duration left = busy_ ? patience : std::max(sent_ + patience - absl::Now(), absl::Milliseconds(1));
      timer.expires_after(absl::ToChronoNanoseconds(form_.alive().empty() ? absl::Hours(24) : left));
      const auto [error] = co_await timer.async_wait(kQuiet);
      if (error || stopped_) co_return;
      if (form_.alive().empty() || busy_ || absl::Now() < sent_ + patience) continue;
      busy_ = true;
      // What is being sent is not broken off when the unit ends meanwhile.
      co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
      std::string out = Beginning();
      out += form_.alive();
      const absl::Status status = co_await Write(out);
      Release();
      if (!status.ok() || stopped_) co_return;
      co_await asio::this_coro::reset_cancellation_state(asio::enable_terminal_cancellation());
    }
  }
  void Stop() { stopped_ = true; }

 private:
  // One writer at a time: what a slow client has not taken yet is not mixed with the next piece.
  Task<void> Acquire() {
    while (busy_) (void)co_await free_.async_wait(kQuiet);
    busy_ = true;
  }
  void Release() {
    busy_ = false;
    free_.cancel();
  }
  // What comes before everything else, once.
  std::string Beginning() {
    std::string out;
    if (!answer_.begun()) form_.Begin(out);
    return out;
  }
  Task<absl::Status> Write(const std::string& text) {
    const absl::Status status = co_await answer_.Write(text);
    sent_ = absl::Now();
    co_return status;
  }

  StreamAnswer answer_;
  StreamForm& form_;
  asio::steady_timer free_;
  bool busy_ = false;
  bool stopped_ = false;
  absl::Time sent_ = absl::Now();
};

}  // namespace

Task<void> Translation::Handle(TranslatedVisit& visit) {
  // Nothing is read for who may use nothing.
  absl::Status status = Access::Check(visit.caller, unit::v1::READ, visit.path);
  if (status.ok()) status = co_await Serve(visit);
  if (status.ok()) co_return;
  visit.outcome = DetailsOf(status).reason;
  if (visit.exchange.started()) co_return;
  http::Response response = ErrorAnswer(status, visit.context.request_id);
  parts_.edge.AllowOrigin(visit.request, response.headers);
  (co_await visit.exchange.Send(std::move(response))).IgnoreError();
}

absl::StatusOr<json> Translation::Body(const TranslatedVisit& visit) {
  if (visit.request.body.empty()) return InvalidInput("body", "is required: a JSON object");
  ASSIGN_OR_RETURN(json body, ParseJsonText(visit.request.body));
  if (!body.is_object()) return InvalidInput("body", "must be a JSON object");
  return body;
}

Task<absl::StatusOr<json>> Translation::Run(TranslatedVisit& visit, std::string_view unit, json input) {
  CO_ASSIGN_OR_RETURN(const UnitInfo* found, parts_.runner.Find(unit, "", visit.caller));
  visit.unit = found->name;
  RunOptions options;
  options.timeout = std::max(absl::Milliseconds(found->timeout_ms()), kWholeAnswer);
  if (found->command()) options.idempotency_key = std::string(visit.request.headers.Get("Idempotency-Key"));
  CallContext call = visit.context;
  CO_ASSIGN_OR_RETURN(const Output output, co_await parts_.runner.Run(call, *found, input, options));
  json answer = json::parse(output.json, nullptr, /*allow_exceptions=*/false);
  if (!answer.is_object()) co_return Error(unit::v1::INTERNAL_ERROR, absl::StrCat(found->name, " answered no object"));
  co_return answer;
}

Task<absl::Status> Translation::Stream(TranslatedVisit& visit, std::string_view unit, json input, StreamForm& form,
                                       std::function<Task<void>()> before_end) {
  CO_ASSIGN_OR_RETURN(const UnitInfo* found, parts_.runner.Find(unit, "", visit.caller));
  visit.unit = found->name;
  http::Headers headers = StreamHeaders(form.content_type());
  headers.Add(request_id_header(), visit.context.request_id);
  parts_.edge.AllowOrigin(visit.request, headers);
  Line line(parts_.loop, visit.exchange, form, std::move(headers));
  const UnitRunner::Sink sink = [&line](const std::string& text) -> Task<absl::Status> {
    co_return co_await line.Put(json::parse(text, nullptr, /*allow_exceptions=*/false));
  };
  CallContext call = visit.context;
  const auto run = [&]() -> Task<absl::Status> {
    absl::Status status = co_await parts_.runner.Stream(call, *found, input, {}, sink);
    line.Stop();
    co_return status;
  };
  auto ended = co_await (run() || line.KeepAlive(parts_.loop, parts_.patience));
  if (ended.index() != 0) co_return Error(unit::v1::CANCELLED, "the client has gone");
  const absl::Status status = std::get<0>(ended);
  if (!status.ok()) {
    visit.outcome = DetailsOf(status).reason;
    if (!line.begun()) co_return status;
  } else if (before_end) {
    co_await before_end();
  }
  co_await line.End(status);
  co_return absl::OkStatus();
}

Task<absl::Status> Translation::Answer(TranslatedVisit& visit, const json& body, http::Headers headers) {
  http::Response response;
  response.headers = std::move(headers);
  response.headers.Set("Content-Type", "application/json");
  response.body = DumpJson(body);
  co_return co_await Send(visit, std::move(response));
}

Task<absl::Status> Translation::Send(TranslatedVisit& visit, http::Response response) {
  response.headers.Set(request_id_header(), visit.context.request_id);
  parts_.edge.AllowOrigin(visit.request, response.headers);
  // A client that is gone needs no answer.
  (co_await visit.exchange.Send(std::move(response))).IgnoreError();
  co_return absl::OkStatus();
}

}  // namespace aima::gateway
