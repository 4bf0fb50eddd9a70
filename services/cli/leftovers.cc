// What a supervisor that was killed left running (supervisor.h).
#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <signal.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <filesystem>

#include "services/cli/pid_file.h"
#include "services/cli/supervisor.h"

namespace aima::cli {
namespace {

namespace fs = std::filesystem;

struct Leftover {
  std::string name;
  process::Identity identity;
  std::string file;
};

Task<bool> Gone(const std::vector<Leftover>& group, absl::Duration timeout) {
  const absl::Time end = absl::Now() + timeout;
  boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor);
  for (;;) {
    bool running = false;
    for (const Leftover& leftover : group) running = running || process::Lives(leftover.identity);
    if (!running) co_return true;
    if (absl::Now() >= end) co_return false;
    timer.expires_after(std::chrono::milliseconds(20));
    boost::system::error_code ignored;
    co_await timer.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
  }
}

void Signal(const std::vector<Leftover>& group, int signal) {
  for (const Leftover& leftover : group) process::SendSignal(leftover.identity, signal);
}

}  // namespace

Task<std::vector<std::string>> EndLeftovers(std::string data_dir, absl::Duration timeout) {
  std::vector<Leftover> services, database;
  std::vector<std::string> ended;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(data_dir + "/run", ignored)) {
    if (entry.path().extension() != ".pid" || entry.path().stem() == "supervisor") continue;
    const std::optional<process::Identity> identity = ReadPidFile(entry.path());
    if (!identity || !process::Lives(*identity)) {
      fs::remove(entry.path(), ignored);
      continue;
    }
    const std::string name = entry.path().stem();
    (name == "postgres" ? database : services).push_back({name, *identity, entry.path()});
    ended.push_back(absl::StrCat(name, " (pid ", identity->pid, ")"));
  }
  Signal(services, SIGTERM);
  if (!co_await Gone(services, timeout)) Signal(services, SIGKILL);
  co_await Gone(services, absl::Seconds(10));
  Signal(database, SIGINT);
  if (!co_await Gone(database, timeout)) Signal(database, SIGQUIT);
  co_await Gone(database, absl::Seconds(10));
  for (const std::vector<Leftover>* group : {&services, &database}) {
    for (const Leftover& leftover : *group) fs::remove(leftover.file, ignored);
  }
  co_return ended;
}

}  // namespace aima::cli
