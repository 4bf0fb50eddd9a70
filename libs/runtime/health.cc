#include "libs/runtime/health.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/this_coro.hpp>

namespace aima::runtime {

namespace asio = boost::asio;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

void Health::SetServing(bool serving) {
  serving_ = serving;
  changed_.cancel();
}

bool Health::Knows(const std::string& service) const {
  return service.empty() || std::find(services_.begin(), services_.end(), service) != services_.end();
}

Task<absl::StatusOr<HealthCheckResponse>> Health::Check(CallContext&, const HealthCheckRequest& request) {
  if (!Knows(request.service())) {
    co_return absl::NotFoundError(absl::StrCat("there is no service ", request.service()));
  }
  HealthCheckResponse response;
  response.set_status(serving_ ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING);
  co_return response;
}

Task<absl::Status> Health::Watch(CallContext&, const HealthCheckRequest& request,
                                 StreamWriter<HealthCheckResponse>& out) {
  for (;;) {
    const bool serving = serving_;
    HealthCheckResponse response;
    response.set_status(!Knows(request.service()) ? HealthCheckResponse::SERVICE_UNKNOWN
                        : serving                 ? HealthCheckResponse::SERVING
                                                  : HealthCheckResponse::NOT_SERVING);
    absl::Status written = co_await out.Write(response);
    if (!written.ok()) co_return written;
    while (serving_ == serving) {
      co_await changed_.async_wait(asio::as_tuple(asio::use_awaitable));
      if ((co_await asio::this_coro::cancellation_state).cancelled() != asio::cancellation_type::none) {
        co_return absl::CancelledError("the caller has gone");
      }
    }
  }
}

}  // namespace aima::runtime
