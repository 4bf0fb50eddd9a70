// The log in the database.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/time/time.h>

#include <cstdint>
#include <string>
#include <vector>

#include "aima/event/v1/event.pb.h"
#include "libs/pg/database.h"

namespace aima::event {

// Which events to read.
struct Range {
  int64_t after = 0;  // sequences after this one
  int64_t until = 0;  // up to and with this one
  absl::Time since = absl::InfinitePast();
  absl::Time before = absl::InfiniteFuture();
  std::vector<std::string> types;  // types and domains; empty is all
  std::string correlation_id;      // empty is all
  int limit = 100;
  bool newest_first = false;
};

// All SQL of the event service. Not thread-safe: use it on its loop.
class EventTable {
 public:
  explicit EventTable(pg::Database& db) : db_(db) {}

  // Reads the names of types. Before anything else, and whenever another process may have added some.
  Task<absl::Status> LoadTypes(const CallContext& call);

  // The last sequence given, and the oldest one kept (one more than the last if none is).
  Task<absl::StatusOr<int64_t>> Head(const CallContext& call);
  Task<absl::StatusOr<int64_t>> Earliest(const CallContext& call);

  // Appends the events with the sequences that they bear, which follow `head`. False, and nothing is appended, if
  // `head` is no longer the last one. Fails with pg::kUniqueViolation if one of the ids is in the log.
  Task<absl::StatusOr<bool>> Append(const CallContext& call, int64_t head, const std::vector<v1::Event*>& events);

  // Sequences of those of the ids that are in the log.
  Task<absl::StatusOr<absl::flat_hash_map<std::string, int64_t>>> Find(const CallContext& call,
                                                                      const std::vector<std::string>& ids);

  // In the order of the log, or the other way round.
  Task<absl::StatusOr<std::vector<v1::Event>>> Read(const CallContext& call, const Range& range);

  // The oldest event that is not older than `time`; `head` + 1 if all are.
  Task<absl::StatusOr<int64_t>> FirstSince(const CallContext& call, absl::Time time, int64_t head);

  Task<absl::Status> DeleteBefore(const CallContext& call, int64_t seq);

  // Names of the types that LoadTypes has found and Append added.
  std::vector<std::string> types() const;

 private:
  struct Type {
    std::string name;
    std::string domain;
  };

  Task<absl::Status> AddType(const CallContext& call, const std::string& name);
  std::vector<int64_t> TypeIds(const std::vector<std::string>& names) const;

  pg::Database& db_;
  absl::flat_hash_map<int, Type> types_;
  absl::flat_hash_map<std::string, int> type_ids_;
};

}  // namespace aima::event
