#include "services/resource/survey.h"

#include <absl/time/clock.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <vector>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"

namespace aima::resource {
namespace {

constexpr absl::Duration kPeriod = absl::Seconds(2);
constexpr int kMostSlots = 100'000;
// Who releases a slot twice within this time is told that it succeeded; later, that there is no such slot.
constexpr absl::Duration kEndedClaimsKept = absl::Hours(7 * 24);

// True if SetStocks(wanted) would change nothing.
bool InStep(const Stock& wanted, const Stock& kept) {
  const int64_t total = std::max(wanted.total, kept.used);
  const auto same_share = [&](const auto& pool) {
    const auto other = kept.pools.find(pool.first);
    return other != kept.pools.end() && other->second.share == pool.second.share;
  };
  return kept.total == total && kept.reserved == std::min(wanted.reserved, total - kept.used) &&
         std::all_of(wanted.pools.begin(), wanted.pools.end(), same_share);
}

}  // namespace

absl::StatusOr<Stocks> StocksOf(const Machine& machine, const config::v1::Resource& config) {
  if (config.inference_pool_pct() + config.container_pool_pct() > 1) {
    return InvalidInput("resource.container_pool_pct", "and resource.inference_pool_pct are more than 1 together");
  }
  ASSIGN_OR_RETURN(const Usage usage, machine.Memory());
  Stock memory{.total = usage.total, .reserved = std::min(config.system_reserved_mb() << 20, usage.total / 4)};
  const auto to_give = static_cast<double>(memory.total - memory.reserved);
  memory.pools = {{kInferencePool, {.share = static_cast<int64_t>(to_give * config.inference_pool_pct())}},
                  {kContainerPool, {.share = static_cast<int64_t>(to_give * config.container_pool_pct())}},
                  {kFlexiblePool, {}}};
  // Of these, nothing is kept for anybody.
  const std::map<std::string, Stock::Pool> no_shares = {
      {kInferencePool, {}}, {kContainerPool, {}}, {kFlexiblePool, {}}};
  return Stocks{{kMemory, memory},
                {kGpu, {.total = machine.GpuMilli(), .pools = no_shares}},
                {kCpu, {.total = machine.CpuMilli(), .pools = no_shares}}};
}

int64_t Survey::ActualMemory(const Claim& claim) const {
  return claim.process_pid != 0 ? machine_.MemoryOfProcess(claim.process_pid) : claim.actual_memory;
}

Task<absl::Status> Survey::Look(const CallContext& call) {
  CO_RETURN_IF_ERROR(co_await UpdateStocks(call));
  CO_ASSIGN_OR_RETURN(const std::vector<Claim> claims,
                      co_await ledger_.List(call, {.in_use = true, .limit = kMostSlots}));
  int64_t ours = 0;
  for (const Claim& claim : claims) ours += ActualMemory(claim);
  CO_ASSIGN_OR_RETURN(const Usage memory, machine_.Memory());
  external_[kMemory] = std::max<int64_t>(0, memory.used() - ours);
  co_return co_await ForgetEnded(call);
}

Task<absl::Status> Survey::UpdateStocks(const CallContext& call) {
  CO_ASSIGN_OR_RETURN(const Stocks wanted, StocksOf(machine_, config_));
  CO_ASSIGN_OR_RETURN(const Stocks kept, co_await ledger_.GetStocks(call));
  const bool in_step = std::all_of(wanted.begin(), wanted.end(), [&](const auto& stock) {
    const auto other = kept.find(stock.first);
    return other != kept.end() && InStep(stock.second, other->second);
  });
  if (in_step) co_return absl::OkStatus();
  co_return co_await ledger_.SetStocks(call, wanted);
}

Task<absl::Status> Survey::ForgetEnded(const CallContext& call) {
  if (absl::Now() - forgot_ < absl::Hours(1)) co_return absl::OkStatus();
  forgot_ = absl::Now();
  co_return co_await ledger_.ForgetEnded(call, absl::Now() - kEndedClaimsKept);
}

Task<void> Survey::Run(CallContext call) {
  boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor);
  bool troubled = false;
  while (true) {
    timer.expires_after(absl::ToChronoMilliseconds(kPeriod));
    co_await timer.async_wait(boost::asio::use_awaitable);
    call.deadline = absl::Now() + kPeriod;
    const absl::Status looked = co_await Look(call);
    // Once per trouble, not every two seconds.
    if (!looked.ok() && !troubled) spdlog::warn("survey failed, the last holds: {}", DetailsOf(looked).message);
    troubled = !looked.ok();
  }
}

}  // namespace aima::resource
