// aima-model: what models there are and what they need. Wiring only.
#include "libs/runtime/host.h"
#include "services/model/model_units.h"
#include "services/model/model_users.h"

namespace aima::model {
namespace {

Task<absl::Status> Wire(runtime::Host& host) {
  const config::v1::Model& config = host.config().model();
  ModelUnits::Settings settings;
  settings.storage_dir = config.storage_dir().empty() ? host.data_dir() + "/models" : config.storage_dir();
  settings.import_roots.assign(config.import_roots().begin(), config.import_roots().end());
  if (!settings.import_roots.empty()) settings.import_roots.push_back(host.data_dir());

  auto& users = host.Own<EngineInstances>(host.Rpc());
  const ModelUnits::Parts parts{host.Pg(), host.Outbox(), users};
  auto& units = host.Own<ModelUnits>(host.loop(), parts, settings);
  host.Serve("aima.model.v1.ModelService")
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
  host.OnDrain([&units]() -> Task<void> {
    units.Stop();
    co_return;
  });
  co_return absl::OkStatus();
}

}  // namespace
}  // namespace aima::model

int main(int argc, char** argv) { return aima::runtime::Main(argc, argv, "model", aima::model::Wire); }
