// All instances of this machine.
#pragma once

#include <absl/status/statusor.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "services/engine/instance.h"
#include "services/engine/planner.h"

namespace aima::engine {

// Keeps them by id and looks after what an earlier life of this process left behind. Used on its loop only.
class Instances {
 public:
  Instances(Surroundings around, const EngineCatalogue& catalogue)
      : around_(std::move(around)), catalogue_(catalogue) {}

  // How an instance that has ended by itself is started again. Before Recover.
  void OrderAgainThrough(std::function<Task<absl::StatusOr<StartOrder>>(CallContext&, Record)> order_again) {
    around_.order_again = std::move(order_again);
  }

  // Reads the rows and takes over, or buries, what they tell of. Before any unit is served.
  Task<absl::Status> Recover();

  // Ends, every now and then, processes that carry our marker and that nobody wants. An orphan is ended when it was
  // seen twice, so that one that has only just been made is not taken for one.
  Task<void> SweepForever(absl::Duration interval);
  // One look. Returns how many were ended.
  Task<int> Sweep();

  // Gives up what is still starting, so that its callers are answered. What runs goes on without this process; the next
  // one finds it.
  Task<void> Drain();

  // Null if there is none, or none that has begun.
  std::shared_ptr<Instance> Find(const std::string& instance_id) const;
  // Makes it if there is none.
  std::shared_ptr<Instance> At(const std::string& instance_id, const v1::EngineSpec& spec);
  const Patience& patience() const { return around_.patience; }
  // By id; also those that have not begun.
  const std::map<std::string, std::shared_ptr<Instance>>& all() const { return instances_; }
  std::vector<std::shared_ptr<Instance>> OfEngine(const std::string& engine) const;

 private:
  // What is there of an instance that this process has not started.
  Observed Look(const Record& record, const std::vector<process::Marked>& marked) const;
  Task<void> Recover(std::shared_ptr<Instance> instance, std::shared_ptr<const std::vector<process::Marked>> marked);
  Task<void> Adopt(std::shared_ptr<Instance> instance);
  void ForgetOldRuns() const;
  std::set<std::string> WantedRuns() const;

  Surroundings around_;
  const EngineCatalogue& catalogue_;
  std::map<std::string, std::shared_ptr<Instance>> instances_;
  std::set<std::string> suspects_;  // markers of orphans seen once
};

}  // namespace aima::engine
