#include "services/gateway/mcp/sessions.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <optional>

#include "aima/unit/v1/errors.pb.h"
#include "libs/base/ids.h"
#include "libs/errors/errors.h"
#include "services/gateway/mcp/cancel.h"

namespace aima::gateway::mcp {
namespace {

namespace asio = boost::asio;

constexpr size_t kMaxSessions = 10'000;
constexpr size_t kMaxOfPrincipal = 200;
constexpr absl::Duration kIdle = absl::Hours(1);
constexpr absl::Duration kSweepEvery = absl::Minutes(1);
constexpr absl::Duration kAnswerTime = absl::Minutes(10);

// How the beginning of a watch goes.
struct Beginning {
  explicit Beginning(Loop& loop) : wake(loop, asio::steady_timer::time_point::max()) {}
  void Tell(absl::Status status) {
    if (!result) result = std::move(status);
    wake.cancel();
  }
  asio::steady_timer wake;
  std::optional<absl::Status> result;
};

Task<void> RunWatch(Source& source, CallContext call, std::string uri, std::shared_ptr<Beginning> beginning,
                    std::function<void()> changed) {
  const std::function<Task<absl::Status>()> tell = [&]() -> Task<absl::Status> {
    changed();
    co_return absl::OkStatus();
  };
  const auto ready = [beginning] { beginning->Tell(absl::OkStatus()); };
  beginning->Tell(co_await source.Watch(std::move(call), std::move(uri), ready, tell));
}

bool InUse(const Session& session) {
  return session.stream_open || std::any_of(session.calls.begin(), session.calls.end(),
                                            [](const auto& entry) { return !entry.second->done(); });
}

}  // namespace

Task<absl::Status> Watches::Add(Source& source, CallContext call, std::string uri, std::function<void()> changed) {
  if (Has(uri)) co_return absl::OkStatus();
  const auto cancel = std::make_shared<asio::cancellation_signal>();
  const auto beginning = std::make_shared<Beginning>(loop_);
  (*watches_)[uri] = cancel;
  const auto ended = [cancel, beginning, uri, all = std::weak_ptr<Map>(watches_)](std::exception_ptr) {
    if (const auto watches = all.lock()) Forget(*watches, uri, cancel.get());
    beginning->Tell(absl::CancelledError("the watch has ended"));
  };
  // The handler holds the signal: it has to outlive what it cancels.
  asio::co_spawn(loop_, RunWatch(source, std::move(call), uri, beginning, std::move(changed)),
                 asio::bind_cancellation_slot(cancel->slot(), ended));
  while (!beginning->result) {
    (void)co_await beginning->wake.async_wait(asio::as_tuple(asio::use_awaitable));
  }
  if (!beginning->result->ok()) Forget(*watches_, uri, cancel.get());
  co_return *beginning->result;
}

void Watches::Forget(Map& watches, const std::string& uri, const asio::cancellation_signal* watch) {
  const auto found = watches.find(uri);
  if (found != watches.end() && found->second.get() == watch) watches.erase(found);
}

void Watches::Remove(const std::string& uri) {
  const auto found = watches_->find(uri);
  if (found == watches_->end()) return;
  const auto cancel = found->second;
  watches_->erase(found);
  CancelThrough(loop_, cancel, *cancel);
}

void Watches::Clear() {
  while (!watches_->empty()) Remove(watches_->begin()->first);
}

Task<absl::StatusOr<json>> Session::Ask(RunningCall& call, json requests) {
  const auto wake = std::make_shared<asio::steady_timer>(loop);
  const auto answers = std::make_shared<json>(json::object());
  std::vector<std::string> asked;
  struct Forget {
    Session& session;
    std::vector<std::string>& asked;
    ~Forget() {
      for (const std::string& id : asked) session.questions_.erase(id);
    }
  } forget{*this, asked};
  for (const auto& [key, request] : requests.items()) {
    const json id = absl::StrCat("aima-", next_question_++);
    asked.push_back(Dump(id));
    questions_[asked.back()] = {wake, answers, key};
    call.outbox().Push(RequestText(id, TextMember(request, "method"), Member(request, "params")));
  }
  wake->expires_after(absl::ToChronoMilliseconds(kAnswerTime));
  while (answers->size() < requests.size()) {
    if (closed) co_return Error(unit::v1::CANCELLED, "the session has ended");
    const auto [error] = co_await wake->async_wait(asio::as_tuple(asio::use_awaitable));
    if (!error) co_return Error(unit::v1::DEADLINE_EXCEEDED, "the client has not answered");
  }
  co_return std::move(*answers);
}

bool Session::Answer(const Message& answer) {
  const auto found = questions_.find(Dump(answer.id));
  if (found == questions_.end()) return false;
  const Question question = found->second;
  questions_.erase(found);
  // Who declines by an error has declined.
  (*question.answers)[question.key] = answer.result.is_object() ? answer.result : json{{"action", "cancel"}};
  question.wake->cancel();
  return true;
}

void Session::Close() {
  closed = true;
  watches.Clear();
  stream.Close();
  for (auto& [id, question] : questions_) question.wake->cancel();
  const auto running = std::move(calls);
  for (const auto& [id, call] : running) call->Cancel();
  streams.clear();
}

void Sessions::ForgetIdle() {
  std::vector<std::string> idle;
  for (const auto& [id, session] : sessions_) {
    if (!InUse(*session) && absl::Now() - session->used > kIdle) idle.push_back(id);
  }
  for (const std::string& id : idle) Remove(id);
}

std::shared_ptr<Session> Sessions::Create(const std::string& principal) {
  if (absl::Now() - swept_ >= kSweepEvery) {
    swept_ = absl::Now();
    ForgetIdle();
  }
  size_t own = 0;
  std::shared_ptr<Session> oldest;
  for (const auto& [id, session] : sessions_) {
    if (session->principal != principal) continue;
    ++own;
    if (!InUse(*session) && (!oldest || session->used < oldest->used)) oldest = session;
  }
  if (own >= kMaxOfPrincipal || sessions_.size() >= kMaxSessions) {
    if (!oldest) return nullptr;
    Remove(oldest->id);
  }
  auto session = std::make_shared<Session>(loop_);
  session->id = RandomHex(16);
  session->principal = principal;
  sessions_[session->id] = session;
  return session;
}

std::shared_ptr<Session> Sessions::Find(std::string_view id, const std::string& principal) {
  const auto found = sessions_.find(std::string(id));
  if (found == sessions_.end() || found->second->principal != principal) return nullptr;
  found->second->used = absl::Now();
  return found->second;
}

void Sessions::Remove(const std::string& id) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return;
  const auto session = found->second;
  sessions_.erase(found);
  session->Close();
}

void Sessions::Clear() {
  while (!sessions_.empty()) Remove(sessions_.begin()->first);
}

}  // namespace aima::gateway::mcp
