#include "services/engine/health_probe.h"

#include <absl/time/clock.h>

namespace aima::engine {

Task<Answer> HealthProbe::Ask(int port, std::string path, absl::Duration patience) {
  http::Request request;
  request.target = std::move(path);
  http::Endpoint endpoint;
  endpoint.host = "127.0.0.1";
  endpoint.port = port;
  const absl::StatusOr<http::Response> response =
      co_await http_.Send(endpoint, std::move(request), absl::Now() + patience, 64 << 10);
  if (!response.ok()) co_return absl::IsUnavailable(response.status()) ? Answer::kRefused : Answer::kSilent;
  if (response->status == 200) co_return Answer::kReady;
  co_return response->status == 503 ? Answer::kLoading : Answer::kSilent;
}

}  // namespace aima::engine
