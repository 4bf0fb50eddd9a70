// The event service: wiring only.
#include "libs/base/status_macros.h"
#include "libs/runtime/host.h"
#include "services/event/event_log.h"
#include "services/event/event_units.h"

int main(int argc, char** argv) {
  using namespace aima;
  return runtime::Main(argc, argv, "event", [](runtime::Host& host) -> Task<absl::Status> {
    const config::v1::Event& config = host.config().event();
    const event::Retention retention{absl::Milliseconds(config.retention()), config.max_events()};
    auto& log = host.Own<event::EventLog>(host.loop(), host.Pg(), retention);
    CO_RETURN_IF_ERROR(co_await log.Open());
    auto& units = host.Own<event::EventUnits>(host.loop(), log);
    host.Spawn(log.Run());
    host.Spawn(log.RunRetention());
    host.Serve("aima.event.v1.EventService")
        .Bind<&event::EventUnits::Publish>(units)
        .Bind<&event::EventUnits::Query>(units)
        .Bind<&event::EventUnits::Replay>(units)
        .Bind<&event::EventUnits::Subscribe>(units);
    co_return absl::OkStatus();
  });
}
