// State that a client carries for us between the rounds of one call: nobody else can make or change it.
#pragma once

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <string>
#include <string_view>

namespace aima::gateway::mcp {

class SealedState {
 public:
  SealedState();

  // `purpose` is who calls what with which arguments: the state opens for nothing else, and not after `expires`.
  std::string Seal(std::string_view state, std::string_view purpose, absl::Time expires) const;
  // The state; INVALID_INPUT if it was not sealed here for this purpose, or is too old.
  absl::StatusOr<std::string> Open(std::string_view sealed, std::string_view purpose, absl::Time now) const;

 private:
  std::string Signature(std::string_view body, std::string_view purpose) const;

  const std::string key_;  // of this process
};

}  // namespace aima::gateway::mcp
