#include "libs/process/shim.h"

#include <absl/strings/ascii.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>
#include <absl/time/clock.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <filesystem>
#include <fstream>
#include <map>

#include "libs/base/status_macros.h"

// glibc 2.36 forgets to say that these are C.
extern "C" {
#include <sys/pidfd.h>
}

namespace aima::process {
namespace {

using boost::asio::redirect_error;
using boost::asio::use_awaitable;
using namespace boost::asio::experimental::awaitable_operators;  // NOLINT: operators

// A shim says within moments whether its program runs; only a machine that stands still needs longer.
constexpr absl::Duration kShimPatience = absl::Seconds(20);
// For the shim's own SIGKILLs to take effect.
constexpr absl::Duration kKillPatience = absl::Seconds(10);

Task<void> Pause(absl::Duration time) {
  boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor, absl::ToChronoNanoseconds(time));
  boost::system::error_code error;
  co_await timer.async_wait(redirect_error(use_awaitable, error));
}

// Everything up to the end of the stream.
Task<std::string> ReadAll(boost::asio::posix::stream_descriptor& stream) {
  std::string text;
  char buffer[512];
  for (;;) {
    boost::system::error_code error;
    const size_t count =
        co_await stream.async_read_some(boost::asio::buffer(buffer), redirect_error(use_awaitable, error));
    text.append(buffer, count);
    if (error) co_return text;
  }
}

// To exactly this shim. A real-time signal, because those queue: a second one that comes at once is not lost.
void AskToStop(const Identity& shim, absl::Duration grace) {
  const int handle = pidfd_open(shim.pid, 0);
  if (handle < 0) return;
  siginfo_t info{};
  info.si_signo = SIGRTMIN;
  info.si_code = SI_QUEUE;
  info.si_pid = getpid();
  info.si_uid = getuid();
  info.si_value.sival_int = static_cast<int>(absl::ToInt64Milliseconds(grace));
  // The number is proven only after the handle is held.
  if (Lives(shim) && pidfd_send_signal(handle, SIGRTMIN, &info, 0) != 0) pidfd_send_signal(handle, SIGTERM, nullptr, 0);
  close(handle);
}

}  // namespace

absl::StatusOr<std::string> FindShim() {
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  for (const char* place : {"aima-shim", "../bin/aima-shim"}) {
    const std::filesystem::path path = (program.parent_path() / place).lexically_normal();
    if (access(path.c_str(), X_OK) == 0) return path.string();
  }
  return absl::FailedPreconditionError(absl::StrCat("there is no aima-shim beside ", program.string()));
}

std::optional<ShimState> ReadShimState(const std::string& directory) {
  std::ifstream file(directory + "/state", std::ios::binary);
  std::map<std::string, std::string> values;
  std::string line;
  while (std::getline(file, line)) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(line, absl::MaxSplits(' ', 1));
    values.insert(pair);
  }
  if (!values.contains("instance") || !values.contains("shim_pid")) return std::nullopt;
  const auto number = [&](const char* name) {
    int64_t value = 0;
    return absl::SimpleAtoi(values[name], &value) ? value : 0;
  };
  ShimState state;
  state.instance = values["instance"];
  state.shim = {values["boot_id"], static_cast<int>(number("shim_pid")), number("shim_start_time")};
  state.program = {values["boot_id"], static_cast<int>(number("pid")), number("start_time")};
  state.cgroup = values["cgroup"];
  if (number("ended_ms") > 0) {
    Exit exit;
    if (number("exit_code") >= 0) exit.code = static_cast<int>(number("exit_code"));
    if (number("exit_signal") > 0) exit.signal = static_cast<int>(number("exit_signal"));
    state.exit = exit;
    state.ended_at = absl::FromUnixMillis(number("ended_ms"));
  }
  return state;
}

Shim::Shim(std::unique_ptr<Process> process, std::string directory, Identity program)
    : process_(std::move(process)), directory_(std::move(directory)), program_(std::move(program)) {}

Task<absl::StatusOr<std::unique_ptr<Shim>>> Shim::Start(Loop& loop, std::string shim_program, ShimOrder order) {
  std::error_code error;
  std::filesystem::create_directories(order.directory, error);
  chmod(order.directory.c_str(), 0700);
  // What an earlier try under the same name has left would be read as this one's.
  unlink((order.directory + "/state").c_str());
  Command command = order.command;
  command.argv = {shim_program,      "--instance",    command.marker,  "--dir",
                  order.directory,   "--log",         command.log_path, "--log-bytes",
                  absl::StrCat(order.log_bytes), "--stop-signal", absl::StrCat(order.stop_signal), "--grace-ms",
                  absl::StrCat(absl::ToInt64Milliseconds(order.grace))};
  if (!order.tenure_file.empty()) command.argv.insert(command.argv.end(), {"--tenure", order.tenure_file});
  command.argv.push_back("--");
  command.argv.insert(command.argv.end(), order.command.argv.begin(), order.command.argv.end());
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) co_return absl::ErrnoToStatus(errno, "cannot make a pipe");
  boost::asio::posix::stream_descriptor output(loop, ends[0]);
  command.output_fd = ends[1];
  absl::StatusOr<std::unique_ptr<Process>> process = Process::Spawn(loop, command);
  close(ends[1]);
  if (!process.ok()) co_return process.status();

  std::string said;
  const auto listen = [&]() -> Task<void> { said = co_await ReadAll(output); };
  const auto heard = co_await (listen() || Pause(kShimPatience));
  const std::optional<ShimState> state = ReadShimState(order.directory);
  const bool runs = heard.index() == 0 && said.empty() && state && state->program.pid != 0;
  if (runs) {
    co_return std::unique_ptr<Shim>(new Shim(*std::move(process), order.directory, state->program));
  }
  (void)co_await EndRun((*process)->identity(), command.marker, order.directory, absl::ZeroDuration());
  if (said.empty()) said = absl::StrCat("aima-shim ", (*process)->Ended().value_or(Exit()).ToString());
  co_return absl::InternalError(absl::StripTrailingAsciiWhitespace(said));
}

Task<absl::StatusOr<std::unique_ptr<Shim>>> Shim::Adopt(Loop& loop, std::string directory, std::string marker) {
  const absl::Time give_up = absl::Now() + kShimPatience;
  for (;;) {
    const std::optional<ShimState> state = ReadShimState(directory);
    if (!state || state->instance != marker) co_return absl::NotFoundError(absl::StrCat("no shim of ", marker));
    CO_ASSIGN_OR_RETURN(std::unique_ptr<Process> process, Process::Adopt(loop, state->shim, marker));
    if (state->program.pid != 0) {
      co_return std::unique_ptr<Shim>(new Shim(std::move(process), directory, state->program));
    }
    // It is just about to start its program.
    if (absl::Now() >= give_up) co_return absl::NotFoundError(absl::StrCat("the shim of ", marker, " runs nothing"));
    co_await Pause(absl::Milliseconds(5));
  }
}

Task<Exit> Shim::Wait() {
  (void)co_await process_->Wait();
  co_return Ended().value_or(Exit());
}

std::optional<Exit> Shim::Ended() {
  if (!process_->Ended()) return std::nullopt;
  const std::optional<ShimState> state = ReadShimState(directory_);
  // Without a record the shim was killed itself, and nobody knows.
  return state && state->exit ? *state->exit : Exit();
}

void Shim::Stop(absl::Duration grace) const { AskToStop(identity(), grace); }

Task<absl::Status> Shim::End(absl::Duration grace, MaySignal may_signal) {
  Stop(grace);
  co_await (process_->Wait() || Pause(grace + kKillPatience));
  co_return co_await EndRun(identity(), process_->marker(), directory_, absl::ZeroDuration(), std::move(may_signal));
}

Task<absl::Status> EndRun(Identity shim, std::string marker, std::string directory, absl::Duration grace,
                          MaySignal may_signal) {
  // Whoever started it may have died before it could note the shim; the shim has noted itself.
  if (const std::optional<ShimState> state = ReadShimState(directory);
      shim.pid == 0 && state && state->instance == marker) {
    shim = state->shim;
  }
  if (Lives(shim)) {
    AskToStop(shim, grace);
    const absl::Time give_up = absl::Now() + grace + kKillPatience;
    while (Lives(shim) && absl::Now() < give_up) co_await Pause(absl::Milliseconds(5));
  }
  // What no shim looks after any more.
  const absl::Status ended = co_await EndTree(shim, marker, SIGKILL, absl::ZeroDuration(), std::move(may_signal));
  if (const std::optional<ShimState> state = ReadShimState(directory); state && !state->cgroup.empty()) {
    rmdir(state->cgroup.c_str());
  }
  co_return ended;
}

}  // namespace aima::process
