// Asks a running engine how it is.
#pragma once

#include <absl/time/time.h>

#include <string>

#include "libs/base/task.h"
#include "libs/http/client.h"

namespace aima::engine {

enum class Answer {
  kReady,    // 200
  kLoading,  // 503
  kRefused,  // nobody listens yet, or any more
  kSilent,   // no answer in time, or one that makes no sense
};

class HealthProbe {
 public:
  explicit HealthProbe(Loop& loop) : http_(loop) {}

  Task<Answer> Ask(int port, std::string path, absl::Duration patience);

 private:
  http::Client http_;
};

}  // namespace aima::engine
