#include "libs/pg/probe.h"

#include <absl/time/clock.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>

#include "libs/pg/sql_status.h"

namespace aima::pg {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

constexpr auto kInterval = 2s;
// For an answer, twice: silence shows within 10 s, well before the patience of those who wait.
constexpr absl::Duration kAnswerTime = absl::Seconds(4);
constexpr auto kLookAgain = 20ms;
constexpr Statement kAsk{"probe", "SELECT 1"};

}  // namespace

Probe::Probe(Loop& loop, const Options& options, std::shared_ptr<Lane> lane, std::function<void()> silent)
    : loop_(loop), options_(options), lane_(std::move(lane)), silent_(std::move(silent)), timer_(loop) {}

void Probe::Start() { asio::co_spawn(loop_, Run(shared_from_this()), asio::detached); }

void Probe::Close() {
  closed_ = true;
  timer_.cancel();
}

// `self` keeps this object while the coroutine lives.
Task<void> Probe::Run(std::shared_ptr<Probe> self) {
  while (!closed_) {
    timer_.expires_after(kInterval);
    co_await timer_.async_wait(kAwait);
    // While there is no connection, it is known that nothing answers.
    if (closed_ || !lane_->connected()) continue;
    if (co_await LaneAnswers() || closed_) continue;
    if (co_await ServerAnswers() || closed_ || !lane_->connected()) continue;
    silent_();
  }
}

Task<bool> Probe::LaneAnswers() {
  CallContext call;
  call.deadline = absl::Now() + kAnswerTime;
  const Lane::Outcome outcome = co_await lane_->Run(call, {Operation{kAsk, {}, nullptr}});
  // Any other failure is an answer, or shows by itself.
  co_return outcome.ok() || !absl::IsDeadlineExceeded(outcome.status());
}

Task<bool> Probe::ServerAnswers() {
  const auto fresh = std::make_shared<Connection>(loop_, options_, /*read_only=*/true, nullptr);
  fresh->Start();
  const absl::Time end = absl::Now() + kAnswerTime;
  // To be refused is an answer too.
  while (!closed_ && fresh->attempts() == 0 && absl::Now() < end) {
    timer_.expires_after(kLookAgain);
    co_await timer_.async_wait(kAwait);
  }
  const bool answers = fresh->attempts() > 0;
  fresh->Close();
  co_return answers;
}

}  // namespace aima::pg
