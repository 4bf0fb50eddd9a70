// What the cluster has on record about the devices of this machine.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <vector>

#include "aima/device/v1/device.pb.h"
#include "libs/base/call_context.h"
#include "libs/base/task.h"
#include "libs/events/outbox.h"
#include "libs/pg/database.h"

namespace aima::device {

// Not thread-safe. References must outlive it.
class DeviceStore {
 public:
  DeviceStore(pg::Database& db, events::Outbox& outbox, std::string node_id);

  // A device on record.
  struct Record {
    std::string device_id;
    v1::HealthStatus health = v1::HEALTH_STATUS_UNSPECIFIED;  // as last told of
    bool is_new = false;
  };

  // Puts devices on record, telling of each new one (device.detected), and remembers `reply` under the call's
  // idempotency key with the new ids filled in.
  Task<absl::StatusOr<std::vector<Record>>> Register(const CallContext& call, std::vector<v1::Device> devices,
                                                     v1::DetectResponse* reply);

  // Puts a device's health on record, telling of it unless it is the first and good.
  Task<absl::Status> SetHealth(const CallContext& call, v1::DeviceHealthChanged change);

  const std::string& node_id() const { return node_id_; }

 private:
  Task<absl::Status> RegisterIn(pg::Transaction& transaction, const CallContext& call,
                                const std::vector<v1::Device>& devices, v1::DetectResponse* reply,
                                std::vector<Record>& records);

  pg::Database& db_;
  events::Outbox& outbox_;
  const std::string node_id_;
};

}  // namespace aima::device
