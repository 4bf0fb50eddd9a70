#include "services/cli/session.h"

#include <signal.h>

namespace aima::cli {

namespace asio = boost::asio;

absl::Status AwaitOrInterrupt(Loop& loop, Task<absl::Status> task) {
  asio::cancellation_signal cancel;
  bool interrupted = false, done = false;
  absl::Status result;
  std::exception_ptr thrown;
  asio::signal_set signals(loop, SIGINT);
  signals.async_wait([&](boost::system::error_code error, int) {
    if (error) return;
    interrupted = true;
    cancel.emit(asio::cancellation_type::terminal);
  });
  asio::co_spawn(loop, std::move(task),
                 asio::bind_cancellation_slot(cancel.slot(), [&](std::exception_ptr error, absl::Status status) {
                   done = true;
                   thrown = error;
                   result = std::move(status);
                 }));
  loop.restart();
  while (!done && loop.run_one() > 0) {
  }
  signals.cancel();
  loop.restart();
  loop.poll();  // what was cancelled comes to its end while all that it knows is still here
  if (interrupted) return absl::CancelledError("");  // who typed it knows
  if (thrown) std::rethrow_exception(thrown);
  return result;
}

}  // namespace aima::cli
