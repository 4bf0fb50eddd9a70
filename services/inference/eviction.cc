#include "services/inference/eviction.h"

#include <algorithm>
#include <tuple>

namespace aima::inference {
namespace {

absl::Time LingersUntil(const Held& engine, const TurnPolicy& policy) {
  return engine.last_used + std::clamp(engine.load_time / 4, policy.shortest_linger, policy.longest_linger);
}

absl::Time TurnEnds(const Held& engine, const TurnPolicy& policy) {
  if (engine.turn_served >= policy.batch) return absl::InfinitePast();
  return engine.turn_began + std::clamp(engine.load_time * 4, policy.shortest, policy.longest);
}

// Nothing in hand, and nobody expected.
bool IsIdle(const Held& engine, const TurnPolicy& policy, absl::Time now) {
  if (engine.in_flight > 0) return false;
  return engine.closed || TurnEnds(engine, policy) <= now ||
         (engine.queued == 0 && LingersUntil(engine, policy) <= now);
}

using Engines = std::vector<const Held*>;

// The first of `engines` that is enough alone; else as many of the first as it takes, without those that the later ones
// make needless. Empty if all together are not enough.
Engines Enough(const Engines& engines, int64_t needed) {
  for (const Held* engine : engines) {
    if (engine->memory >= needed) return {engine};
  }
  Engines some;
  int64_t sum = 0;
  for (const Held* engine : engines) {
    if (sum >= needed) break;
    some.push_back(engine);
    sum += engine->memory;
  }
  if (sum < needed) return {};
  for (size_t i = some.size(); i-- > 0;) {
    if (sum - some[i]->memory < needed) continue;
    sum -= some[i]->memory;
    some.erase(some.begin() + static_cast<std::ptrdiff_t>(i));
  }
  return some;
}

}  // namespace

EvictionPlan PlanEviction(const std::vector<Held>& engines, int64_t needed, const TurnPolicy& policy, absl::Time now) {
  Engines idle, all;
  for (const Held& engine : engines) {
    if (!engine.evictable || engine.memory <= 0) continue;
    all.push_back(&engine);
    if (IsIdle(engine, policy, now)) idle.push_back(&engine);
  }
  std::sort(idle.begin(), idle.end(), [](const Held* a, const Held* b) {
    return std::tie(a->last_used, a->instance_id) < std::tie(b->last_used, b->instance_id);
  });
  EvictionPlan plan;
  for (const Held* engine : Enough(idle, needed)) plan.unload.push_back(engine->instance_id);
  plan.possible = !plan.unload.empty();
  if (plan.possible) return plan;

  // Those that are closed already first, or every look would close others.
  const auto key = [&](const Held* engine) {
    return std::tuple(!engine->closed, !IsIdle(*engine, policy, now), TurnEnds(*engine, policy), engine->last_used,
                      engine->instance_id);
  };
  std::sort(all.begin(), all.end(), [&](const Held* a, const Held* b) { return key(a) < key(b); });
  const Engines chosen = Enough(all, needed);
  plan.possible = !chosen.empty();
  for (const Held* engine : chosen) {
    if (engine->closed) continue;
    const absl::Time ends = TurnEnds(*engine, policy);
    if (ends <= now) {
      plan.close.push_back(engine->instance_id);
    } else {
      plan.look_again = std::min(plan.look_again, ends);
    }
    const bool lingers = engine->in_flight == 0 && engine->queued == 0;
    if (lingers && LingersUntil(*engine, policy) > now) {
      plan.look_again = std::min(plan.look_again, LingersUntil(*engine, policy));
    }
  }
  return plan;
}

}  // namespace aima::inference
