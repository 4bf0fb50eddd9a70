#include "services/gateway/mcp/running_call.h"

#include <absl/strings/str_cat.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>

#include "libs/errors/errors.h"
#include "services/gateway/mcp/cancel.h"

namespace aima::gateway::mcp {
namespace {

namespace asio = boost::asio;

constexpr int kMaxRounds = 10;

// The capability that a client declares to be asked this; empty if there is no such request.
std::string CapabilityFor(const std::string& method) {
  if (method == "elicitation/create") return "elicitation";
  if (method == "sampling/createMessage") return "sampling";
  if (method == "roots/list") return "roots";
  return "";
}

}  // namespace

int LogLevelOf(std::string_view name) {
  const auto found = std::find(std::begin(kLogLevels), std::end(kLogLevels), name);
  return found == std::end(kLogLevels) ? -1 : static_cast<int>(found - std::begin(kLogLevels));
}

RunningCall::RunningCall(Loop& loop, json id, CallContext context, Caller caller, ClientTerms terms)
    : loop_(loop),
      id_(std::move(id)),
      context_(std::move(context)),
      caller_(std::move(caller)),
      terms_(std::move(terms)),
      outbox_(loop) {}

void RunningCall::Start(Work work, Finish finish) {
  asio::co_spawn(loop_, Run(std::move(work), std::move(finish)),
                 asio::bind_cancellation_slot(cancel_.slot(), [self = shared_from_this()](std::exception_ptr) {
                   // Reached by an exception only if it was cancelled.
                   self->done_ = true;
                   self->Touch();
                   self->outbox_.Close();
                 }));
}

Task<void> RunningCall::Run(Work work, Finish finish) {
  Outcome outcome = co_await work(*this);
  if (cancelled_) co_return;
  outcome_ = std::move(outcome);
  done_ = true;
  Touch();
  outbox_.Finish(finish(*this, outcome_));
}

void RunningCall::Cancel() {
  if (done_ || cancelled_) return;
  cancelled_ = true;
  Touch();
  outbox_.Close();
  CancelThrough(loop_, shared_from_this(), cancel_);
}

void RunningCall::Progress(double progress, double total, std::string_view message) {
  if (!message.empty()) news_ = std::string(message);
  if (!wants_progress() || muted_ || done_ || progress <= progress_) return;
  progress_ = progress;
  json params = {{"progressToken", terms_.progress_token}, {"progress", progress}};
  if (total > 0) params["total"] = total;
  if (!message.empty()) params["message"] = std::string(message);
  outbox_.Push(NotificationText("notifications/progress", Dump(params)), /*droppable=*/true);
}

void RunningCall::Log(std::string_view level, const json& data) {
  if (terms_.log_level < 0 || LogLevelOf(level) < terms_.log_level || muted_ || done_) return;
  const json params = {{"level", std::string(level)}, {"logger", "aima"}, {"data", data}};
  outbox_.Push(NotificationText("notifications/message", Dump(params)), /*droppable=*/true);
}

Task<Outcome> Converse(RunningCall& call, Step step, Input input) {
  for (int round = 0; round < kMaxRounds; ++round) {
    Outcome outcome = co_await step(call, input);
    if (outcome.kind != Outcome::kInputRequired) co_return outcome;
    json understood = json::object();
    json lacking = json::object();
    for (const auto& [key, request] : outcome.requests.items()) {
      const std::string capability = CapabilityFor(TextMember(request, "method"));
      if (call.terms().capabilities.contains(capability)) {
        understood[key] = request;
      } else {
        lacking[capability] = json::object();
      }
    }
    if (understood.empty() && !call.terms().modern) {
      co_return TextResult("this takes a client that can be asked for input; it declares no " + lacking.begin().key(), true);
    }
    if (understood.empty()) {
      Outcome failure = Outcome::Failure(kMissingCapability, "this takes a client that can be asked for input",
                                         {{"requiredCapabilities", lacking}});
      failure.error.http_status = 400;
      co_return failure;
    }
    if (!call.ask) {
      outcome.requests = std::move(understood);
      co_return outcome;
    }
    absl::StatusOr<json> answers = co_await call.ask(call, std::move(understood));
    if (!answers.ok()) co_return TextResult(DetailsOf(answers.status()).message, /*is_error=*/true);
    input.responses = *std::move(answers);
    input.state = std::move(outcome.state);
  }
  co_return Outcome::Failure(kInternalError, absl::StrCat("asked for input more than ", kMaxRounds, " times"));
}

}  // namespace aima::gateway::mcp
