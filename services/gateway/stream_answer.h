// An answer that comes piece by piece, and begins with its first piece: what fails before has a status of its own.
#pragma once

#include <absl/status/status.h>

#include <string_view>

#include "libs/base/task.h"
#include "libs/http/server.h"

namespace aima::gateway {

// Headers of streams: nothing between here and the client is to hold pieces back.
http::Headers StreamHeaders(const char* type);

// Used on the loop, by one writer at a time. An error means that the client has gone.
class StreamAnswer {
 public:
  StreamAnswer(http::Exchange& exchange, http::Headers headers) : exchange_(exchange), headers_(std::move(headers)) {}

  bool begun() const { return begun_; }
  // An empty piece begins the answer and sends nothing else.
  Task<absl::Status> Write(std::string_view piece);
  // Writes the last piece, and says that the answer is whole.
  Task<void> End(std::string_view last);

 private:
  http::Exchange& exchange_;
  http::Headers headers_;
  bool begun_ = false;
};

}  // namespace aima::gateway
