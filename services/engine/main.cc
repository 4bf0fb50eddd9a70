// aima-engine: the inference engines of this machine.
#include <signal.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstdlib>

#include "libs/base/node_id.h"
#include "libs/base/status_macros.h"
#include "libs/runtime/host.h"
#include "services/engine/engine_units.h"
#include "services/engine/tenure.h"

namespace aima::engine {
namespace {

constexpr absl::Duration kSweepInterval = absl::Seconds(15);
constexpr int kExitSuperseded = 75;  // EX_TEMPFAIL

// At once: everything that this process could still do in order is another's business.
void EndSuperseded() {
  spdlog::critical("another engine service has taken over the engines of this machine; this one ends");
  spdlog::default_logger()->flush();
  std::_Exit(kExitSuperseded);
}

// At the signal, not when the calls in hand are done: among them may be starts, which end only when they are stopped.
Task<void> DrainAtSignal(Loop& loop, Instances& instances) {
  boost::asio::signal_set signals(loop, SIGTERM, SIGINT);
  co_await signals.async_wait(boost::asio::use_awaitable);
  co_await instances.Drain();
}

Task<absl::Status> Wire(runtime::Host& host) {
  CO_ASSIGN_OR_RETURN(EngineCatalogue loaded, EngineCatalogue::Load(host.share_dir() + "/configs/engines"));
  CO_RETURN_IF_ERROR(loaded.Add(host.data_dir() + "/engines.d"));
  auto& catalogue = host.Own<EngineCatalogue>(std::move(loaded));
  CO_ASSIGN_OR_RETURN(const std::string node, LoadNodeId(host.data_dir(), host.config().general().device_id()));
  CO_ASSIGN_OR_RETURN(Tenure begun,
                      co_await Tenure::Begin(host.Pg(), host.BackgroundCall("begin"), node, host.data_dir()));
  auto& tenure = host.Own<Tenure>(std::move(begun));
  const auto in_office = [&tenure] { return tenure.Holds(); };
  auto& installer = host.Own<Installer>(host.loop(), host.data_dir(), catalogue.directory(), ReadEnvironment, in_office);
  auto& store = host.Own<InstanceStore>(host.Pg(), tenure);
  auto& neighbours = host.Own<Neighbours>(host.Rpc());
  auto& probe = host.Own<HealthProbe>(host.loop());
  const auto spawn = [&host](Task<void> task) { host.Spawn(std::move(task)); };
  Surroundings around{.loop = host.loop(), .data_dir = host.data_dir(), .db = host.Pg(), .outbox = host.Outbox(),
                      .store = store, .neighbours = neighbours, .probe = probe, .environment = ReadEnvironment,
                      .patience = {}, .spawn = spawn,
                      .background = [&host](std::string_view what) { return host.BackgroundCall(what); },
                      .other_runs = [&installer] { return installer.runs(); }};
  around.superseded = EndSuperseded;
  around.in_office = in_office;
  around.tenure_file = Tenure::FileIn(host.data_dir());
  around.patience.idle = absl::Milliseconds(host.config().engine().idle_timeout());
  around.patience.stall = absl::Milliseconds(host.config().engine().start_stall_timeout());
  auto& instances = host.Own<Instances>(std::move(around), catalogue);
  auto& units = host.Own<EngineUnits>(host.loop(), catalogue, installer, instances, neighbours, spawn);

  auto& ollama = host.Own<ExternalOllama>(
      host.loop(), host.Outbox(), host.config().engine().ollama_addr(), [&instances](int port) {
        return std::any_of(instances.all().begin(), instances.all().end(), [port](const auto& item) {
          return item.second->record().Live() && item.second->record().port == port;
        });
      });
  units.Offer(ollama);
  CO_RETURN_IF_ERROR(co_await instances.Recover());
  host.Spawn(ollama.Watch(host.BackgroundCall("look for ollama")));
  host.Spawn(tenure.Watch(EndSuperseded));
  host.Spawn(instances.SweepForever(kSweepInterval));
  host.Spawn(DrainAtSignal(host.loop(), instances));
  host.OnDrain([&instances] { return instances.Drain(); });
  host.Serve("aima.engine.v1.EngineService")
      .Bind<&EngineUnits::Start>(units)
      .Bind<&EngineUnits::StartStream>(units)
      .Bind<&EngineUnits::Stop>(units)
      .Bind<&EngineUnits::Unload>(units)
      .Bind<&EngineUnits::Restart>(units)
      .Bind<&EngineUnits::Install>(units)
      .Bind<&EngineUnits::InstallStream>(units)
      .Bind<&EngineUnits::Get>(units)
      .Bind<&EngineUnits::List>(units)
      .Bind<&EngineUnits::Features>(units)
      .Bind<&EngineUnits::Endpoints>(units);
  co_return absl::OkStatus();
}

}  // namespace
}  // namespace aima::engine

int main(int argc, char** argv) { return aima::runtime::Main(argc, argv, "engine", aima::engine::Wire); }
