// One process that the supervisor keeps running.
#pragma once

#include <absl/time/time.h>
#include <signal.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "libs/process/process.h"

namespace aima::cli {

// What is known of it. Written by the supervisor only.
struct Supervised {
  enum class State { kWaiting, kStarting, kReady, kRestarting, kStopping, kStopped, kFailed };

  // What to run.
  std::string name;  // "model": also the name of its log and pid file
  process::Command command;
  std::string address;  // where it is reached, for people
  std::string user;     // as whom it runs; empty is the supervisor's own
  int stop_signal = SIGTERM;
  std::function<bool(int pid)> is_ready;  // asked while it starts, if it does not say so by itself

  // How it does.
  State state = State::kWaiting;
  std::unique_ptr<process::Process> process;
  absl::Time since;     // when it was started, or ended
  absl::Time progress;  // when it last said something new
  absl::Time heard;     // when it last gave a sign of life
  int restarts = 0;
  std::string status_text;  // what it last said about itself
  std::string last_exit;    // how it last ended
  size_t log_begin = 0;     // where its log begins in the log file

  bool Running() const { return process != nullptr; }
};

const char* StateText(Supervised::State state);

// The waiting time before restart number `failures` + 1 in a row: none at first, then a random part of a span that
// doubles from `base` to `most`.
absl::Duration RestartDelay(int failures, absl::Duration base, absl::Duration most, double random);

}  // namespace aima::cli
