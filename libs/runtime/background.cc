#include "libs/runtime/background.h"

#include <absl/time/clock.h>
#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>
#include <vector>

namespace aima::runtime {

namespace asio = boost::asio;

void Background::Spawn(Task<void> task) {
  const auto signal = std::make_shared<asio::cancellation_signal>();
  running_.emplace(signal, false);
  changed_.cancel();
  asio::co_spawn(loop_, std::move(task), asio::bind_cancellation_slot(signal->slot(), [this, signal](std::exception_ptr error) {
    running_.erase(signal);
    changed_.cancel();
    if (!error) return;
    try {
      std::rethrow_exception(error);
    } catch (const boost::system::system_error& ended) {
      if (ended.code() != asio::error::operation_aborted) spdlog::error("background work failed: {}", ended.what());
    } catch (const std::exception& defect) {
      spdlog::error("background work failed: {}", defect.what());
    }
  }));
}

Task<int> Background::End(absl::Time deadline) {
  while (!running_.empty() && absl::Now() < deadline) {
    std::vector<Signal> to_tell;
    for (auto& [signal, told] : running_) {
      if (!std::exchange(told, true)) to_tell.push_back(signal);
    }
    for (const Signal& signal : to_tell) signal->emit(asio::cancellation_type::terminal);
    changed_.expires_after(absl::ToChronoNanoseconds(deadline - absl::Now()));
    co_await changed_.async_wait(asio::as_tuple(asio::use_awaitable));
  }
  co_return static_cast<int>(running_.size());
}

}  // namespace aima::runtime
