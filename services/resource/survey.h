// Keeps the ledger in step with the machine.
#pragma once

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <string>

#include "aima/config/v1/config.pb.h"
#include "libs/base/task.h"
#include "services/resource/ledger.h"
#include "services/resource/machine.h"

namespace aima::resource {

// What there is to give away, by class: the machine less what the configuration keeps for the system, divided
// among the pools. INVALID_INPUT if the pools take more than everything.
absl::StatusOr<Stocks> StocksOf(const Machine& machine, const config::v1::Resource& config);

// Looks at the machine again and again: what it has, and what programs that hold no slot use of it.
class Survey {
 public:
  Survey(const Machine& machine, Ledger& ledger, const config::v1::Resource& config)
      : machine_(machine), ledger_(ledger), config_(config) {}

  // Looks once. Keeps what it knew where it fails.
  Task<absl::Status> Look(const CallContext& call);

  // Looks every two seconds, until it is cancelled.
  Task<void> Run(CallContext call);

  // What other programs use, by class. A process counts as another program until its slot tells its id.
  const Amounts& external() const { return external_; }

  // Memory that is in use in the slot.
  int64_t ActualMemory(const Claim& claim) const;

 private:
  Task<absl::Status> UpdateStocks(const CallContext& call);
  Task<absl::Status> ForgetEnded(const CallContext& call);

  const Machine& machine_;
  Ledger& ledger_;
  const config::v1::Resource config_;
  Amounts external_;
  absl::Time forgot_ = absl::InfinitePast();
};

}  // namespace aima::resource
