#include "libs/runtime/service_host.h"

#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/signal_set.hpp>
#include <filesystem>

#include "aima/runtime/v1/runtime.pb.h"
#include "libs/base/ids.h"
#include "libs/events/events.h"
#include "libs/rpc/client.h"
#include "libs/rpc/wire.h"
#include "libs/runtime/notify.h"
#include "libs/runtime/reflection.h"
#include "libs/runtime/self_watch.h"
#include "libs/telemetry/log.h"
#include "libs/unit/catalogue.h"

namespace aima::runtime {

namespace asio = boost::asio;
using google::protobuf::Message;

namespace {

// Together less than the supervisor waits before it kills (services/cli/supervisor.h).
constexpr absl::Duration kDrainTime = absl::Seconds(22);
constexpr absl::Duration kEndTime = absl::Seconds(2);
constexpr absl::Duration kFlushTime = absl::Seconds(2);  // what is not published stays in the outbox
constexpr int kStartDials = 4;

Task<void> Sleep(Loop& loop, absl::Duration time) {
  asio::steady_timer timer(loop, absl::ToChronoMilliseconds(time));
  co_await timer.async_wait(asio::use_awaitable);
}

// Serves what the gateway asks of every process.
class RuntimeUnits {
 public:
  explicit RuntimeUnits(prometheus::Registry& registry) : registry_(registry) {}

  Task<absl::StatusOr<v1::MetricsResponse>> Metrics(CallContext&, const v1::MetricsRequest&) {
    v1::MetricsResponse response;
    response.set_text(MetricsText(registry_));
    co_return response;
  }

 private:
  prometheus::Registry& registry_;
};

}  // namespace

ServiceHost::ServiceHost(Loop& loop, std::string domain, config::v1::Config config, std::string share_dir)
    : loop_(loop),
      domain_(std::move(domain)),
      config_(std::move(config)),
      share_dir_(std::move(share_dir)),
      run_dir_(data_dir() + "/run"),
      channels_(loop, run_dir_),
      rpc_(rpc::MakeClient(loop, channels_)),
      pg_(pg::Open(loop, {.url = config_.database().url(), .schema = domain_})),
      outbox_(events::MakeOutbox(loop, *pg_, *rpc_)),
      subscriber_(events::MakeSubscriber(loop, *rpc_)),
      middleware_(std::make_unique<UnitMiddleware>(loop, registry_, *pg_)),
      server_(std::make_unique<Server>(loop, Limits{})),
      health_(loop),
      background_(loop),
      own_(loop) {
  server_->SetMiddleware([this](CallContext& call, const Method& method, const Message& request, Message* response,
                                std::function<Task<absl::Status>()> next) {
    return (*middleware_)(call, method, request, response, std::move(next));
  });
  Serve("grpc.health.v1.Health").Bind<&Health::Check>(health_).Bind<&Health::Watch>(health_);
  Serve("aima.runtime.v1.RuntimeService").Bind<&RuntimeUnits::Metrics>(Own<RuntimeUnits>(registry_));
}

ServiceHost::~ServiceHost() { DestroyOwned(); }

Task<absl::Status> ServiceHost::Run(std::function<Task<absl::Status>(Host&)> wire) {
  asio::signal_set signals(loop_, SIGTERM, SIGINT);
  asio::steady_timer asked_to_end(loop_, asio::steady_timer::time_point::max());
  bool serving = false;
  signals.async_wait([&](boost::system::error_code error, int) {
    if (error) return;
    // Before it serves, nothing is in hand that would have to be ended in order.
    if (!serving) std::_Exit(0);  // what was logged is trouble, and written
    asked_to_end.cancel();
  });
  CO_RETURN_IF_ERROR(co_await Prepare());
  CO_RETURN_IF_ERROR(co_await wire(*this));
  CO_RETURN_IF_ERROR(CheckBindings());
  services_ = server_->Services();
  health_.SetServices(services_);
  health_.SetDatabase([this] { return pg_->Connected(); });
  const std::string address = rpc::Channels::AddressOf(run_dir_, domain_);
  CO_RETURN_IF_ERROR(server_->Start(address));
  health_.SetServing(true);
  absl::Status dialled = co_await DialSelf(*rpc_, domain_);
  for (int i = 1; i < kStartDials && !dialled.ok(); ++i) dialled = co_await DialSelf(*rpc_, domain_);  // a busy machine needs patience
  CO_RETURN_IF_ERROR(dialled);
  own_.Spawn(outbox_->Run());
  own_.Spawn(WatchSelf(loop_, *rpc_, domain_, [this] { return draining_; }));
  spdlog::info("serving address={}", address);
  Notify("READY=1\nSTATUS=serving");
  serving = true;
  co_await asked_to_end.async_wait(asio::as_tuple(asio::use_awaitable));
  Notify("STOPPING=1\nSTATUS=draining");
  spdlog::info("draining");
  co_await Drain();
  co_return absl::OkStatus();
}

Task<absl::Status> ServiceHost::Prepare() {
  if (config_.database().url().empty()) {
    co_return absl::FailedPreconditionError(
        "database.url is empty: `aima start` runs a private PostgreSQL and sets it, or set it yourself");
  }
  for (absl::Duration wait = absl::Milliseconds(20);; wait = std::min(wait * 2, absl::Duration(absl::Seconds(2)))) {
    absl::Status migrated = co_await Migrate("events");
    if (migrated.ok()) migrated = co_await Migrate(domain_);
    // A database that is not there yet will come; anything else will not mend itself.
    if (migrated.ok() || migrated.code() != absl::StatusCode::kUnavailable) co_return migrated;
    Notify(absl::StrCat("STATUS=waiting for PostgreSQL: ", std::string(migrated.message())));
    co_await Sleep(loop_, wait);
  }
}

Task<absl::Status> ServiceHost::Migrate(const std::string& owner) {
  const std::string directory = absl::StrCat(share_dir_, "/migrations/", owner);
  std::error_code error;
  if (!std::filesystem::is_directory(directory, error)) co_return absl::OkStatus();
  co_return co_await pg_->Migrate(directory);
}

Task<void> ServiceHost::Drain() {
  draining_ = true;
  health_.SetServing(false);
  server_->EndQueryStreams();
  co_await server_->Shutdown(absl::Now() + kDrainTime);
  for (auto& work : drains_) co_await work();
  int left = co_await background_.End(absl::Now() + kEndTime);
  co_await outbox_->Flush(absl::Now() + kFlushTime);
  left += co_await own_.End(absl::Now() + kEndTime);
  if (left > 0) spdlog::warn("{} pieces of background work do not end; the process does", left);
}

CallContext ServiceHost::BackgroundCall(std::string_view what) {
  CallContext call;
  call.unit = absl::StrCat(domain_, ".", absl::string_view(what.data(), what.size()));
  call.request_id = NewId("bg_");
  call.trace_id = call.request_id;
  return call;
}

absl::Status ServiceHost::CheckBindings() const {
  for (const std::string& name : server_->Services()) {
    const auto* service = google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(name);
    for (int i = 0; service && i < service->method_count(); ++i) {
      const std::string path = rpc::PathOf(*service->method(i));
      if (!server_->IsBound(path) && !IsReflection(path)) return absl::InternalError(absl::StrCat(path, " is bound to nothing"));
    }
  }
  return absl::OkStatus();
}

int Main(int argc, char** argv, std::string_view domain, std::function<Task<absl::Status>(Host&)> wire) {
  absl::StatusOr<Flags> flags = ReadFlags(argc, argv);
  absl::StatusOr<config::v1::Config> config = flags.ok() ? config::Load(flags->config) : flags.status();
  if (!config.ok()) {
    fprintf(stderr, "aima-%.*s: %s\n", static_cast<int>(domain.size()), domain.data(),
            std::string(config.status().message()).c_str());
    Notify(absl::StrCat("STATUS=", std::string(config.status().message())));
    return 2;
  }
  if (flags->print_config) {
    fputs(config::ToYaml(*config, /*with_secrets=*/false).c_str(), stdout);
    return 0;
  }
  SetUpLogging(domain, config->logging().level(), config->logging().format());
  std::error_code ignored;
  std::filesystem::create_directories(config->general().data_dir() + "/run", ignored);
  std::filesystem::permissions(config->general().data_dir() + "/run", std::filesystem::perms::owner_all, ignored);

  Loop loop(1);
  const LogGathering gathering(loop);
  absl::Status result;
  {
    ServiceHost host(loop, std::string(domain), *std::move(config), flags->share_dir);
    asio::co_spawn(loop, host.Run(std::move(wire)), [&](std::exception_ptr error, absl::Status status) {
      result = error ? absl::InternalError("the service ended by an exception") : status;
      loop.stop();
    });
    loop.run();
  }
  if (result.ok()) return 0;
  spdlog::critical("cannot serve: {}", std::string(result.message()));
  Notify(absl::StrCat("STATUS=", std::string(result.message())));
  return 1;
}

}  // namespace aima::runtime
