// An operation in this process's hands. For operations.cc and running.cc only.
#pragma once

#include "libs/operations/operations.h"

namespace aima::operations {

// The error of an operation that its caller ended.
absl::Status Cancelled();

struct Operations::Running {
  Operation operation;
  boost::asio::cancellation_signal stop;  // of the call
  bool calling = false;                   // there is a call that could be stopped
  bool lost = false;                      // another process has taken it over
  bool doubt = false;                     // an earlier attempt may have taken effect
  bool unsaved = false;                   // progress that is not in the table yet
};

}  // namespace aima::operations
