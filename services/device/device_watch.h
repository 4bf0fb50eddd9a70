// Keeps measurements fresh and tells the cluster what they mean.
#pragma once

#include <absl/time/time.h>

#include "libs/base/call_context.h"
#include "libs/base/task.h"
#include "libs/events/outbox.h"
#include "services/device/device_monitor.h"
#include "services/device/device_store.h"

namespace aima::device {

// Measures every two seconds, looks for new hardware every minute, and emits device.detected, device.health_changed
// and device.metrics_alert. What cannot be put on record because the database is away is put there later; measuring
// goes on meanwhile.
class DeviceWatch {
 public:
  struct Periods {
    absl::Duration measure = absl::Seconds(2);
    absl::Duration scan = absl::Minutes(1);
  };

  // References must outlive this.
  DeviceWatch(DeviceMonitor& monitor, DeviceStore& store, events::Outbox& outbox, Periods periods);
  DeviceWatch(DeviceMonitor& monitor, DeviceStore& store, events::Outbox& outbox)
      : DeviceWatch(monitor, store, outbox, Periods()) {}

  // Looks at everything for the first time. Takes a tenth of a second, so that even the first caller is told of
  // utilization, which needs two measurements.
  Task<void> Start();

  // Goes on until it is cancelled. `call` is the context of what it does.
  Task<void> Run(CallContext call);

  // One round: measures and tells. For Run and tests.
  Task<absl::Status> Round(CallContext call);

 private:
  Task<absl::Status> RegisterNew(const CallContext& call);
  Task<absl::Status> TellHealth(const CallContext& call);
  void TellAlerts(const CallContext& call);

  DeviceMonitor& monitor_;
  DeviceStore& store_;
  events::Outbox& outbox_;
  const Periods periods_;
  absl::Time next_scan_ = absl::InfinitePast();
};

}  // namespace aima::device
