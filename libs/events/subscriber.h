// Hears events of other services.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "aima/event/v1/event.pb.h"
#include "libs/base/task.h"

namespace aima::events {

// Live events for a service's own caches and controllers. Reconnects by itself and resumes after the last event
// that the handler has finished with.
class Subscriber {
 public:
  virtual ~Subscriber() = default;

  // Calls `handler` for each event of these types, or domains ("model"), one at a time, in order, starting with what
  // happens after the first connection. `on_gap` runs at each first connection and whenever events may have been
  // missed: read the state anew there.
  using Handler = std::function<Task<void>(const event::v1::Event&)>;
  virtual void On(std::vector<std::string> types, Handler handler, std::function<Task<void>()> on_gap) = 0;
};

}  // namespace aima::events
