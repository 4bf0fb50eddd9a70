// The one order of all events.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "aima/event/v1/event.pb.h"
#include "services/event/event_table.h"
#include "services/event/signal.h"

namespace aima::event {

using EventPtr = std::shared_ptr<const v1::Event>;

// How much of the log is kept.
struct Retention {
  absl::Duration age = absl::Hours(720);
  int64_t events = 1'000'000;
};

// The sequencer. Publishers' events are appended in batches with one commit each, numbered without gaps, and told to
// the listener in order, only once they are durable. Should another process append to the same log, its events are
// read from the table and told in their place. Not thread-safe: use it on its loop.
class EventLog {
 public:
  // Hears every appended event once, in order.
  using Listener = std::function<void(const std::vector<EventPtr>&)>;

  EventLog(Loop& loop, pg::Database& db, Retention retention)
      : loop_(loop), table_(db), retention_(retention), work_(loop) {}

  // Reads where the log stands.
  Task<absl::Status> Open();
  // Works until it is cancelled: the sequencer, and what removes old events.
  Task<void> Run();
  Task<void> RunRetention();
  void SetListener(Listener listener) { listener_ = std::move(listener); }

  // Sequences of the events, which are durable then. An event whose id is in the log keeps the sequence it has.
  Task<absl::StatusOr<std::vector<int64_t>>> Append(const CallContext& call, std::vector<v1::Event> events);

  // Newest sequence. All up to here have been told.
  int64_t head() const { return head_; }
  // Sequences after this one are kept.
  int64_t floor() const { return floor_; }
  // Types that events of the log have, or had.
  std::vector<std::string> types() const { return table_.types(); }

  // Events of a range, with CURSOR_OUT_OF_RANGE where the log does not hold all that comes after `range.after`.
  Task<absl::StatusOr<std::vector<v1::Event>>> Read(const CallContext& call, Range range);
  absl::Status CheckCursor(int64_t after) const;

  // Removes what is too old or too much.
  Task<absl::Status> Retain();

 private:
  struct Publish {
    explicit Publish(Loop& loop) : done(loop) {}
    std::vector<v1::Event> events;
    std::vector<int64_t> sequences;
    absl::Status status;
    bool taken = false;
    Signal done;
  };
  using Batch = std::vector<std::shared_ptr<Publish>>;

  Batch TakeBatch();
  Task<absl::Status> AppendBatch(const Batch& batch);
  // Tells what was appended unknown to this object: by another process, or by a batch whose outcome was not known.
  Task<absl::Status> CatchUp();
  Task<absl::Status> AppendNew(const Batch& batch, absl::flat_hash_map<std::string, int64_t>& known);

  Loop& loop_;
  EventTable table_;
  const Retention retention_;
  Listener listener_;
  Signal work_;
  std::deque<std::shared_ptr<Publish>> waiting_;
  int64_t head_ = 0;
  int64_t floor_ = 0;
  bool unsure_ = false;  // the last batch may or may not have been appended
};

}  // namespace aima::event
