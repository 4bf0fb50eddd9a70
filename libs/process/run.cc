#include "libs/process/run.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "libs/process/log_file.h"

namespace aima::process {
namespace {

using boost::asio::redirect_error;
using boost::asio::use_awaitable;
using namespace boost::asio::experimental::awaitable_operators;  // NOLINT: operators

constexpr size_t kOutputKept = 64 * 1024;
constexpr size_t kLongestLine = 4096;

// One command while it runs.
class Running {
 public:
  Running(Loop& loop, std::unique_ptr<Process> process, int output, std::function<void(std::string_view)> on_line)
      : process_(std::move(process)), output_(loop, output), deadline_(loop), on_line_(std::move(on_line)) {}

  ~Running() {
    // Reached with the command alive only if the caller was cancelled.
    if (process_->Ended()) return;
    for (const Entry& entry : TreeOf(process_->identity(), process_->marker())) {
      SendSignal({process_->identity().boot_id, entry.pid, entry.start_time}, SIGKILL);
    }
  }

  Task<void> Read() {
    char buffer[4096];
    for (;;) {
      boost::system::error_code error;
      const size_t count =
          co_await output_.async_read_some(boost::asio::buffer(buffer), redirect_error(use_awaitable, error));
      Take(std::string_view(buffer, count));
      if (error) break;
    }
    // Stopped because the command has ended: what it wrote last is in the pipe still. Something that it left behind
    // may hold the pipe open, so waiting for its end would be wrong.
    for (;;) {
      const ssize_t count = read(output_.native_handle(), buffer, sizeof(buffer));
      if (count <= 0) break;
      Take(std::string_view(buffer, static_cast<size_t>(count)));
    }
    EndLine();
  }

  Task<void> Finish(absl::Duration timeout) {
    deadline_.expires_after(absl::ToChronoNanoseconds(timeout));
    const bool ended = (co_await (WaitForEnd() || WaitForDeadline())).index() == 0;
    if (!ended) {
      result_.timed_out = true;
      (void)co_await process_->End(SIGKILL, absl::ZeroDuration());
      result_.exit = process_->Ended().value_or(Exit{});
    }
    output_.cancel();
  }

  RunResult Result() {
    result_.output = CleanText(result_.output);
    return std::move(result_);
  }

 private:
  Task<void> WaitForEnd() { result_.exit = co_await process_->Wait(); }
  Task<void> WaitForDeadline() {
    boost::system::error_code error;
    co_await deadline_.async_wait(redirect_error(use_awaitable, error));
  }

  void Take(std::string_view text) {
    result_.output += text;
    if (result_.output.size() > 2 * kOutputKept) result_.output.erase(0, result_.output.size() - kOutputKept);
    for (const char c : text) {
      // Progress bars return the carriage instead of ending lines.
      if (c == '\n' || c == '\r' || line_.size() >= kLongestLine) {
        EndLine();
      } else {
        line_ += c;
      }
    }
  }

  void EndLine() {
    if (!line_.empty() && on_line_) on_line_(CleanText(line_));
    line_.clear();
  }

  std::unique_ptr<Process> process_;
  boost::asio::posix::stream_descriptor output_;
  boost::asio::steady_timer deadline_;
  std::function<void(std::string_view)> on_line_;
  std::string line_;
  RunResult result_;
};

}  // namespace

Task<absl::StatusOr<RunResult>> Run(Loop& loop, Command command, absl::Duration timeout,
                                    std::function<void(std::string_view line)> on_line) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) co_return absl::ResourceExhaustedError("no pipe for the output of a command");
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  command.output_fd = ends[1];
  absl::StatusOr<std::unique_ptr<Process>> process = Process::Spawn(loop, command);
  close(ends[1]);
  if (!process.ok()) {
    close(ends[0]);
    co_return process.status();
  }
  Running running(loop, *std::move(process), ends[0], std::move(on_line));
  co_await (running.Read() && running.Finish(timeout));
  co_return running.Result();
}

}  // namespace aima::process
