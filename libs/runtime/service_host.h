// The Host of a service process.
#pragma once

#include <prometheus/registry.h>

#include <memory>
#include <string>
#include <vector>

#include "libs/events/events.h"
#include "libs/runtime/background.h"
#include "libs/runtime/flags.h"
#include "libs/runtime/health.h"
#include "libs/runtime/host.h"
#include "libs/runtime/server.h"
#include "libs/runtime/unit_middleware.h"
#include "libs/rpc/channels.h"

namespace aima::runtime {

// Runs one domain. Everything happens on the loop.
class ServiceHost : public Host {
 public:
  ServiceHost(Loop& loop, std::string domain, config::v1::Config config, std::string share_dir);
  ~ServiceHost() override;

  // Migrates, wires, serves, tells readiness, and after SIGTERM or SIGINT drains. Returns when all is over.
  Task<absl::Status> Run(std::function<Task<absl::Status>(Host&)> wire);

  Loop& loop() override { return loop_; }
  const config::v1::Config& config() const override { return config_; }
  const std::string& data_dir() const override { return config_.general().data_dir(); }
  const std::string& share_dir() const override { return share_dir_; }
  pg::Database& Pg() override { return *pg_; }
  events::Outbox& Outbox() override { return *outbox_; }
  events::Subscriber& Events() override { return *subscriber_; }
  rpc::Client& Rpc() override { return *rpc_; }
  CallContext BackgroundCall(std::string_view what) override;
  void Spawn(Task<void> task) override { background_.Spawn(std::move(task)); }
  void OnDrain(std::function<Task<void>()> work) override { drains_.push_back(std::move(work)); }

  void BindUnary(const std::string& service, const google::protobuf::Descriptor* request,
                 const google::protobuf::Message& response, UnaryHandler handler) override {
    server_->BindUnary(service, request, response, std::move(handler));
  }
  void BindStream(const std::string& service, const google::protobuf::Descriptor* request,
                  const google::protobuf::Message& response, StreamHandler handler) override {
    server_->BindStream(service, request, response, std::move(handler));
  }

 private:
  Task<absl::Status> Prepare();
  Task<absl::Status> Migrate(const std::string& owner);
  Task<void> Drain();
  absl::Status CheckBindings() const;

  Loop& loop_;
  const std::string domain_;
  const config::v1::Config config_;
  const std::string share_dir_;
  const std::string run_dir_;
  prometheus::Registry registry_;
  rpc::Channels channels_;
  std::unique_ptr<rpc::Client> rpc_;
  std::unique_ptr<pg::Database> pg_;
  std::unique_ptr<events::EventOutbox> outbox_;
  std::unique_ptr<events::EventSubscriber> subscriber_;
  std::unique_ptr<UnitMiddleware> middleware_;
  std::unique_ptr<Server> server_;
  Health health_;
  bool draining_ = false;
  std::vector<std::string> services_;
  std::vector<std::function<Task<void>()>> drains_;
  Background background_;  // of the domain
  Background own_;         // of this host, which the domain's needs to its end
};

}  // namespace aima::runtime
