#include "libs/runtime/health.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/this_coro.hpp>

namespace aima::runtime {

namespace asio = boost::asio;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

namespace {

constexpr char kDatabase[] = "database";
constexpr auto kLookInterval = std::chrono::seconds(1);

}  // namespace

void Health::SetServing(bool serving) {
  serving_ = serving;
  changed_.cancel();
}

HealthCheckResponse::ServingStatus Health::StatusOf(const std::string& service) const {
  const bool reached = !database_ || database_();
  if (database_ && service == kDatabase) return reached ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
  if (!service.empty() && std::find(services_.begin(), services_.end(), service) == services_.end()) {
    return HealthCheckResponse::SERVICE_UNKNOWN;
  }
  return serving_ && reached ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
}

Task<absl::StatusOr<HealthCheckResponse>> Health::Check(CallContext&, const HealthCheckRequest& request) {
  HealthCheckResponse response;
  response.set_status(StatusOf(request.service()));
  if (response.status() == HealthCheckResponse::SERVICE_UNKNOWN) {
    co_return absl::NotFoundError(absl::StrCat("there is no service ", request.service()));
  }
  co_return response;
}

Task<absl::Status> Health::Watch(CallContext&, const HealthCheckRequest& request,
                                 StreamWriter<HealthCheckResponse>& out) {
  for (;;) {
    HealthCheckResponse response;
    response.set_status(StatusOf(request.service()));
    absl::Status written = co_await out.Write(response);
    if (!written.ok()) co_return written;
    while (StatusOf(request.service()) == response.status()) {
      if (database_) {  // which does not tell by itself
        asio::steady_timer timer(changed_.get_executor(), kLookInterval);
        co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
      } else {
        co_await changed_.async_wait(asio::as_tuple(asio::use_awaitable));
      }
      if ((co_await asio::this_coro::cancellation_state).cancelled() != asio::cancellation_type::none) {
        co_return absl::CancelledError("the caller has gone");
      }
    }
  }
}

}  // namespace aima::runtime
