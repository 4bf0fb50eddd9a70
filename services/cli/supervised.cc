#include "services/cli/supervised.h"

#include <algorithm>

namespace aima::cli {

const char* StateText(Supervised::State state) {
  switch (state) {
    case Supervised::State::kWaiting: return "waiting";
    case Supervised::State::kStarting: return "starting";
    case Supervised::State::kReady: return "ready";
    case Supervised::State::kRestarting: return "restarting";
    case Supervised::State::kStopping: return "stopping";
    case Supervised::State::kStopped: return "stopped";
    case Supervised::State::kFailed: return "failed";
  }
  return "unknown";
}

absl::Duration RestartDelay(int failures, absl::Duration base, absl::Duration most, double random) {
  if (failures <= 0) return absl::ZeroDuration();
  const absl::Duration span = std::min(most, base * (int64_t{1} << std::min(failures - 1, 20)));
  return span * random;
}

}  // namespace aima::cli
