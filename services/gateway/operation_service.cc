#include "services/gateway/operation_service.h"

#include <absl/strings/str_cat.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <filesystem>

#include "libs/base/status_macros.h"
#include "libs/rpc/channels.h"
#include "services/gateway/videos/content.h"

namespace aima::gateway {

namespace asio = boost::asio;

namespace {

// The directory of sockets, which the first process makes.
std::string RunDir(const config::v1::Config& config) {
  const std::string dir = config.general().data_dir() + "/run";
  std::error_code ignored;
  std::filesystem::create_directories(dir, ignored);
  std::filesystem::permissions(dir, std::filesystem::perms::owner_all, ignored);
  return dir;
}

operations::Settings SettingsOf(const config::v1::Gateway& gateway, const absl::StatusOr<operations::Owner>& owner) {
  operations::Settings settings;
  if (owner.ok()) settings.owner = owner->name();
  settings.retention = absl::Milliseconds(gateway.operation_retention());
  settings.most_ended_of_principal = gateway.max_operations();
  return settings;
}

std::unique_ptr<pg::Database> OpenDatabase(Loop& loop, const std::string& url, bool usable) {
  if (url.empty() || !usable) return nullptr;
  pg::Options options;
  options.url = url;
  options.schema = OperationService::kDomain;
  return pg::Open(loop, std::move(options));
}

}  // namespace

OperationService::OperationService(Loop& loop, const config::v1::Config& config, std::string share_dir,
                                   const Catalogue& catalogue, const UnitRunner& runner, rpc::Client& rpc, KeyRing& keys)
    : loop_(loop),
      run_dir_(RunDir(config)),
      share_dir_(std::move(share_dir)),
      owner_(operations::Owner::Take(run_dir_ + "/gateway.owner")),
      calls_(catalogue, rpc),
      db_(OpenDatabase(loop, config.database().url(), owner_.ok())),
      operations_(db_ ? std::make_unique<operations::Operations>(loop, *db_, calls_, SettingsOf(config.gateway(), owner_))
                      : nullptr),
      units_({catalogue, runner, keys, operations_.get(),
              [&rpc](const CallContext& call, const operations::Operation& operation) {
                return videos::DeleteFile(rpc, call, operation);
              }},
             absl::Milliseconds(config.gateway().operation_timeout())),
      health_(loop),
      server_(loop, runtime::Limits{}) {
  runtime::ServiceBinder(server_, "aima.gateway.v1.OperationService")
      .Bind<&OperationUnits::Start>(units_)
      .Bind<&OperationUnits::Get>(units_)
      .Bind<&OperationUnits::List>(units_)
      .Bind<&OperationUnits::Cancel>(units_)
      .Bind<&OperationUnits::Delete>(units_)
      .Bind<&OperationUnits::Wait>(units_)
      .Bind<&OperationUnits::WaitStream>(units_);
  runtime::ServiceBinder(server_, "grpc.health.v1.Health")
      .Bind<&runtime::Health::Check>(health_)
      .Bind<&runtime::Health::Watch>(health_);
}

absl::Status OperationService::Start() {
  RETURN_IF_ERROR(owner_.status());
  RETURN_IF_ERROR(server_.Start(rpc::Channels::AddressOf(run_dir_, kDomain)));
  health_.SetServices(server_.Services());
  health_.SetDatabase([this] { return DatabaseReached(); });
  health_.SetServing(true);
  if (!operations_) return absl::OkStatus();
  working_ = true;
  asio::co_spawn(loop_, Work(), [this](std::exception_ptr) { working_ = false; });
  return absl::OkStatus();
}

Task<void> OperationService::Work() {
  absl::Status told;
  for (absl::Duration pause = absl::Milliseconds(20); !stopping_; pause = std::min(pause * 2, absl::Seconds(1))) {
    // Only once connected: what is tried in a thread of its own cannot be ended from here.
    if (db_->Connected()) {
      const absl::Status migrated = co_await db_->Migrate(share_dir_ + "/migrations/operations");
      if (migrated.ok()) break;
      if (migrated != told) spdlog::error("operations cannot be kept: {}", std::string(migrated.message()));
      told = migrated;
    }
    asio::steady_timer timer(loop_, absl::ToChronoMilliseconds(pause));
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  }
  if (!stopping_) co_await operations_->Run();
}

Task<void> OperationService::Stop() {
  stopping_ = true;
  health_.SetServing(false);
  server_.EndQueryStreams();
  if (operations_) co_await operations_->Stop();
  while (working_) {
    asio::steady_timer timer(loop_, std::chrono::milliseconds(5));
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

}  // namespace aima::gateway
