// What the two halves of the loader share (loader.cc, loader_room.cc).
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "libs/errors/errors.h"
#include "services/inference/loader.h"

namespace aima::inference {

// Looks again, after an unload, until the memory that it has freed is seen free.
inline constexpr int kTriesAfterUnload = 25;

// The engine service, or something that it needs, is away for a moment. What it was told may have been done.
inline bool IsAway(const absl::Status& status) {
  return HasReason(status, unit::v1::UNAVAILABLE) || HasReason(status, unit::v1::OUTCOME_UNKNOWN);
}

// Leaves everything that it is in however its coroutine ends.
struct Loader::Demand {
  Demand(Loader& l, std::string m) : loader(l), alive(l.self_), model(std::move(m)) { loader.demands_.push_back(this); }
  ~Demand() {
    if (alive.expired()) return;  // the process ends
    for (const std::string& instance : closed) loader.table_.Reopen(instance);
    loader.demands_.remove(this);
    loader.line_.remove(this);
    if (loader.taking_ == this) loader.taking_ = nullptr;
    if (loader.line_.empty()) loader.turns_.clear();
    loader.Changed();
  }
  Loader& loader;
  const std::weak_ptr<Loader*> alive;
  const std::string model;
  std::string missing;            // in words, while it finds no memory
  std::vector<std::string> closed;  // for it
  int patience = 0;                 // tries that are left although nobody can make room
};

}  // namespace aima::inference
