// What a command works with.
#pragma once

#include <absl/status/status.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/signal_set.hpp>
#include <exception>
#include <optional>
#include <string>

#include "libs/base/task.h"
#include "services/cli/command_line.h"

namespace aima::cli {

struct Command;

struct Session {
  Loop& loop;
  Globals globals;
  Arguments arguments;               // what follows the command, without the global flags
  const Command* command = nullptr;  // the one that runs
};

// A command. Results go to standard output, progress to standard error; errors are returned.
using CommandFunction = absl::Status (*)(Session& session);

absl::Status UnitVerb(Session& session);  // runs the unit of session.command
absl::Status PullCommand(Session& session);
absl::Status RemoveCommand(Session& session);
absl::Status ListCommand(Session& session);
absl::Status ProcessesCommand(Session& session);
absl::Status RunCommand(Session& session);
absl::Status ChatCommand(Session& session);
absl::Status ExecCommand(Session& session);
absl::Status UnitsCommand(Session& session);
absl::Status WatchCommand(Session& session);
absl::Status EventsCommand(Session& session);
absl::Status StartCommand(Session& session);
absl::Status StopCommand(Session& session);
absl::Status StatusCommand(Session& session);
absl::Status LogsCommand(Session& session);
absl::Status DoctorCommand(Session& session);
absl::Status ConfigCommand(Session& session);
absl::Status KeyCommand(Session& session);
absl::Status McpCommand(Session& session);
absl::Status HelpCommand(Session& session);
absl::Status ManCommand(Session& session);
absl::Status CompletionCommand(Session& session);
absl::Status CompleteCommand(Session& session);  // hidden: prints what may come next
absl::Status VersionCommand(Session& session);

// Runs a task on the session's loop until it is done.
template <class T>
T Await(Loop& loop, Task<T> task) {
  std::optional<T> result;
  std::exception_ptr thrown;
  boost::asio::co_spawn(loop, std::move(task), [&](std::exception_ptr error, T value) {
    thrown = error;
    if (!error) result.emplace(std::move(value));
  });
  loop.restart();
  while (!result && !thrown && loop.run_one() > 0) {
  }
  if (thrown) std::rethrow_exception(thrown);
  return std::move(result).value();
}

// The same for a task that the user may end with Ctrl-C: CANCELLED then, and the task is gone.
absl::Status AwaitOrInterrupt(Loop& loop, Task<absl::Status> task);

}  // namespace aima::cli
