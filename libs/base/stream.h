// Streams of messages between a handler and its caller, free of any transport.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <optional>

#include "libs/base/task.h"

namespace aima {

// Where a streaming handler writes. One Write at a time.
template <class T>
class StreamWriter {
 public:
  virtual ~StreamWriter() = default;

  // Returns when the message has been handed to the transport, which gives back-pressure. CANCELLED once the
  // caller is gone or the deadline has passed: stop working then.
  virtual Task<absl::Status> Write(const T& message) = 0;
};

// Where a caller reads. One Next at a time; destroying the reader cancels the call.
template <class T>
class StreamReader {
 public:
  virtual ~StreamReader() = default;

  // The next message, nullopt at the end of a stream that succeeded, or the error that ended it.
  virtual Task<absl::StatusOr<std::optional<T>>> Next() = 0;
};

}  // namespace aima
