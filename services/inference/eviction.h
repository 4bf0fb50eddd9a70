// Which engines make room for a model that finds no memory: a pure function of who holds what, who is used, and the time.
#pragma once

#include <absl/time/time.h>

#include <cstdint>
#include <string>
#include <vector>

namespace aima::inference {

// An engine that holds memory.
struct Held {
  std::string instance_id;
  int64_t generation = 0;
  int64_t memory = 0;
  bool evictable = false;  // loaded on demand, not pinned, and ours
  std::string why_kept;    // in words, if it is not evictable
  bool closed = false;     // gets no new requests
  int in_flight = 0;
  int queued = 0;
  absl::Time last_used = absl::InfinitePast();
  // Its turn: since when it serves while others wait for its memory, and how many requests it was given since.
  absl::Time turn_began = absl::InfiniteFuture();
  int64_t turn_served = 0;
  absl::Duration load_time;  // that its model took when it was last loaded
};

// How long a model keeps its memory while others wait for it. The more a load costs, the longer, so that switching costs
// a bounded share of the time; always bounded, so that nobody starves.
struct TurnPolicy {
  int64_t batch = 64;                               // requests
  absl::Duration shortest = absl::Seconds(5);       // or so long, or four loads, whichever is longer
  absl::Duration longest = absl::Minutes(1);
  // An idle engine waits for the next request of the same clients for a quarter of its load.
  absl::Duration shortest_linger = absl::Milliseconds(50);
  absl::Duration longest_linger = absl::Seconds(1);
};

struct EvictionPlan {
  bool possible = false;           // making room is a matter of waiting
  std::vector<std::string> unload;  // now: together they make enough room, and none has anything in hand
  std::vector<std::string> close;   // their turn is over: they end what they have in hand and get nothing new
  absl::Time look_again = absl::InfiniteFuture();  // if nothing changes before
};

// Frees `needed` bytes. Of engines that are idle, the one that was used least recently and is large enough; several if one
// is not enough; else those whose turn ends first. Nothing that has a request in hand is ever unloaded.
EvictionPlan PlanEviction(const std::vector<Held>& engines, int64_t needed, const TurnPolicy& policy, absl::Time now);

}  // namespace aima::inference
