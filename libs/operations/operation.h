// A unit call that outlives its caller.
#pragma once

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace aima::operations {

enum class State {
  kPending,    // recorded; waits for others to end
  kRunning,    // its unit is being called, or will be called again in a moment
  kSucceeded,
  kFailed,
  kCancelled,
  kUnknown,    // a command was sent, and whether it took effect could not be learnt in time
};
std::string_view NameOf(State state);  // pending, running …
State StateOf(std::string_view name);

// Results that only name what lies elsewhere are shorter than this.
inline constexpr int64_t kShortResult = 64 << 10;

// Input, progress and result are messages of the unit, serialized: only the Caller looks inside.
struct Operation {
  std::string id;
  std::string unit;
  std::string input;
  std::string principal;  // who called, and as what
  std::string role;
  std::string trace_id;
  std::string idempotency_key;  // the caller's, or the operation's id
  State state = State::kPending;
  int attempts = 0;
  std::string progress;  // the newest; empty if there is none
  std::string result;    // of kSucceeded
  absl::Status error;    // of kFailed, kCancelled and kUnknown
  bool cancel_requested = false;
  int64_t term = 0;
  absl::Time created;
  std::optional<absl::Time> started;
  std::optional<absl::Time> finished;
  absl::Time deadline;  // after it, the unit is not called again
  bool repeated = false;  // what Start returns was recorded by an earlier call with the same key

  bool ended() const { return state != State::kPending && state != State::kRunning; }
};

}  // namespace aima::operations
