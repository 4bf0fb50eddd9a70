// The event service: wiring only.
#include "libs/base/status_macros.h"
#include "libs/runtime/host.h"
#include "libs/unit/catalogue.h"
#include "services/event/event_log.h"
#include "services/event/event_units.h"

int main(int argc, char** argv) {
  using namespace aima;
  return runtime::Main(argc, argv, "event", [](runtime::Host& host) -> Task<absl::Status> {
    const config::v1::Event& config = host.config().event();
    const event::Retention retention{absl::Milliseconds(config.retention()), config.max_events()};
    auto& log = host.Own<event::EventLog>(host.loop(), host.Pg(), retention);
    CO_RETURN_IF_ERROR(co_await log.Open());
    CO_ASSIGN_OR_RETURN(const std::unique_ptr<Catalogue> catalogue, Catalogue::Load(host.share_dir() + "/units.binpb"));
    std::vector<std::string> types;
    for (const EventInfo& event : catalogue->events()) types.push_back(event.type);
    auto& units = host.Own<event::EventUnits>(host.loop(), log, event::FeedLimits(), std::move(types));
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
