#include "services/gateway/stream_answer.h"

#include <utility>

#include "libs/base/status_macros.h"

namespace aima::gateway {

http::Headers StreamHeaders(const char* type) {
  return {{"Content-Type", type}, {"Cache-Control", "no-store"}, {"X-Accel-Buffering", "no"}};
}

Task<absl::Status> StreamAnswer::Write(std::string_view piece) {
  if (!std::exchange(begun_, true)) CO_RETURN_IF_ERROR(co_await exchange_.StartStream(200, std::move(headers_)));
  if (piece.empty() || exchange_.WriteNow(piece)) co_return absl::OkStatus();
  co_return co_await exchange_.Flush();
}

Task<void> StreamAnswer::End(std::string_view last) {
  if ((co_await Write(last)).ok()) (co_await exchange_.Finish()).IgnoreError();
}

}  // namespace aima::gateway
