// Runs all processes of a cluster on this machine: PostgreSQL, then the event service, then everything else.
#pragma once

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "aima/config/v1/config.pb.h"
#include "libs/base/task.h"
#include "services/cli/environment.h"
#include "services/cli/notify_socket.h"
#include "services/cli/private_postgres.h"
#include "services/cli/supervised.h"

namespace aima::cli {

struct SupervisorOptions {
  config::v1::Config config;
  Places places;
  std::function<void(const std::string& line)> report;  // hears what happens
  std::function<Task<void>()> before_stop;              // awaited before anything is stopped

  absl::Duration start_timeout = absl::Seconds(60);  // without news from a process that starts
  absl::Duration silence = absl::Seconds(60);        // until a service that gives no sign of life is killed
  absl::Duration stop_timeout = absl::Seconds(30);   // until a process that does not end is killed
  absl::Duration idle_stop_timeout = absl::Seconds(3);  // the same for one that never served
  absl::Duration restart_base = absl::Seconds(1);
  absl::Duration restart_most = absl::Seconds(60);
  size_t log_bytes = 10'000'000;  // of each log file, of which there are three
};

// Used on its loop only. The caller holds the lock of the data directory.
class Supervisor {
 public:
  Supervisor(Loop& loop, SupervisorOptions options);
  ~Supervisor();

  // Stops what an earlier supervisor left, starts everything and returns when all of it serves. If something does
  // not start, everything is stopped again and the error says what it was and what it said.
  Task<absl::Status> Start();

  // Returns when Stop has been called.
  Task<void> Serve();

  // Lets Start and Serve come to an end. May be called at any time, from the loop.
  void RequestStop();

  // Stops everything: first the gateway, then the services, the event service, and PostgreSQL last.
  Task<void> Stop();

  const std::vector<std::unique_ptr<Supervised>>& processes() const { return processes_; }

 private:
  absl::Status FindServices();
  Task<absl::Status> StartPostgres();
  Task<absl::Status> StartServices();
  Task<absl::Status> AwaitReady(std::vector<Supervised*> group);
  Task<void> Keep(Supervised& item);
  absl::Status Launch(Supervised& item);
  Task<void> AskWhetherReady(Supervised& item, int pid);
  Task<void> End(std::vector<Supervised*> group);
  Task<void> ReceiveNotifications();
  void Heed(const Notification& notification);
  // Kills services that fell silent, so that they are started again.
  Task<void> EndSilent();
  Task<void> RotateLogs();
  // Returns true as soon as `condition` holds, false after `timeout`.
  Task<bool> Until(std::function<bool()> condition, absl::Duration timeout);
  std::string WhyNot(const Supervised& item) const;
  std::string LogOf(const Supervised& item) const;
  std::string PidFileOf(const std::string& name) const { return run_dir_ + "/" + name + ".pid"; }
  void Changed();
  void WriteState() const;
  void Spawn(Task<void> task);

  Loop& loop_;
  SupervisorOptions options_;
  const std::string data_dir_;
  const std::string run_dir_;
  const std::string log_dir_;
  boost::asio::steady_timer changed_;  // cancelled at every change
  std::unique_ptr<NotifySocket> notify_;
  std::optional<PrivatePostgres> postgres_;
  std::vector<std::unique_ptr<Supervised>> processes_;
  bool starting_ = true;
  bool stopping_ = false;
  bool ended_ = false;
  int tasks_ = 0;
};

// What `aima status` reads: the file that the supervisor of a data directory keeps up to date.
std::string StateFile(const std::string& data_dir);

// The configuration of the running cluster, with database.url filled in.
std::string EffectiveConfigFile(const std::string& data_dir);

// Ends every process that a supervisor of this data directory wrote down, PostgreSQL last; for when that
// supervisor is dead. Returns what was ended.
Task<std::vector<std::string>> EndLeftovers(std::string data_dir, absl::Duration timeout);

}  // namespace aima::cli
