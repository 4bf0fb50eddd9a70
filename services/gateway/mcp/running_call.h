// A call that runs by itself, whether or not somebody holds the connection on which it came.
#pragma once

#include <boost/asio/cancellation_signal.hpp>
#include <functional>
#include <memory>
#include <string>

#include "services/gateway/mcp/outbox.h"
#include "services/gateway/mcp/surface.h"

namespace aima::gateway::mcp {

// What the client said about itself and about this call.
struct ClientTerms {
  bool modern = false;                   // 2026-07-28 and later
  json capabilities = json::object();    // what the client can be asked for
  json progress_token;                   // null: it wants no progress
  int log_level = -1;                    // index in kLogLevels; -1: it wants no log messages
};

class RunningCall : public Call, public std::enable_shared_from_this<RunningCall> {
 public:
  RunningCall(Loop& loop, json id, CallContext context, Caller caller, ClientTerms terms);

  // Runs `work`; its outcome is kept, and `finish` makes the message to the client of it.
  using Work = std::function<Task<Outcome>(RunningCall&)>;
  using Finish = std::function<std::string(const RunningCall&, const Outcome&)>;
  void Start(Work work, Finish finish);

  // Ends the work as soon as it next waits for something; the client gets no answer.
  void Cancel();

  // Asks the client for the requests of an outcome, and returns its answers by their keys. Not set where the client is
  // told that input is required and calls again.
  std::function<Task<absl::StatusOr<json>>(RunningCall&, json requests)> ask;

  const json& id() const { return id_; }
  const ClientTerms& terms() const { return terms_; }
  Outbox& outbox() { return outbox_; }
  bool done() const { return done_; }
  bool cancelled() const { return cancelled_; }
  const Outcome& outcome() const { return outcome_; }  // once it is done
  absl::Time changed() const { return changed_; }
  // That it holds for its client.
  size_t bytes() const { return outcome_.result.size() + outcome_.meta.size() + outbox_.bytes(); }
  void Touch() { changed_ = absl::Now(); }
  const std::string& news() const { return news_; }  // what the last progress said
  // From now on progress and log messages go nowhere but into news.
  void Mute() { muted_ = true; }

  const CallContext& context() const override { return context_; }
  const Caller& caller() const override { return caller_; }
  bool wants_progress() const override { return !terms_.progress_token.is_null(); }
  void Progress(double progress, double total, std::string_view message) override;
  void Log(std::string_view level, const json& data) override;
  void Disconnect() override { outbox_.Interrupt(); }

 private:
  Task<void> Run(Work work, Finish finish);

  Loop& loop_;
  const json id_;
  const CallContext context_;
  const Caller caller_;
  const ClientTerms terms_;
  Outbox outbox_;
  boost::asio::cancellation_signal cancel_;
  Outcome outcome_;
  bool done_ = false;
  bool cancelled_ = false;
  bool muted_ = false;
  double progress_ = -1;
  std::string news_;
  absl::Time changed_ = absl::Now();
};

// Index in kLogLevels; -1 if there is no such level.
int LogLevelOf(std::string_view name);

// Runs `step`, and as long as it asks for input, asks the client and runs it again. Requests that the client has not
// declared to understand are left out; if none is left, the outcome says what the client lacks.
using Step = std::function<Task<Outcome>(RunningCall&, const Input&)>;
Task<Outcome> Converse(RunningCall& call, Step step, Input input);

}  // namespace aima::gateway::mcp
