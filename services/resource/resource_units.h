// The units of aima.resource.v1.ResourceService.
#pragma once

#include <absl/status/statusor.h>

#include <string>

#include "aima/resource/v1/resource.pb.h"
#include "libs/base/call_context.h"
#include "libs/base/task.h"
#include "libs/events/outbox.h"
#include "libs/pg/database.h"
#include "services/resource/ledger.h"
#include "services/resource/machine.h"
#include "services/resource/survey.h"

namespace aima::resource {

// Slots: claims on this machine that are held until they are released.
class ResourceUnits {
 public:
  struct Parts {
    pg::Database& db;
    events::Outbox& outbox;
    Ledger& ledger;
    const Machine& machine;
    const Survey& survey;
  };
  struct Settings {
    std::string data_dir;
    double pressure_threshold = 0.9;
  };
  ResourceUnits(Parts parts, Settings settings) : parts_(parts), settings_(std::move(settings)) {}

  Task<absl::StatusOr<v1::AllocateResponse>> Allocate(CallContext& call, const v1::AllocateRequest& request);
  Task<absl::StatusOr<v1::ReleaseResponse>> Release(CallContext& call, const v1::ReleaseRequest& request);
  Task<absl::StatusOr<v1::UpdateSlotResponse>> UpdateSlot(CallContext& call, const v1::UpdateSlotRequest& request);
  Task<absl::StatusOr<v1::StatusResponse>> Status(CallContext& call, const v1::StatusRequest& request);
  Task<absl::StatusOr<v1::BudgetResponse>> Budget(CallContext& call, const v1::BudgetRequest& request);
  Task<absl::StatusOr<v1::AllocationsResponse>> Allocations(CallContext& call,
                                                            const v1::AllocationsRequest& request);
  Task<absl::StatusOr<v1::CanAllocateResponse>> CanAllocate(CallContext& call,
                                                            const v1::CanAllocateRequest& request);

 private:
  // What there is, with what other programs use of it.
  Task<absl::StatusOr<Stocks>> SeeStocks(const CallContext& call);

  // OK if a claim of `pool` can be granted `wanted` now, else RESOURCE_INSUFFICIENT.
  Task<absl::Status> CheckFits(const CallContext& call, const Amounts& wanted, const std::string& pool);

  // Why the ledger refused to grow a slot; OK if it would not refuse again.
  Task<absl::Status> ExplainRefusedGrowth(const CallContext& call, const v1::UpdateSlotRequest& request);

  v1::Slot ToSlot(const Claim& claim) const;

  const Parts parts_;
  const Settings settings_;
};

}  // namespace aima::resource
