// What subscribers wait for.
#pragma once

#include <absl/container/flat_hash_set.h>

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "services/event/event_log.h"
#include "services/event/signal.h"

namespace aima::event {

// How much may wait for one subscriber.
struct FeedLimits {
  size_t events = 1000;
  size_t bytes = 4 << 20;
  int64_t behind = 100'000;  // events that may be made good from the table after an overflow
};

// The live events of one subscriber, in order. When more waits than is allowed, all of it is let go and the feed is no
// longer live: the subscriber reads the table until it has caught up.
class Feed {
 public:
  Feed(Loop& loop, std::vector<std::string> types, FeedLimits limits)
      : signal(loop), types_(std::move(types)), wanted_(types_.begin(), types_.end()), limits_(limits) {}

  void Deliver(const EventPtr& event, size_t bytes) {
    if (!live_) return;
    if (!wanted_.empty() && !wanted_.contains(event->type()) && !wanted_.contains(event->domain())) return;
    bytes_ += bytes;
    waiting_.push_back({event, bytes});
    if (waiting_.size() > limits_.events || bytes_ > limits_.bytes) GoLive(false);
    signal.Set();
  }

  // From here on every event is kept, or none.
  void GoLive(bool live) {
    live_ = live;
    waiting_.clear();
    bytes_ = 0;
  }
  bool live() const { return live_; }
  bool empty() const { return waiting_.empty(); }
  const std::vector<std::string>& types() const { return types_; }
  int64_t most_behind() const { return limits_.behind; }

  // Moves what waits into `batch`, up to about `most_bytes`.
  void Take(v1::Batch& batch, size_t most_bytes) {
    size_t taken = 0;
    while (!waiting_.empty() && taken < most_bytes) {
      taken += waiting_.front().bytes;
      bytes_ -= waiting_.front().bytes;
      *batch.add_events() = *waiting_.front().event;
      waiting_.pop_front();
    }
  }

  Signal signal;  // set when something came

 private:
  struct Waiting {
    EventPtr event;
    size_t bytes;
  };

  const std::vector<std::string> types_;
  const absl::flat_hash_set<std::string> wanted_;
  const FeedLimits limits_;
  bool live_ = false;
  size_t bytes_ = 0;
  std::deque<Waiting> waiting_;
};

// All feeds.
class Feeds {
 public:
  void Add(Feed& feed) { feeds_.insert(&feed); }
  void Remove(Feed& feed) { feeds_.erase(&feed); }
  size_t size() const { return feeds_.size(); }

  void Deliver(const std::vector<EventPtr>& events) {
    if (feeds_.empty()) return;
    for (const EventPtr& event : events) {
      const size_t bytes = event->ByteSizeLong();
      for (Feed* feed : feeds_) feed->Deliver(event, bytes);
    }
  }

 private:
  absl::flat_hash_set<Feed*> feeds_;
};

}  // namespace aima::event
