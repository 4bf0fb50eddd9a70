#include "services/engine/instance_store.h"

#include "libs/base/status_macros.h"

namespace aima::engine {
namespace {

constexpr pg::Statement kSave = {
    "engine_save_instance",
    "INSERT INTO instances (node, instance_id, engine, model_id, model_type, served_name, status, generation, run, pid,"
    " boot_id, start_time, port, api_key, requested, config, slot_id, memory_bytes, error, log_tail, log_path,"
    " started_at, updated_at,"
    " shim_pid, shim_start_time, wanted, crashes, next_start_at, running_since, on_demand, pinned, idle_timeout,"
    " restart_key)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,"
    " $24, $25, $26, $27, $28, $29, $30, $31, $32, $33)"
    " ON CONFLICT (node, instance_id) DO UPDATE SET engine = $3, model_id = $4, model_type = $5, served_name = $6,"
    " status = $7, generation = $8, run = $9, pid = $10, boot_id = $11, start_time = $12, port = $13, api_key = $14,"
    " requested = $15, config = $16, slot_id = $17, memory_bytes = $18, error = $19, log_tail = $20, log_path = $21,"
    " started_at = $22, updated_at = $23, shim_pid = $24, shim_start_time = $25, wanted = $26, crashes = $27,"
    " next_start_at = $28, running_since = $29, on_demand = $30, pinned = $31, idle_timeout = $32, restart_key = $33"};

constexpr pg::Statement kForget = {"engine_forget_instance",
                                   "DELETE FROM instances WHERE node = $1 AND instance_id = $2"};

constexpr pg::Statement kAll = {
    "engine_all_instances",
    "SELECT instance_id, engine, model_id, model_type, served_name, status, generation, run, pid, boot_id, start_time,"
    " port, api_key, requested, config, slot_id, memory_bytes, error, log_tail, log_path, started_at, updated_at,"
    " shim_pid, shim_start_time, wanted, crashes, next_start_at, running_since, on_demand, pinned, idle_timeout,"
    " restart_key"
    " FROM instances WHERE node = $1 ORDER BY instance_id"};

Record FromRow(const pg::Row& row) {
  Record record;
  record.instance_id = row.Get<std::string>(0);
  record.engine = row.Get<std::string>(1);
  record.model_id = row.Get<std::string>(2);
  record.model_type = row.Get<std::string>(3);
  record.served_name = row.Get<std::string>(4);
  record.status = static_cast<v1::InstanceStatus>(row.Get<int>(5));
  record.generation = row.Get<int64_t>(6);
  record.run = row.Get<std::string>(7);
  record.process.pid = row.Get<int>(8);
  record.process.boot_id = row.Get<std::string>(9);
  record.process.start_time = row.Get<int64_t>(10);
  record.port = row.Get<int>(11);
  record.api_key = row.Get<std::string>(12);
  record.requested.ParseFromString(row.Get<pg::Bytes>(13).data);
  record.config.ParseFromString(row.Get<pg::Bytes>(14).data);
  record.slot_id = row.Get<std::string>(15);
  record.memory_bytes = row.Get<int64_t>(16);
  record.error = row.Get<std::string>(17);
  record.log_tail = row.Get<std::string>(18);
  record.log_path = row.Get<std::string>(19);
  record.started_at = row.Get<std::optional<absl::Time>>(20);
  record.updated_at = row.Get<absl::Time>(21);
  record.shim = {record.process.boot_id, row.Get<int>(22), row.Get<int64_t>(23)};
  record.wanted = row.Get<bool>(24);
  record.crashes = row.Get<int>(25);
  record.next_start_at = row.Get<std::optional<absl::Time>>(26);
  record.running_since = row.Get<std::optional<absl::Time>>(27);
  record.retention.on_demand = row.Get<bool>(28);
  record.retention.pinned = row.Get<bool>(29);
  record.retention.idle_timeout = row.Get<int64_t>(30);
  record.restart_key = row.Get<std::string>(31);
  return record;
}

}  // namespace

std::vector<pg::Operation> InstanceStore::Save(const Record& record) const {
  pg::Operation save = {
      kSave,
      {node_, record.instance_id, record.engine, record.model_id, record.model_type, record.served_name,
           static_cast<int>(record.status), record.generation, record.run, record.process.pid, record.process.boot_id,
           record.process.start_time, record.port, record.api_key, pg::Bytes{record.requested.SerializeAsString()},
           pg::Bytes{record.config.SerializeAsString()}, record.slot_id, record.memory_bytes, record.error,
           record.log_tail, record.log_path, record.started_at, record.updated_at, record.shim.pid,
           record.shim.start_time, record.wanted, record.crashes, record.next_start_at, record.running_since,
           record.retention.on_demand, record.retention.pinned, record.retention.idle_timeout, record.restart_key},
      {}};
  std::vector<pg::Operation> write;
  write.push_back(tenure_.Check());
  write.push_back(std::move(save));
  return write;
}

std::vector<pg::Operation> InstanceStore::Forget(const std::string& instance_id) const {
  std::vector<pg::Operation> write;
  write.push_back(tenure_.Check());
  write.push_back({kForget, {node_, instance_id}, {}});
  return write;
}

Task<absl::StatusOr<std::vector<Record>>> InstanceStore::All(const CallContext& call) const {
  CO_ASSIGN_OR_RETURN(const pg::Result rows, co_await db_.Query(call, kAll, {node_}));
  std::vector<Record> records;
  for (int i = 0; i < rows.size(); ++i) records.push_back(FromRow(rows[i]));
  co_return records;
}

}  // namespace aima::engine
