#include "services/resource/resource_units.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "libs/base/ids.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"

namespace aima::resource {
namespace {

// A refusal is explained by what is left when it comes; if that is enough by then, the grant is tried again.
constexpr int kMostAttempts = 20;
constexpr int kSlotsInStatus = 100;

std::string PoolOf(v1::SlotType type) {
  switch (type) {
    case v1::SLOT_TYPE_DOCKER_CONTAINER: return kContainerPool;
    case v1::SLOT_TYPE_SYSTEM_SERVICE: return kFlexiblePool;
    default: return kInferencePool;
  }
}

// Of the ledger's classes only what is wanted. Fractions are rounded up: who gets a third of a GPU gets 334/1000.
template <class Request>
Amounts AmountsOf(const Request& request) {
  Amounts amounts = {{kMemory, request.memory_bytes()}};
  if (request.gpu_fraction() > 0) amounts[kGpu] = static_cast<int64_t>(std::ceil(request.gpu_fraction() * 1000));
  if (request.cpu_cores() > 0) amounts[kCpu] = static_cast<int64_t>(std::ceil(request.cpu_cores() * 1000));
  return amounts;
}

// Such as "0.5 GPUs".
std::string Show(const std::string& name, int64_t amount) {
  if (name == kMemory) return absl::StrCat(amount, " bytes of memory");
  return absl::StrCat(static_cast<double>(amount) / 1000, name == kGpu ? " GPUs" : " CPU cores");
}

absl::Status Insufficient(const std::string& name, int64_t needed, int64_t available) {
  return Error(v1::RESOURCE_INSUFFICIENT,
               absl::StrCat(Show(name, needed), " are needed, ", Show(name, available), " are available"),
               {{"class", name}, {"needed", absl::StrCat(needed)}, {"available", absl::StrCat(available)}});
}

absl::Status NotFound(const std::string& slot_id) {
  return Error(v1::SLOT_NOT_FOUND, absl::StrCat("there is no slot '", slot_id, "'"), {{"slot_id", slot_id}});
}

// Keeps what the database said: it may be the same command again, which the middleware then answers as before.
absl::Status IdTaken(const std::string& slot_id, const absl::Status& written) {
  absl::Status taken = InvalidInput("slot_id", absl::StrCat("'", slot_id, "' is or was the id of another slot"));
  written.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    if (!taken.GetPayload(url)) taken.SetPayload(url, payload);
  });
  return taken;
}

absl::Status TooBusy() {
  return Error(unit::v1::OVERLOADED, "the ledger changes faster than this call can follow");
}

v1::Usage ToUsage(const Usage& usage) {
  v1::Usage result;
  result.set_total(usage.total);
  result.set_used(usage.used());
  result.set_available(usage.available);
  return result;
}

v1::Pressure PressureOf(const Usage& memory, double threshold) {
  const double used = static_cast<double>(memory.used()) / static_cast<double>(memory.total);
  if (used >= threshold) return v1::PRESSURE_CRITICAL;
  if (used >= threshold * 5 / 6) return v1::PRESSURE_HIGH;
  if (used >= threshold * 5 / 9) return v1::PRESSURE_MEDIUM;
  return v1::PRESSURE_LOW;
}

}  // namespace

Task<absl::StatusOr<v1::AllocateResponse>> ResourceUnits::Allocate(CallContext& call,
                                                                   const v1::AllocateRequest& request) {
  const bool named = !request.slot_id().empty();
  Claim claim{.id = named ? request.slot_id() : NewId("slot_"), .pool = PoolOf(request.type()), .name = request.name()};
  claim.type = v1::SlotType_Name(request.type());
  claim.status = v1::SlotStatus_Name(v1::SLOT_STATUS_ACTIVE);
  claim.priority = request.priority();
  claim.items = AmountsOf(request);

  v1::ResourceAllocated allocated;
  allocated.set_slot_id(claim.id);
  allocated.set_memory(request.memory_bytes());
  allocated.set_name(request.name());
  allocated.set_type(request.type());

  v1::AllocateResponse response;
  response.set_slot_id(claim.id);
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    claim.fence = parts_.ledger.NextFence();
    response.set_fence(claim.fence);
    std::vector<pg::Operation> write = parts_.ledger.Grant(claim, parts_.survey.external());
    write.push_back(parts_.outbox.Emit(call, allocated));
    write.push_back(parts_.outbox.Remember(call, response));
    const absl::Status written = (co_await parts_.db.Write(call, std::move(write))).status();
    if (written.ok()) co_return response;
    if (Ledger::Refused(written) == Ledger::Refusal::kNone) co_return written;
    if (Ledger::Refused(written) == Ledger::Refusal::kIdTaken) {
      co_return named ? IdTaken(claim.id, written) : written;
    }
    CO_RETURN_IF_ERROR(co_await CheckFits(call, claim.items, claim.pool));
  }
  co_return TooBusy();
}

Task<absl::StatusOr<v1::ReleaseResponse>> ResourceUnits::Release(CallContext& call,
                                                                 const v1::ReleaseRequest& request) {
  v1::ResourceReleased released;
  released.set_slot_id(request.slot_id());
  v1::ReleaseResponse response;
  response.set_success(true);

  // What is not there may be on its way: an allocation whose caller has stopped waiting for it. It is barred, and looked
  // for once more, as it may have come in between.
  for (const bool barred : {false, true}) {
    std::vector<pg::Operation> write = parts_.ledger.End(request.slot_id(), request.fence());
    write.push_back(parts_.outbox.Emit(call, released));
    write.push_back(parts_.outbox.Remember(call, response));
    const absl::Status written = (co_await parts_.db.Write(call, std::move(write))).status();
    if (Ledger::Refused(written) != Ledger::Refusal::kNotHeld) {
      CO_RETURN_IF_ERROR(written);
      co_return response;
    }
    if (barred) break;
    CO_RETURN_IF_ERROR((co_await parts_.db.Write(call, parts_.ledger.Bar(request.slot_id()))).status());
  }

  CO_ASSIGN_OR_RETURN(const std::optional<Claim> claim, co_await parts_.ledger.Find(call, request.slot_id()));
  if (!claim) co_return NotFound(request.slot_id());
  if (request.fence() != 0 && request.fence() != claim->fence) {
    co_return Error(v1::SLOT_FENCE_MISMATCH,
                    absl::StrCat("slot '", claim->id, "' has fence ", claim->fence, ", not ", request.fence()),
                    {{"slot_id", claim->id}});
  }
  co_return response;  // it was released before
}

Task<absl::StatusOr<v1::UpdateSlotResponse>> ResourceUnits::UpdateSlot(CallContext& call,
                                                                       const v1::UpdateSlotRequest& request) {
  ClaimChange change;
  if (request.status() != v1::SLOT_STATUS_UNSPECIFIED) change.status = v1::SlotStatus_Name(request.status());
  if (request.has_actual_memory()) change.actual_memory = request.actual_memory();
  if (request.has_process_pid()) change.process_pid = request.process_pid();
  if (request.has_current_model()) change.current_model = request.current_model();
  if (request.has_priority()) change.priority = request.priority();
  Amounts amounts;
  if (request.has_memory_limit()) amounts[kMemory] = request.memory_limit();

  v1::UpdateSlotResponse response;
  response.set_success(true);
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    std::vector<pg::Operation> write =
        parts_.ledger.Change(request.slot_id(), change, amounts, parts_.survey.external());
    write.push_back(parts_.outbox.Remember(call, response));
    const absl::Status written = (co_await parts_.db.Write(call, std::move(write))).status();
    if (written.ok()) co_return response;
    if (Ledger::Refused(written) == Ledger::Refusal::kNotHeld) co_return NotFound(request.slot_id());
    if (Ledger::Refused(written) != Ledger::Refusal::kDoesNotFit) co_return written;
    CO_RETURN_IF_ERROR(co_await ExplainRefusedGrowth(call, request));
  }
  co_return TooBusy();
}

Task<absl::Status> ResourceUnits::ExplainRefusedGrowth(const CallContext& call,
                                                       const v1::UpdateSlotRequest& request) {
  CO_ASSIGN_OR_RETURN(const std::optional<Claim> claim, co_await parts_.ledger.Find(call, request.slot_id()));
  if (!claim) co_return NotFound(request.slot_id());
  co_return co_await CheckFits(call, {{kMemory, request.memory_limit() - claim->items.at(kMemory)}}, claim->pool);
}

Task<absl::StatusOr<v1::StatusResponse>> ResourceUnits::Status(CallContext& call,
                                                               const v1::StatusRequest& request) {
  CO_ASSIGN_OR_RETURN(const Usage memory, parts_.machine.Memory());
  CO_ASSIGN_OR_RETURN(const Usage storage, parts_.machine.Storage(settings_.data_dir));
  CO_ASSIGN_OR_RETURN(const std::vector<Claim> claims,
                      co_await parts_.ledger.List(call, {.limit = kSlotsInStatus}));
  v1::StatusResponse response;
  *response.mutable_memory() = ToUsage(memory);
  *response.mutable_storage() = ToUsage(storage);
  response.set_pressure(PressureOf(memory, settings_.pressure_threshold));
  for (const Claim& claim : claims) *response.add_slots() = ToSlot(claim);
  co_return response;
}

Task<absl::StatusOr<v1::BudgetResponse>> ResourceUnits::Budget(CallContext& call,
                                                               const v1::BudgetRequest& request) {
  CO_ASSIGN_OR_RETURN(Stocks stocks, co_await SeeStocks(call));
  const Stock& memory = stocks[kMemory];
  const int64_t to_give = memory.total - memory.reserved;
  const int64_t available = std::max<int64_t>(0, to_give - memory.used - memory.external);
  v1::BudgetResponse response;
  response.set_total(memory.total);
  response.set_reserved(memory.reserved);
  response.set_used(memory.used);
  response.set_external(memory.external);
  response.set_available(available);

  const auto add_pool = [&](const std::string& name, int64_t total, int64_t given) {
    v1::Pool& pool = (*response.mutable_pools())[name];
    pool.set_total(total);
    pool.set_reserved(given);
    pool.set_available(std::clamp<int64_t>(total - given, 0, available));
  };
  // What slots use beyond the share of their pool comes from the flexible one, which is what the shares leave.
  int64_t flexible = to_give;
  int64_t flexible_given = 0;
  for (const auto& [name, pool] : memory.pools) {
    flexible -= pool.share;
    flexible_given += std::max<int64_t>(0, pool.used - pool.share);
    if (name != kFlexiblePool) add_pool(name, pool.share, std::min(pool.used, pool.share));
  }
  add_pool(kFlexiblePool, std::max<int64_t>(0, flexible), flexible_given);
  co_return response;
}

Task<absl::StatusOr<v1::AllocationsResponse>> ResourceUnits::Allocations(CallContext& call,
                                                                         const v1::AllocationsRequest& request) {
  Ledger::Filter filter{.id = request.slot_id(), .after = request.page_token(), .limit = request.limit() + 1};
  if (request.type() != v1::SLOT_TYPE_UNSPECIFIED) filter.type = v1::SlotType_Name(request.type());
  CO_ASSIGN_OR_RETURN(const std::vector<Claim> claims, co_await parts_.ledger.List(call, std::move(filter)));
  v1::AllocationsResponse response;
  for (const Claim& claim : claims) {
    if (response.allocations_size() == request.limit()) {  // there is one more: this page is not the last
      response.set_next_page_token(response.allocations(request.limit() - 1).slot_id());
      break;
    }
    *response.add_allocations() = ToSlot(claim);
  }
  co_return response;
}

Task<absl::StatusOr<v1::CanAllocateResponse>> ResourceUnits::CanAllocate(CallContext& call,
                                                                         const v1::CanAllocateRequest& request) {
  const absl::Status fits = co_await CheckFits(call, AmountsOf(request), PoolOf(request.type()));
  if (!fits.ok() && !HasReason(fits, v1::RESOURCE_INSUFFICIENT)) co_return fits;
  v1::CanAllocateResponse response;
  response.set_can_allocate(fits.ok());
  if (!fits.ok()) response.set_reason(DetailsOf(fits).message);
  co_return response;
}

Task<absl::StatusOr<Stocks>> ResourceUnits::SeeStocks(const CallContext& call) {
  CO_ASSIGN_OR_RETURN(Stocks stocks, co_await parts_.ledger.GetStocks(call));
  for (const auto& [name, amount] : parts_.survey.external()) stocks[name].external = amount;
  co_return stocks;
}

Task<absl::Status> ResourceUnits::CheckFits(const CallContext& call, const Amounts& wanted,
                                            const std::string& pool) {
  CO_ASSIGN_OR_RETURN(Stocks stocks, co_await SeeStocks(call));
  for (const auto& [name, amount] : wanted) {
    const int64_t available = stocks[name].AvailableTo(pool);
    if (amount > available) co_return Insufficient(name, amount, available);
  }
  co_return absl::OkStatus();
}

v1::Slot ResourceUnits::ToSlot(const Claim& claim) const {
  v1::Slot slot;
  slot.set_slot_id(claim.id);
  slot.set_name(claim.name);
  v1::SlotType type = v1::SLOT_TYPE_UNSPECIFIED;
  v1::SlotType_Parse(claim.type, &type);
  slot.set_type(type);
  v1::SlotStatus status = v1::SLOT_STATUS_UNSPECIFIED;
  v1::SlotStatus_Parse(claim.status, &status);
  slot.set_status(status);
  slot.set_memory_limit(claim.items.at(kMemory));
  slot.set_gpu_fraction(static_cast<double>(claim.items.at(kGpu)) / 1000);
  slot.set_cpu_cores(static_cast<double>(claim.items.at(kCpu)) / 1000);
  slot.set_priority(claim.priority);
  slot.set_current_model(claim.current_model);
  slot.set_process_pid(claim.process_pid);
  slot.set_actual_memory(parts_.survey.ActualMemory(claim));
  slot.set_fence(claim.fence);
  const int64_t micros = absl::ToUnixMicros(claim.created_at);
  slot.mutable_created_at()->set_seconds(micros / 1'000'000);
  slot.mutable_created_at()->set_nanos(static_cast<int>(micros % 1'000'000) * 1000);
  return slot;
}

}  // namespace aima::resource
