// What is known, and stored, of one instance.
#pragma once

#include <absl/time/time.h>

#include <optional>
#include <string>

#include "aima/engine/v1/engine.pb.h"
#include "libs/process/identity.h"

namespace aima::engine {

// For how long an instance stays.
struct Retention {
  bool on_demand = false;     // loaded because a request needed it: makes room for others when it is idle
  bool pinned = false;        // stopped only by who asks for that
  int64_t idle_timeout = 0;   // milliseconds that nobody has asked it; 0 is never

  bool operator==(const Retention&) const = default;
};

struct Record {
  std::string instance_id;
  std::string engine;
  std::string model_id;  // empty if the engine manages models itself
  std::string model_type;
  std::string served_name;
  v1::InstanceStatus status = v1::INSTANCE_STATUS_STOPPED;
  int64_t generation = 0;
  std::string run;            // marker of its processes; a new one for each generation
  process::Identity shim;     // of the process that looks after the engine's; pid 0 if none was started
  process::Identity process;  // the engine's own
  int port = 0;
  std::string api_key;
  v1::InstanceConfig requested;
  v1::InstanceConfig config;
  std::string slot_id;  // chosen, and stored, before it is asked for: it may never have been granted
  int64_t memory_bytes = 0;
  std::string error;
  std::string log_tail;
  std::string log_path;
  bool wanted = false;                      // it has been ready, and nobody has stopped it since
  int crashes = 0;                          // ends by itself, in a row
  std::optional<absl::Time> next_start_at;  // not earlier, after such an end
  Retention retention;
  std::string restart_key;  // idempotency key of the restart that it was last stopped for
  std::optional<absl::Time> started_at;
  std::optional<absl::Time> running_since;  // when it was ready
  absl::Time updated_at = absl::UnixEpoch();

  // There may be processes of it.
  bool Live() const {
    return status == v1::INSTANCE_STATUS_STARTING || status == v1::INSTANCE_STATUS_RUNNING ||
           status == v1::INSTANCE_STATUS_STOPPING;
  }
};

}  // namespace aima::engine
