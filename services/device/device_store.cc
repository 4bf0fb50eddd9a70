#include "services/device/device_store.h"

#include "libs/base/status_macros.h"

namespace aima::device {
namespace {

// xmax is 0 in a row that this statement inserted rather than updated.
constexpr pg::Statement kRegister = {
    "device_register",
    "INSERT INTO devices (node_id, device_id, name) VALUES ($1, $2, $3) "
    "ON CONFLICT (node_id, device_id) DO UPDATE SET last_seen = now(), name = excluded.name "
    "RETURNING health, xmax = 0"};
constexpr pg::Statement kSetHealth = {
    "device_set_health", "UPDATE devices SET health = $3 WHERE node_id = $1 AND device_id = $2"};

}  // namespace

DeviceStore::DeviceStore(pg::Database& db, events::Outbox& outbox, std::string node_id)
    : db_(db), outbox_(outbox), node_id_(std::move(node_id)) {}

Task<absl::StatusOr<std::vector<DeviceStore::Record>>> DeviceStore::Register(const CallContext& call,
                                                                             std::vector<v1::Device> devices,
                                                                             v1::DetectResponse* reply) {
  std::vector<Record> records;
  const auto body = [&](pg::Transaction& transaction) {
    return RegisterIn(transaction, call, devices, reply, records);
  };
  CO_RETURN_IF_ERROR(co_await db_.Transact(call, body));
  co_return records;
}

Task<absl::Status> DeviceStore::RegisterIn(pg::Transaction& transaction, const CallContext& call,
                                           const std::vector<v1::Device>& devices, v1::DetectResponse* reply,
                                           std::vector<Record>& records) {
  // The transaction may run again.
  records.clear();
  if (reply != nullptr) reply->clear_new_device_ids();
  for (const v1::Device& device : devices) {
    pg::Values values = {node_id_, device.id(), device.name()};
    CO_ASSIGN_OR_RETURN(const pg::Result result, co_await transaction.Query(kRegister, std::move(values)));
    Record record;
    record.device_id = device.id();
    record.health = static_cast<v1::HealthStatus>(result[0].Get<int>(0));
    record.is_new = result[0].Get<bool>(1);
    if (record.is_new) {
      v1::DeviceDetected detected;
      *detected.mutable_device() = device;
      detected.set_node_id(node_id_);
      CO_RETURN_IF_ERROR((co_await transaction.Query(outbox_.Emit(call, detected))).status());
      if (reply != nullptr) reply->add_new_device_ids(device.id());
    }
    records.push_back(std::move(record));
  }
  if (reply != nullptr) CO_RETURN_IF_ERROR((co_await transaction.Query(outbox_.Remember(call, *reply))).status());
  co_return absl::OkStatus();
}

Task<absl::Status> DeviceStore::SetHealth(const CallContext& call, v1::DeviceHealthChanged change) {
  change.set_node_id(node_id_);
  std::vector<pg::Operation> operations;
  operations.push_back({kSetHealth, {node_id_, change.device_id(), static_cast<int>(change.new_status())}, {}});
  const bool news =
      change.old_status() != v1::HEALTH_STATUS_UNSPECIFIED || change.new_status() != v1::HEALTH_STATUS_OK;
  if (news) operations.push_back(outbox_.Emit(call, change));
  co_return (co_await db_.Write(call, std::move(operations))).status();
}

}  // namespace aima::device
