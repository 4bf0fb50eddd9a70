#include "services/cli/left_engines.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/time/clock.h>
#include <signal.h>

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <filesystem>
#include <fstream>

#include "libs/base/status_macros.h"
#include "services/cli/pid_file.h"

namespace aima::cli {
namespace {

namespace fs = std::filesystem;

// Its log bears the name of the instance, which the run's own does not tell; the shim was told which log that is.
std::string NameOf(const process::ShimState& state) {
  std::ifstream file(absl::StrCat("/proc/", state.shim.pid, "/cmdline"), std::ios::binary);
  std::string word;
  while (std::getline(file, word, '\0') && word != "--") {
    if (word == "--log" && std::getline(file, word, '\0')) return fs::path(word).stem();
  }
  return state.instance;
}

Task<void> Pause(absl::Duration time) {
  boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor, absl::ToChronoNanoseconds(time));
  boost::system::error_code ignored;
  co_await timer.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
}

}  // namespace

std::string LeftEngine::ToString() const { return absl::StrCat(name, " (pid ", state.program.pid, ")"); }

std::vector<LeftEngine> LeftEngines(const std::string& data_dir) {
  std::vector<LeftEngine> engines;
  // The service that is in office, as its shims know it.
  const std::optional<process::Identity> keeper = ReadPidFile(data_dir + "/run/engine.tenure");
  if (keeper && process::Lives(*keeper)) return engines;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(data_dir + "/run/engines", ignored)) {
    const std::optional<process::ShimState> state = process::ReadShimState(entry.path());
    if (state && process::Lives(state->shim)) engines.push_back({NameOf(*state), entry.path(), *state});
  }
  std::sort(engines.begin(), engines.end(), [](const LeftEngine& a, const LeftEngine& b) { return a.name < b.name; });
  return engines;
}

Task<absl::Status> EndLeftEngines(std::vector<LeftEngine> engines, absl::Duration timeout) {
  // A shim obeys SIGTERM from everybody: it asks its engine to end, and kills what does not.
  for (const LeftEngine& engine : engines) process::SendSignal(engine.state.shim, SIGTERM);
  const auto running = [&engines] {
    return std::any_of(engines.begin(), engines.end(),
                       [](const LeftEngine& engine) { return process::Lives(engine.state.shim); });
  };
  for (const absl::Time end = absl::Now() + timeout; running() && absl::Now() < end;) {
    co_await Pause(absl::Milliseconds(20));
  }
  absl::Status worst;
  for (const LeftEngine& engine : engines) {
    worst.Update(co_await process::EndRun(engine.state.shim, engine.state.instance, engine.directory,
                                          absl::ZeroDuration()));
  }
  co_return worst;
}

std::string NamesOf(const std::vector<LeftEngine>& engines) {
  return absl::StrJoin(engines, ", ",
                       [](std::string* out, const LeftEngine& engine) { absl::StrAppend(out, engine.ToString()); });
}

}  // namespace aima::cli
