// What a command works with.
#pragma once

#include <absl/status/status.h>

#include <boost/asio/co_spawn.hpp>
#include <exception>
#include <optional>
#include <string>

#include "libs/base/task.h"
#include "services/cli/command_line.h"

namespace aima::cli {

struct Session {
  Loop& loop;
  Globals globals;
  Arguments arguments;  // what follows the command, without the global flags
};

// A command. Results go to standard output, progress to standard error; errors are returned.
using CommandFunction = absl::Status (*)(Session& session);

absl::Status ExecCommand(Session& session);
absl::Status UnitsCommand(Session& session);
absl::Status ChatCommand(Session& session);
absl::Status EventsCommand(Session& session);
absl::Status StartCommand(Session& session);
absl::Status StopCommand(Session& session);
absl::Status StatusCommand(Session& session);
absl::Status KeyCommand(Session& session);
absl::Status McpCommand(Session& session);
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

}  // namespace aima::cli
