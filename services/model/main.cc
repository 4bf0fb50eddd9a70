// aima-model: what models there are, where they come from and what they need. Wiring only.
#include <signal.h>

#include <boost/asio/signal_set.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "libs/runtime/host.h"
#include "services/model/model_units.h"
#include "services/model/model_users.h"
#include "services/model/pull_units.h"
#include "services/model/use_times.h"
#include "services/model/wish.h"

namespace aima::model {
namespace {

Pulls::Settings PullSettings(const config::v1::Model& config, const std::string& storage_dir) {
  Pulls::Settings settings;
  settings.storage_dir = storage_dir;
  settings.default_source = SourceOfName(config.default_source());
  settings.ollama_url = config.ollama_url();
  settings.huggingface_url = config.huggingface_url();
  settings.modelscope_url = config.modelscope_url();
  settings.huggingface_token_file = config.huggingface_token_file();
  settings.mirror_hosts.assign(config.mirror_hosts().begin(), config.mirror_hosts().end());
  settings.cache_bytes_max = config.max_cache_gb() * 1'000'000'000;
  settings.download.stall = absl::Milliseconds(config.stall_timeout());
  return settings;
}

// At the signal, not when the calls in hand are done: among them may be pulls, which end only when they are stopped.
Task<void> StopAtSignal(Loop& loop, Pulls& pulls) {
  boost::asio::signal_set signals(loop, SIGTERM, SIGINT);
  co_await signals.async_wait(boost::asio::use_awaitable);
  pulls.Stop();
}

absl::Status Check(const config::v1::Model& config) {
  if (SourceOfName(config.default_source()) == v1::MODEL_SOURCE_UNSPECIFIED) {
    return InvalidInput("model.default_source", "must be ollama, huggingface or modelscope");
  }
  for (const auto& [key, url] : {std::pair("model.ollama_url", config.ollama_url()), {"model.huggingface_url", config.huggingface_url()},
                                 {"model.modelscope_url", config.modelscope_url()}}) {
    const absl::Status parsed = http::ParseUrl(url).status();
    if (!parsed.ok()) return InvalidInput(key, parsed.message());
  }
  return absl::OkStatus();
}

Task<absl::Status> Wire(runtime::Host& host) {
  const config::v1::Model& config = host.config().model();
  CO_RETURN_IF_ERROR(Check(config));
  ModelUnits::Settings settings;
  settings.storage_dir = config.storage_dir().empty() ? host.data_dir() + "/models" : config.storage_dir();
  settings.import_roots.assign(config.import_roots().begin(), config.import_roots().end());
  if (!settings.import_roots.empty()) settings.import_roots.push_back(host.data_dir());

  auto& users = host.Own<EngineInstances>(host.Rpc());
  auto& store = host.Own<ModelStore>(host.Pg());
  const Pulls::Parts pull_parts{host.loop(), host.Pg(), host.Outbox(), store, users,
                                [&host](Task<void> task) { host.Spawn(std::move(task)); },
                                [&host] { return host.BackgroundCall("pull"); }};
  auto& pulls = host.Own<Pulls>(pull_parts, PullSettings(config, settings.storage_dir));
  auto& pull_units = host.Own<PullUnits>(pulls, store, host.Outbox());
  const ModelUnits::Parts parts{host.Pg(), host.Outbox(), users, pulls};
  auto& units = host.Own<ModelUnits>(host.loop(), parts, settings);
  auto& use_times = host.Own<UseTimes>(store, host.BackgroundCall("use"));
  host.Events().On(
      {"engine.started", "inference.request_started"},
      [&use_times](const event::v1::Event& event) { return use_times.Hear(event); }, []() -> Task<void> { co_return; });
  CO_RETURN_IF_ERROR(co_await pulls.Recover());
  host.Serve("aima.model.v1.ModelService")
      .Bind<&PullUnits::Pull>(pull_units)
      .Bind<&PullUnits::PullStream>(pull_units)
      .Bind<&PullUnits::CancelPull>(pull_units)
      .Bind<&PullUnits::Pulls>(pull_units)
      .Bind<&PullUnits::Pin>(pull_units)
      .Bind<&ModelUnits::Create>(units)
      .Bind<&ModelUnits::Import>(units)
      .Bind<&ModelUnits::Delete>(units)
      .Bind<&ModelUnits::Verify>(units)
      .Bind<&ModelUnits::Get>(units)
      .Bind<&ModelUnits::List>(units)
      .Bind<&ModelUnits::Search>(units)
      .Bind<&ModelUnits::EstimateResources>(units)
      .Bind<&ModelUnits::Compatibility>(units);
  host.Spawn(units.ComputeDigests(host.BackgroundCall("digests")));
  host.Spawn(StopAtSignal(host.loop(), pulls));
  host.OnDrain([&units, &pulls]() -> Task<void> {
    units.Stop();
    co_await pulls.Drain();
  });
  co_return absl::OkStatus();
}

}  // namespace
}  // namespace aima::model

int main(int argc, char** argv) { return aima::runtime::Main(argc, argv, "model", aima::model::Wire); }
