// aima-resource: who may use how much of this machine. Wiring only.
#include "libs/base/status_macros.h"
#include "libs/runtime/host.h"
#include "services/resource/resource_units.h"

namespace aima::resource {
namespace {

Task<absl::Status> Wire(runtime::Host& host) {
  auto& machine = host.Own<Machine>();
  auto& ledger = host.Own<Ledger>(host.Pg(), "local");
  auto& survey = host.Own<Survey>(machine, ledger, host.config().resource());
  CO_RETURN_IF_ERROR(co_await survey.Look(host.BackgroundCall("survey")));
  host.Spawn(survey.Run(host.BackgroundCall("survey")));

  const ResourceUnits::Parts parts{host.Pg(), host.Outbox(), ledger, machine, survey};
  const ResourceUnits::Settings settings{host.data_dir(), host.config().resource().pressure_threshold()};
  auto& units = host.Own<ResourceUnits>(parts, settings);
  host.Serve("aima.resource.v1.ResourceService")
      .Bind<&ResourceUnits::Allocate>(units)
      .Bind<&ResourceUnits::Release>(units)
      .Bind<&ResourceUnits::UpdateSlot>(units)
      .Bind<&ResourceUnits::Status>(units)
      .Bind<&ResourceUnits::Budget>(units)
      .Bind<&ResourceUnits::Allocations>(units)
      .Bind<&ResourceUnits::CanAllocate>(units);
  co_return absl::OkStatus();
}

}  // namespace
}  // namespace aima::resource

int main(int argc, char** argv) { return aima::runtime::Main(argc, argv, "resource", aima::resource::Wire); }
