// Questions to the user.
#pragma once

#include <absl/status/status.h>

#include <string>

namespace aima::cli {

// OK if the user says yes to `question`. Without a terminal nobody can be asked: the error then names the flag that
// says yes beforehand.
absl::Status Confirm(const std::string& question, const std::string& flag);

}  // namespace aima::cli
