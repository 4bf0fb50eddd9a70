// The gRPC face of the cluster: AIMAService, and every typed rpc that units have, on one public port.
#pragma once

#include <string>

#include "aima/gateway/v1/gateway.pb.h"
#include "libs/base/stream.h"
#include "libs/runtime/health.h"
#include "libs/runtime/pass_through.h"
#include "libs/runtime/server.h"
#include "services/gateway/access.h"
#include "services/gateway/health_report.h"
#include "services/gateway/resource_watch.h"
#include "services/gateway/unit_runner.h"

namespace aima::gateway {

// AIMAService: units by their name. Used on the loop.
class GenericUnits {
 public:
  GenericUnits(UnitRunner& runner, ResourceWatch& watch, HealthReport& health)
      : runner_(runner), watch_(watch), health_(health) {}

  Task<absl::StatusOr<v1::Response>> Execute(CallContext& call, const v1::Request& request);
  Task<absl::Status> ExecuteStream(CallContext& call, const v1::StreamRequest& request,
                                   StreamWriter<v1::StreamChunk>& out);
  Task<absl::Status> WatchResource(CallContext& call, const v1::WatchRequest& request,
                                   StreamWriter<v1::ResourceUpdate>& out);
  Task<absl::StatusOr<v1::HealthResponse>> HealthCheck(CallContext& call, const v1::HealthRequest& request);

 private:
  Task<absl::StatusOr<Output>> Run(CallContext& call, const v1::Request& request);

  UnitRunner& runner_;
  ResourceWatch& watch_;
  HealthReport& health_;
};

// The public server. Used on the loop.
class GrpcFace {
 public:
  GrpcFace(Loop& loop, const Catalogue& catalogue, rpc::Channels& channels, Access& access, GenericUnits& units);

  // Without its database a cluster can do next to nothing, and this is where load balancers ask.
  void SetDatabase(std::function<bool()> reached) { health_.SetDatabase(std::move(reached)); }

  absl::Status Start(const std::string& address, std::shared_ptr<boost::asio::ssl::context> tls);
  // Waits for the calls in hand until `deadline`.
  Task<void> Shutdown(absl::Time deadline);

 private:
  // Who calls; for a unit's own rpc also whether they may.
  absl::Status Admit(const rpc::Stream& stream, CallContext& call);

  const Catalogue& catalogue_;
  Access& access_;
  runtime::Health health_;
  google::protobuf::DescriptorPool offered_;  // what reflection tells: the catalogue without what is internal
  runtime::Server server_;
  runtime::PassThrough pass_through_;
  std::map<std::string, const UnitInfo*> units_;  // by path of the rpc
};

}  // namespace aima::gateway
