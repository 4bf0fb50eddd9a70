// Watched resources: read again when something happened that may have changed them.
#pragma once

#include <absl/container/flat_hash_set.h>

#include <boost/asio/steady_timer.hpp>
#include <map>
#include <string>
#include <vector>

#include "libs/events/subscriber.h"
#include "libs/unit/catalogue.h"
#include "services/gateway/unit_runner.h"

namespace aima::gateway {

// One subscription to the event service serves all watchers. Used on the loop.
class ResourceWatch {
 public:
  ResourceWatch(Loop& loop, const Catalogue& catalogue, UnitRunner& runner, events::Subscriber& events);

  // Sends the resource's value now and whenever it has changed, each with the cursor of the newest event that it
  // reflects, until `sink` fails or the caller is cancelled. Ends with the error if the resource cannot be read at all.
  using Sink = std::function<Task<absl::Status>(const std::string& json, int64_t cursor)>;
  Task<absl::Status> Watch(CallContext call, const ViewInfo& view, const nlohmann::json& input, Sink sink);

 private:
  struct Watcher {
    explicit Watcher(Loop& loop) : wake(loop) {}
    boost::asio::steady_timer wake;
    bool stale = false;
  };
  Task<void> Wait(Watcher& watcher, absl::Duration at_most);
  void Wake(const std::string& type);

  Loop& loop_;
  UnitRunner& runner_;
  std::multimap<std::string, Watcher*> watchers_;  // by event type
  int64_t cursor_ = 0;
};

}  // namespace aima::gateway
