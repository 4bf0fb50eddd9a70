// grpc.health.v1.Health of a process.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "grpc/health/v1/health.pb.h"
#include "libs/runtime/host.h"

namespace aima::runtime {

// All services of a process share one state: they serve or they do not, which they cannot while their database does not
// answer. That is told by itself as the health of "database". Used on the loop.
class Health {
 public:
  explicit Health(Loop& loop) : changed_(loop) { changed_.expires_at(boost::asio::steady_timer::time_point::max()); }

  // Names the services that Check knows, besides the process as a whole ("").
  void SetServices(std::vector<std::string> services) { services_ = std::move(services); }
  void SetServing(bool serving);
  // Tells whether the database can be reached.
  void SetDatabase(std::function<bool()> reached) { database_ = std::move(reached); }

  Task<absl::StatusOr<grpc::health::v1::HealthCheckResponse>> Check(CallContext& call,
                                                                    const grpc::health::v1::HealthCheckRequest& request);
  Task<absl::Status> Watch(CallContext& call, const grpc::health::v1::HealthCheckRequest& request,
                           StreamWriter<grpc::health::v1::HealthCheckResponse>& out);

 private:
  grpc::health::v1::HealthCheckResponse::ServingStatus StatusOf(const std::string& service) const;

  std::vector<std::string> services_;
  bool serving_ = false;
  std::function<bool()> database_;
  boost::asio::steady_timer changed_;  // never fires; cancelling it wakes the watchers
};

}  // namespace aima::runtime
