// Loads models when requests need them, and unloads them when nobody does or when another model needs their memory.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "services/inference/directory.h"
#include "services/inference/eviction.h"
#include "services/inference/flight.h"

namespace aima::inference {

// The routing table as the loader sees it. A closed engine is given no further requests.
class EngineTable {
 public:
  virtual ~EngineTable() = default;
  // All engines; in_flight, queued and last_used are filled in, and idle_timeout.
  struct Used : Held {
    absl::Duration idle_timeout;  // zero is never
    int64_t granted = 0;          // requests that it was ever given
    std::vector<std::string> models;
  };
  virtual std::vector<Used> Engines() const = 0;
  virtual void Close(const std::string& instance_id) = 0;
  virtual void Reopen(const std::string& instance_id) = 0;
  virtual void Forget(const std::string& instance_id) = 0;
  // Reads again which engines run, beginning now.
  virtual Task<absl::Status> ReadAnew(CallContext call) = 0;
};

struct LoaderSettings {
  TurnPolicy turns;
  size_t max_waiting = 64;                           // for one model
  absl::Duration first_backoff = absl::Seconds(1);   // after a start that failed, doubled each time
  absl::Duration last_backoff = absl::Minutes(5);
  absl::Duration unreachable = absl::Seconds(10);    // that the engine service may be away
  absl::Duration pause = absl::Milliseconds(200);    // between tries while it is
  absl::Duration try_again = absl::Seconds(5);       // to start although nothing is known to have changed
  absl::Duration kept = absl::Seconds(5);            // for which an engine that was not unloaded is not tried again
  absl::Duration too_large = absl::Minutes(5);       // for which a context that a model could not be given is not tried again
};

// A model that finds no memory stands in line with the others that find none. The first in line chooses who makes room
// (eviction.h): engines that were loaded on demand, have nothing in hand and were not used for longest. Where all are
// busy it waits for the end of a turn, so that many requests for few places cost few loads and nobody starves.
//
// Usage is known here, instances and memory to the engine service: this asks it to unload an engine to which no request
// goes any more, and it refuses if somebody wants to keep that one. Not thread-safe: use it on its loop.
class Loader {
 public:
  Loader(Loop& loop, EngineDirectory& engines, EngineTable& table, LoaderSettings settings);

  // Returns when an engine serves the model. Joins a load under way; tells everybody who waits if it fails, and those who
  // ask soon after that, too. INFERENCE_NO_ROOM names who holds the memory.
  // How the first of those who wait wants it loaded, it is loaded; if there is no memory for that, or the engine does not
  // start so, as it is usually loaded.
  Task<absl::Status> Load(CallContext call, std::string model_id, v1::LoadOptions load);

  // Loads it again as a request wants it, in place of the engine that serves it, if that one may go and nobody else uses
  // it. Returns OK if it stays.
  Task<absl::Status> LoadLarger(CallContext call, std::string model_id, v1::LoadOptions load);

  // Unloads, or only names, as many engines as it takes of those that make room and are not in use; none, but names them
  // all, if they are not enough. The place of one that turns out to be wanted is taken by others.
  struct Room {
    std::vector<EngineTable::Used> engines;   // that are there still
    bool enough = false;                      // what was unloaded, or would be
    std::vector<EngineTable::Used> unloaded;  // also if they are not enough after all
  };
  Task<absl::StatusOr<Room>> MakeIdleRoom(CallContext call, int64_t bytes, bool only_look);

  // Unloads engines whose idle timeout has passed, for ever.
  Task<void> UnloadIdle(CallContext call);

  // Something of the table has changed.
  void Changed();
  // An engine was given a request, or has ended one.
  void Used() {
    if (!line_.empty()) Wake(in_line_);
  }
  // An engine serves the model, whoever started it; or the model has changed.
  void ForgetFailure(const std::string& model_id) { failures_.erase(model_id); }
  void ForgetFailures() { failures_.clear(); }

 private:
  // A model that is being loaded.
  struct Demand;
  struct Failure {
    absl::Status status;
    absl::Time until;
    int times = 0;
  };
  // A context that a model could not be given.
  struct TooLarge {
    int32_t context_length = 0;
    absl::Time until;
  };
  struct Turn {
    int64_t generation = 0;
    absl::Time began;
    int64_t granted = 0;  // before it began
  };

  Task<absl::Status> Join(CallContext call, std::string model_id, v1::LoadOptions load,
                          std::optional<EngineTable::Used> instead_of);
  Task<absl::Status> Run(CallContext call, std::string model_id, v1::LoadOptions load,
                         std::optional<EngineTable::Used> instead_of);
  Task<absl::Status> Start(CallContext call, Demand& demand, const v1::LoadOptions& load);
  // As it can be had, as far as is known.
  v1::LoadOptions Possible(const std::string& model_id, v1::LoadOptions load) const;
  Task<absl::Status> MakeRoom(CallContext& call, Demand& demand, int64_t missing);
  Task<absl::Status> FindIdleRoom(CallContext call, int64_t bytes, bool only_look, std::weak_ptr<Room> asked);
  std::vector<EngineTable::Used> Idle();
  // Others have just made room for somebody else, or are about to.
  bool IsTaken(const Demand& demand) const;
  Task<void> AwaitTaking(const Demand& demand);
  Task<bool> Unload(CallContext call, std::string instance_id, int64_t generation, UnloadReason reason);
  Task<std::vector<EngineTable::Used>> UnloadAll(CallContext call, std::vector<EngineTable::Used> engines,
                                                 const std::vector<std::string>& stay_closed);
  using Waiters = std::list<Waiter*>;
  Task<void> Await(Waiters& waiters, absl::Time until);
  static void Wake(const Waiters& waiters);
  std::vector<EngineTable::Used> Look();
  absl::Status NoRoom(const Demand& demand) const;
  absl::Status Noted(const std::string& model_id, absl::Status status);
  std::string Holders() const;

  Loop& loop_;
  EngineDirectory& engines_;
  EngineTable& table_;
  const LoaderSettings settings_;
  absl::flat_hash_map<std::string, std::shared_ptr<Flight>> loads_;  // by model
  absl::flat_hash_map<std::string, int> waiting_;                    // callers, by model
  absl::flat_hash_map<std::string, Failure> failures_;
  absl::flat_hash_map<std::string, TooLarge> too_large_;  // by model
  absl::flat_hash_map<std::string, absl::Duration> load_times_;      // by model
  std::map<std::string, Turn> turns_;                                // while anybody is in line
  std::map<std::string, absl::Time> kept_;                           // not to be tried before
  std::list<Demand*> demands_;                                       // all
  std::list<Demand*> line_;                                          // those that find no memory
  Demand* taking_ = nullptr;                                         // for whom room has just been made, or is being
  absl::Time taking_until_;                                          // how long others leave it to that one
  Waiters in_line_;
  Waiters watching_;  // for engines that are idle
  std::shared_ptr<Loader*> self_;  // coroutines may outlive the loader when the process ends
};

}  // namespace aima::inference
