#include "services/cli/supervisor.h"

#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <sys/resource.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <filesystem>
#include <random>

#include "libs/base/status_macros.h"
#include "libs/config/config.h"
#include "services/cli/database_probe.h"
#include "services/cli/files.h"
#include "services/cli/listen_check.h"
#include "services/cli/pid_file.h"

namespace aima::cli {
namespace {

namespace fs = std::filesystem;
using State = Supervised::State;
constexpr char kPostgres[] = "postgres";
constexpr char kPrefix[] = "aima-";
constexpr absl::Duration kLongestStart = absl::Minutes(10);  // however much it says
constexpr rlim_t kDescriptors = 65536;  // as in deploy/systemd
constexpr absl::Duration kStableAfter = absl::Seconds(60);

double Random() {
  static std::mt19937_64 engine(std::random_device{}());
  return std::uniform_real_distribution<double>(0, 1)(engine);
}

// Services are the programs aima-<domain>. The shim is started by the engine service.
std::vector<fs::path> ServicePrograms(const std::string& libexec) {
  std::vector<fs::path> programs;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(libexec, ignored)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(kPrefix) || name == "aima-shim" || !entry.is_regular_file(ignored)) continue;
    if ((entry.status(ignored).permissions() & fs::perms::owner_exec) == fs::perms::none) continue;
    programs.push_back(entry.path());
  }
  std::sort(programs.begin(), programs.end());
  return programs;
}

// Connections are descriptors, and the 1024 that sessions get by default are few. What is started inherits it, as
// under systemd.
void AllowDescriptors() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = std::max(limit.rlim_cur, std::min<rlim_t>(limit.rlim_max, kDescriptors));
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

Supervisor::Supervisor(Loop& loop, SupervisorOptions options)
    : loop_(loop),
      options_(std::move(options)),
      data_dir_(options_.config.general().data_dir()),
      run_dir_(data_dir_ + "/run"),
      log_dir_(options_.config.logging().dir()),
      changed_(loop, boost::asio::steady_timer::time_point::max()) {}

Supervisor::~Supervisor() = default;

// Every task is counted, so that Stop returns only when none is left that could touch this object.
void Supervisor::Spawn(Task<void> task) {
  ++tasks_;
  boost::asio::co_spawn(loop_, std::move(task), [this](std::exception_ptr) {
    --tasks_;
    changed_.cancel();
  });
}

Task<bool> Supervisor::Until(std::function<bool()> condition, absl::Duration timeout) {
  const absl::Time end = absl::Now() + timeout;
  boost::asio::steady_timer alarm(loop_, absl::ToChronoNanoseconds(std::min(timeout, absl::Hours(24 * 365))));
  alarm.async_wait([this](boost::system::error_code error) {
    if (!error) changed_.cancel();
  });
  while (!condition()) {
    if (absl::Now() >= end) co_return false;
    boost::system::error_code ignored;
    co_await changed_.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
  }
  co_return true;
}

void Supervisor::Changed() {
  WriteState();
  changed_.cancel();
}

void Supervisor::RequestStop() {
  stopping_ = true;
  changed_.cancel();
}

Task<absl::Status> Supervisor::Start() {
  AllowDescriptors();
  CO_RETURN_IF_ERROR(MakePrivateDirectory(run_dir_));
  CO_RETURN_IF_ERROR(MakePrivateDirectory(log_dir_));
  CO_RETURN_IF_ERROR(FindServices());
  for (const std::string& ended : co_await EndLeftovers(data_dir_, options_.stop_timeout)) {
    options_.report(absl::StrCat("stopped ", ended, ", left by a supervisor that was killed"));
  }
  const config::v1::Api& api = options_.config.api();
  CO_RETURN_IF_ERROR(CheckFree("api.listen_addr", api.listen_addr()));
  if (!api.grpc_addr().empty()) CO_RETURN_IF_ERROR(CheckFree("api.grpc_addr", api.grpc_addr()));
  CO_ASSIGN_OR_RETURN(notify_, NotifySocket::Open(loop_, run_dir_ + "/notify.sock"));
  Spawn(ReceiveNotifications());
  Spawn(EndSilent());
  Spawn(RotateLogs());
  absl::Status status = co_await StartPostgres();
  if (status.ok()) status = co_await StartServices();
  if (!status.ok()) {
    co_await Stop();
    co_return status;
  }
  starting_ = false;
  Changed();
  co_return absl::OkStatus();
}

absl::Status Supervisor::FindServices() {
  const config::v1::Api& api = options_.config.api();
  const std::string http = absl::StrCat(api.tls_cert().empty() ? "http://" : "https://", api.listen_addr());
  for (const fs::path& program : ServicePrograms(options_.places.libexec)) {
    auto item = std::make_unique<Supervised>();
    item->name = program.filename().string().substr(sizeof kPrefix - 1);
    item->command.argv = {program, "--config", EffectiveConfigFile(data_dir_), "--share-dir",
                          options_.places.share};
    item->address = item->name != "gateway"   ? absl::StrCat(run_dir_, "/", item->name, ".sock")
                    : api.grpc_addr().empty() ? http
                                              : absl::StrCat(http, ", gRPC ", api.grpc_addr());
    processes_.push_back(std::move(item));
  }
  if (processes_.empty()) {
    return absl::NotFoundError(absl::StrCat("there are no programs aima-* in ", options_.places.libexec));
  }
  // The order in which they are started and shown.
  const auto rank = [](const std::unique_ptr<Supervised>& item) {
    return std::pair(item->name == "event" ? 0 : item->name == "gateway" ? 2 : 1, item->name);
  };
  std::sort(processes_.begin(), processes_.end(), [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
  return absl::OkStatus();
}

Task<absl::Status> Supervisor::StartPostgres() {
  if (options_.config.database().url().empty()) {
    CO_ASSIGN_OR_RETURN(postgres_, PrivatePostgres::Find(data_dir_, options_.places.program));
    auto item = std::make_unique<Supervised>();
    item->name = kPostgres;
    item->command.argv = postgres_->ServerCommand();
    item->address = postgres_->socket_dir();
    item->user = postgres_->user();
    item->stop_signal = SIGINT;
    item->is_ready = [this](int pid) { return postgres_->IsReady(pid); };
    Supervised& postgres = *item;
    processes_.insert(processes_.begin(), std::move(item));
    options_.report(absl::StrCat("starting PostgreSQL", postgres.user.empty() ? "" : " as user ", postgres.user));
    CO_RETURN_IF_ERROR(co_await postgres_->Prepare(loop_, LogOf(postgres)));
    Spawn(Keep(postgres));
    CO_RETURN_IF_ERROR(co_await AwaitReady({&postgres}));
    options_.config.mutable_database()->set_url(postgres_->Url());
  } else if (const std::string why = WhyUnreachable(options_.config.database().url()); !why.empty()) {
    // It may come yet, and the services wait for it; who looks on knows at once what for.
    options_.report(absl::StrCat("the database of database.url does not answer yet: ", why));
  }
  co_return WriteFile(EffectiveConfigFile(data_dir_), config::ToYaml(options_.config, /*with_secrets=*/true),
                      0600);
}

Task<absl::Status> Supervisor::StartServices() {
  // The event service first: the others relay to it from the start. The rest finds each other by itself.
  for (const bool event : {true, false}) {
    std::vector<Supervised*> group;
    std::string names;
    for (const auto& item : processes_) {
      if (item->name == kPostgres || (item->name == "event") != event) continue;
      group.push_back(item.get());
      absl::StrAppend(&names, names.empty() ? "" : ", ", item->name);
      Spawn(Keep(*item));
    }
    if (group.empty()) continue;
    options_.report(absl::StrCat("starting ", names));
    CO_RETURN_IF_ERROR(co_await AwaitReady(group));
  }
  co_return absl::OkStatus();
}

Task<absl::Status> Supervisor::AwaitReady(std::vector<Supervised*> group) {
  const auto in = [&group](State state) {
    return [&group, state] {
      return std::any_of(group.begin(), group.end(), [&](Supervised* item) { return item->state == state; });
    };
  };
  const auto ready = [&group] {
    return std::all_of(group.begin(), group.end(), [](Supervised* item) { return item->state == State::kReady; });
  };
  for (;;) {
    co_await Until([&] { return stopping_ || ready() || in(State::kFailed)(); }, absl::Seconds(1));
    if (stopping_) co_return absl::CancelledError("stopped while starting");
    if (ready()) co_return absl::OkStatus();
    for (const Supervised* item : group) {
      const absl::Time now = absl::Now();
      const bool silent = item->state == State::kStarting &&
                          (now - item->progress > options_.start_timeout || now - item->since > kLongestStart);
      if (item->state == State::kFailed || silent) co_return absl::UnavailableError(WhyNot(*item));
    }
  }
}

std::string Supervisor::WhyNot(const Supervised& item) const {
  std::string text = absl::StrCat(
      item.name, item.state == State::kFailed
                     ? absl::StrCat(" ended while starting: ", item.last_exit)
                     : absl::StrCat(" is not ready after ", absl::FormatDuration(options_.start_timeout),
                                    " without progress"));
  if (!item.status_text.empty()) absl::StrAppend(&text, "\n  it says: ", item.status_text);
  const std::string tail = Tail(LogOf(item), item.log_begin, 10);
  if (!tail.empty()) absl::StrAppend(&text, "\n  last lines of ", LogOf(item), ":\n", tail);
  return text;
}

std::string Supervisor::LogOf(const Supervised& item) const {
  return absl::StrCat(log_dir_, "/", item.name, ".log");
}

Task<void> Supervisor::Keep(Supervised& item) {
  int failures = 0;
  while (!stopping_) {
    const absl::Status launched = Launch(item);
    const bool was_starting = starting_;
    if (launched.ok()) {
      const process::Exit exit = co_await item.process->Wait();
      // Its last words may still be unread.
      while (const std::optional<Notification> word = notify_->TryNext()) Heed(*word);
      item.last_exit = exit.ToString();
      item.process.reset();
      std::error_code ignored;
      fs::remove(PidFileOf(item.name), ignored);
    } else {
      item.last_exit = std::string(launched.message());
    }
    const bool was_ready = item.state == State::kReady;
    const absl::Duration lived = absl::Now() - item.since;
    item.since = absl::Now();
    if (stopping_) break;
    if (was_starting && !was_ready) {
      item.state = State::kFailed;
      Changed();
      co_return;
    }
    failures = was_ready && lived > kStableAfter ? 0 : failures;
    const absl::Duration delay = RestartDelay(failures++, options_.restart_base, options_.restart_most, Random());
    options_.report(absl::StrCat(item.name, " ", item.last_exit, "; it is started again",
                                 delay > absl::ZeroDuration()
                                     ? " in " + absl::FormatDuration(absl::Trunc(delay, absl::Milliseconds(1)))
                                     : " at once"));
    item.state = State::kRestarting;
    ++item.restarts;
    Changed();
    co_await Until([this] { return stopping_; }, delay);
  }
  item.state = State::kStopped;
  Changed();
}

absl::Status Supervisor::Launch(Supervised& item) {
  item.command.log_path = LogOf(item);
  item.command.working_dir = item.name == kPostgres ? "/" : data_dir_;
  item.command.env = EnvironmentWith({{"NOTIFY_SOCKET", run_dir_ + "/notify.sock"}, {"AIMA_DATA_DIR", data_dir_}});
  item.log_begin = FileSize(item.command.log_path);
  item.status_text.clear();
  item.since = item.progress = item.heard = absl::Now();
  item.state = State::kStarting;
  absl::StatusOr<std::unique_ptr<process::Process>> process = process::Process::Spawn(loop_, item.command);
  RETURN_IF_ERROR(process.status());
  item.process = *std::move(process);
  WritePidFile(PidFileOf(item.name), item.process->identity());
  if (item.is_ready) Spawn(AskWhetherReady(item, item.process->identity().pid));
  Changed();
  return absl::OkStatus();
}

Task<void> Supervisor::AskWhetherReady(Supervised& item, int pid) {
  const auto over = [&] {
    return item.state != State::kStarting || !item.process || item.process->identity().pid != pid;
  };
  while (!over()) {
    if (item.is_ready(pid)) {
      item.state = State::kReady;
      options_.report(absl::StrCat(item.name, " is ready"));
      Changed();
      co_return;
    }
    co_await Until(over, absl::Milliseconds(20));
  }
}

Task<void> Supervisor::ReceiveNotifications() {
  for (;;) {
    const absl::StatusOr<Notification> received = co_await notify_->Next();
    if (!received.ok()) co_return;
    Heed(*received);
  }
}

void Supervisor::Heed(const Notification& notification) {
  for (const auto& item : processes_) {
    if (!item->process || item->process->identity().pid != notification.pid) continue;
    item->heard = absl::Now();
    bool changed = false;
    const auto text = notification.values.find("STATUS");
    // To say the same again is no progress.
    if (text != notification.values.end() && item->status_text != text->second) {
      item->progress = absl::Now();
      item->status_text = text->second;
      changed = true;
      // What it waits for is known long before it is given up.
      if (item->state == State::kStarting && !notification.values.contains("READY")) {
        options_.report(absl::StrCat(item->name, ": ", item->status_text));
      }
    }
    if (notification.values.contains("READY") && item->state == State::kStarting) {
      item->state = State::kReady;
      options_.report(absl::StrCat(item->name, " is ready"));
      changed = true;
    }
    if (changed) Changed();
  }
}

Task<void> Supervisor::EndSilent() {
  absl::Time looked = absl::Now();
  while (!co_await Until([this] { return ended_; }, options_.silence / 8)) {
    const absl::Time now = absl::Now();
    // Was it this process that slept, or the machine? Then there are words that it has not read yet.
    const bool slept = now - looked > options_.silence / 2;
    looked = now;
    for (const auto& item : processes_) {
      if (slept) item->heard = now;
      if (item->name == kPostgres || item->state != State::kReady || now - item->heard < options_.silence) continue;
      if (!item->process || !process::SendSignal(item->process->identity(), SIGKILL)) continue;
      options_.report(absl::StrCat(item->name, " gave no sign of life for ", absl::FormatDuration(options_.silence), " and is killed"));
    }
  }
}

Task<void> Supervisor::RotateLogs() {
  while (!ended_) {
    for (const auto& item : processes_) RotateLog(LogOf(*item), options_.log_bytes, 2);
    RotateLog(log_dir_ + "/supervisor.log", options_.log_bytes, 2);
    co_await Until([this] { return ended_; }, absl::Seconds(10));
  }
}

Task<void> Supervisor::Serve() {
  co_await Until([this] { return stopping_; }, absl::InfiniteDuration());
}

Task<void> Supervisor::Stop() {
  if (options_.before_stop && !starting_) co_await options_.before_stop();
  RequestStop();
  const auto members = [this](auto belongs) {
    std::vector<Supervised*> group;
    for (const auto& item : processes_) {
      if (belongs(item->name)) group.push_back(item.get());
    }
    return group;
  };
  const auto other = [](const std::string& name) {
    return name != "gateway" && name != "event" && name != kPostgres;
  };
  co_await End(members([](const std::string& name) { return name == "gateway"; }));
  co_await End(members(other));
  co_await End(members([](const std::string& name) { return name == "event"; }));
  co_await End(members([](const std::string& name) { return name == kPostgres; }));
  ended_ = true;
  if (notify_) notify_->Close();
  co_await Until([this] { return tasks_ == 0; }, absl::InfiniteDuration());
  std::error_code ignored;
  fs::remove(StateFile(data_dir_), ignored);
}

Task<void> Supervisor::End(std::vector<Supervised*> group) {
  const auto gone = [&group] {
    return std::none_of(group.begin(), group.end(), [](Supervised* item) { return item->Running(); });
  };
  // What never served has nothing to finish, and may be waiting for something that does not come.
  std::vector<Supervised*> idle;
  for (Supervised* item : group) {
    if (item->state == State::kStarting && item->name != kPostgres) idle.push_back(item);
  }
  const auto force = [this](const std::vector<Supervised*>& items, int signal) {
    for (Supervised* item : items) {
      if (!item->process || !process::SendSignal(item->process->identity(), signal)) continue;
      options_.report(absl::StrCat(item->name, " does not end; sent signal ", signal));
    }
  };
  for (Supervised* item : group) {
    if (!item->process) continue;
    item->state = State::kStopping;
    process::SendSignal(item->process->identity(), item->stop_signal);
  }
  const absl::Duration patience = std::min(options_.idle_stop_timeout, options_.stop_timeout);
  if (co_await Until(gone, patience)) co_return;
  force(idle, SIGKILL);
  if (co_await Until(gone, options_.stop_timeout - patience)) co_return;
  if (group.front()->name == kPostgres) {
    force(group, SIGQUIT);  // lets its children end too, which SIGKILL would not
    if (co_await Until(gone, absl::Seconds(5))) co_return;
  }
  force(group, SIGKILL);
  co_await Until(gone, absl::InfiniteDuration());
}

}  // namespace aima::cli
