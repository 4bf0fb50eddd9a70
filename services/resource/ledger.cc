#include "services/resource/ledger.h"

#include <algorithm>
#include <utility>

#include "libs/base/status_macros.h"

namespace aima::resource {
namespace {

// What require() of migrations/0001_ledger.sql fails with.
constexpr char kDoesNotFitState[] = "RS001";
constexpr char kFenceTooLowState[] = "RS002";
constexpr char kNotHeldState[] = "RS003";

constexpr pg::Statement kAddProvider = {"ledger_add_provider",
                                        "INSERT INTO provider (id) VALUES ($1) ON CONFLICT DO NOTHING"};

constexpr pg::Statement kLock = {"ledger_lock", "SELECT FROM provider WHERE id = $1 FOR UPDATE"};

// Locks as well.
constexpr pg::Statement kRaiseFence = {
    "ledger_raise_fence",
    "WITH raised AS (UPDATE provider SET fence = $2 WHERE id = $1 AND fence < $2 RETURNING 1)"
    " SELECT require(EXISTS (SELECT FROM raised), 'RS002')"};

constexpr pg::Statement kSetStock = {
    "ledger_set_stock",
    "INSERT INTO inventory (provider_id, class, total, reserved) VALUES ($1, $2, $3, $4)"
    " ON CONFLICT (provider_id, class) DO UPDATE"
    " SET total = greatest($3, inventory.used),"
    "     reserved = least($4, greatest($3, inventory.used) - inventory.used)"};

constexpr pg::Statement kSetShare = {"ledger_set_share",
                                     "INSERT INTO pool (provider_id, class, name, share) VALUES ($1, $2, $3, $4)"
                                     " ON CONFLICT (provider_id, class, name) DO UPDATE SET share = $4"};

constexpr pg::Statement kGetStocks = {
    "ledger_get_stocks",
    "SELECT class, total, reserved, inventory.used, pool.name, pool.share, pool.used, fence"
    " FROM provider JOIN inventory ON provider_id = id JOIN pool USING (provider_id, class) WHERE id = $1"};

constexpr pg::Statement kAddClaim = {
    "ledger_add_claim",
    "INSERT INTO claim (id, provider_id, pool, fence, name, type, priority, status)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"};

// Makes $4 the amount of class $3 that claim $2 holds. No other statement gives a claim anything: it may grow only
// into what is neither used, nor reserved, nor taken by other programs ($5), nor kept for the other pools.
constexpr pg::Statement kSetAmount = {
    "ledger_set_amount",
    "WITH change AS ("
    "  SELECT pool, $4 - coalesce((SELECT amount FROM claim_item WHERE claim_id = $2 AND class = $3), 0) AS amount"
    "  FROM claim WHERE id = $2 AND provider_id = $1 AND ended_at IS NULL"
    "), item AS ("
    "  INSERT INTO claim_item (claim_id, class, amount) SELECT $2, $3, $4 FROM change"
    "  ON CONFLICT (claim_id, class) DO UPDATE SET amount = $4"
    "), charged AS ("
    "  UPDATE pool SET used = used + change.amount FROM change"
    "  WHERE provider_id = $1 AND class = $3 AND name = change.pool"
    "), taken AS ("
    "  UPDATE inventory SET used = used + change.amount FROM change"
    "  WHERE provider_id = $1 AND class = $3"
    "  AND (change.amount <= 0"
    "       OR used + change.amount <= total - reserved - $5"
    "       AND (SELECT sum(CASE WHEN name = change.pool THEN p.used + change.amount"
    "                       ELSE greatest(p.used, share) END)"
    "            FROM pool p WHERE p.provider_id = $1 AND p.class = $3) <= total - reserved)"
    "  RETURNING 1"
    ") SELECT require(EXISTS (SELECT FROM taken), 'RS001')"};

constexpr pg::Statement kChangeClaim = {
    "ledger_change_claim",
    "WITH changed AS ("
    "  UPDATE claim SET status = coalesce($3, status), actual_memory = coalesce($4, actual_memory),"
    "    process_pid = coalesce($5, process_pid), current_model = coalesce($6, current_model),"
    "    priority = coalesce($7, priority)"
    "  WHERE id = $2 AND provider_id = $1 AND ended_at IS NULL RETURNING 1"
    ") SELECT require(EXISTS (SELECT FROM changed), 'RS003')"};

constexpr pg::Statement kEndClaim = {
    "ledger_end_claim",
    "WITH ended AS ("
    "  UPDATE claim SET ended_at = now()"
    "  WHERE id = $2 AND provider_id = $1 AND ended_at IS NULL AND $3::bigint IN (0, fence) RETURNING pool"
    "), freed AS ("
    "  SELECT pool, class, amount FROM ended, claim_item WHERE claim_id = $2"
    "), credited AS ("
    "  UPDATE pool SET used = used - amount FROM freed"
    "  WHERE provider_id = $1 AND pool.class = freed.class AND name = freed.pool"
    "), returned AS ("
    "  UPDATE inventory SET used = used - amount FROM freed"
    "  WHERE provider_id = $1 AND inventory.class = freed.class"
    ") SELECT require(EXISTS (SELECT FROM ended), 'RS003')"};

// Fences of grants are positive.
constexpr pg::Statement kBar = {
    "ledger_bar",
    "INSERT INTO claim (id, provider_id, pool, fence, name, type, priority, status, ended_at)"
    " SELECT $2, $1, '', least(0, min(fence)) - 1, '', '', 0, '', now() FROM claim WHERE provider_id = $1"
    " ON CONFLICT (id) DO NOTHING"};

#define CLAIM_COLUMNS                                                                                            \
  "SELECT id, pool, fence, name, type, priority, status, current_model, process_pid, actual_memory, created_at," \
  " (SELECT amount FROM claim_item WHERE claim_id = id AND class = 'memory_bytes'),"                             \
  " (SELECT amount FROM claim_item WHERE claim_id = id AND class = 'gpu_milli'),"                                \
  " (SELECT amount FROM claim_item WHERE claim_id = id AND class = 'cpu_milli')"

constexpr pg::Statement kFindClaim = {"ledger_find_claim",
                                      CLAIM_COLUMNS " FROM claim WHERE provider_id = $1 AND id = $2 AND fence > 0"};

constexpr pg::Statement kListClaims = {
    "ledger_list_claims",
    CLAIM_COLUMNS
    " FROM claim WHERE provider_id = $1 AND ended_at IS NULL"
    " AND ($2 = '' OR id = $2) AND ($3 = '' OR type = $3) AND id > $4"
    " AND (NOT $5 OR process_pid <> 0 OR actual_memory <> 0) ORDER BY id LIMIT $6"};

constexpr pg::Statement kForgetEnded = {"ledger_forget_ended",
                                        "DELETE FROM claim WHERE provider_id = $1 AND ended_at < $2"};

Claim ClaimOf(const pg::Row& row) {
  Claim claim;
  claim.id = row.Get<std::string>(0);
  claim.pool = row.Get<std::string>(1);
  claim.fence = row.Get<int64_t>(2);
  claim.name = row.Get<std::string>(3);
  claim.type = row.Get<std::string>(4);
  claim.priority = row.Get<int>(5);
  claim.status = row.Get<std::string>(6);
  claim.current_model = row.Get<std::string>(7);
  claim.process_pid = row.Get<int64_t>(8);
  claim.actual_memory = row.Get<int64_t>(9);
  claim.created_at = row.Get<absl::Time>(10);
  claim.items = {{kMemory, row.Get<int64_t>(11)}, {kGpu, row.Get<int64_t>(12)}, {kCpu, row.Get<int64_t>(13)}};
  return claim;
}

int64_t AmountOf(const Amounts& amounts, const std::string& name) {
  const auto found = amounts.find(name);
  return found == amounts.end() ? 0 : found->second;
}

}  // namespace

int64_t Stock::AvailableTo(const std::string& pool) const {
  const int64_t to_give = total - reserved;
  int64_t kept = 0;  // by this pool's use, and by the use or share of each other
  for (const auto& [name, other] : pools) {
    kept += name == pool ? other.used : std::max(other.used, other.share);
  }
  return std::max<int64_t>(0, to_give - std::max(kept, used + external));
}

Task<absl::Status> Ledger::SetStocks(const CallContext& call, Stocks stocks) {
  std::vector<pg::Operation> write = {{kAddProvider, {provider_}}, {kLock, {provider_}}};
  for (const auto& [name, stock] : stocks) {
    write.push_back({kSetStock, {provider_, name, stock.total, stock.reserved}});
    for (const auto& [pool, part] : stock.pools) write.push_back({kSetShare, {provider_, name, pool, part.share}});
  }
  co_return (co_await db_.Write(call, std::move(write))).status();
}

Task<absl::StatusOr<Stocks>> Ledger::GetStocks(const CallContext& call) {
  CO_ASSIGN_OR_RETURN(const pg::Result rows, co_await db_.Query(call, kGetStocks, {provider_}));
  Stocks stocks;
  for (int i = 0; i < rows.size(); ++i) {
    const pg::Row row = rows[i];
    Stock& stock = stocks[row.Get<std::string>(0)];
    stock.total = row.Get<int64_t>(1);
    stock.reserved = row.Get<int64_t>(2);
    stock.used = row.Get<int64_t>(3);
    stock.pools[row.Get<std::string>(4)] = {.share = row.Get<int64_t>(5), .used = row.Get<int64_t>(6)};
    last_fence_ = std::max(last_fence_, row.Get<int64_t>(7));
  }
  co_return stocks;
}

std::vector<pg::Operation> Ledger::Grant(const Claim& claim, const Amounts& external) const {
  std::vector<pg::Operation> write = {
      {kRaiseFence, {provider_, claim.fence}},
      {kAddClaim,
       {claim.id, provider_, claim.pool, claim.fence, claim.name, claim.type, claim.priority, claim.status}}};
  for (const auto& [name, amount] : claim.items) {
    write.push_back({kSetAmount, {provider_, claim.id, name, amount, AmountOf(external, name)}});
  }
  return write;
}

std::vector<pg::Operation> Ledger::Change(const std::string& id, const ClaimChange& change, const Amounts& amounts,
                                          const Amounts& external) const {
  std::vector<pg::Operation> write = {{kLock, {provider_}},
                                      {kChangeClaim,
                                       {provider_, id, change.status, change.actual_memory, change.process_pid,
                                        change.current_model, change.priority}}};
  for (const auto& [name, amount] : amounts) {
    write.push_back({kSetAmount, {provider_, id, name, amount, AmountOf(external, name)}});
  }
  return write;
}

std::vector<pg::Operation> Ledger::End(const std::string& id, int64_t fence) const {
  return {{kLock, {provider_}}, {kEndClaim, {provider_, id, fence}}};
}

std::vector<pg::Operation> Ledger::Bar(const std::string& id) const {
  return {{kLock, {provider_}}, {kBar, {provider_, id}}};
}

Ledger::Refusal Ledger::Refused(const absl::Status& written) {
  const std::string state = pg::SqlState(written);
  if (state == kDoesNotFitState) return Refusal::kDoesNotFit;
  if (state == kFenceTooLowState) return Refusal::kFenceTooLow;
  if (state == kNotHeldState) return Refusal::kNotHeld;
  if (state == pg::kUniqueViolation) return Refusal::kIdTaken;
  return Refusal::kNone;
}

Task<absl::StatusOr<std::optional<Claim>>> Ledger::Find(const CallContext& call, const std::string& id) {
  CO_ASSIGN_OR_RETURN(const pg::Result rows, co_await db_.Query(call, kFindClaim, {provider_, id}));
  std::optional<Claim> claim;
  if (!rows.empty()) claim = ClaimOf(rows[0]);
  co_return claim;
}

Task<absl::StatusOr<std::vector<Claim>>> Ledger::List(const CallContext& call, Filter filter) {
  pg::Values values = {provider_, filter.id, filter.type, filter.after, filter.in_use, filter.limit};
  CO_ASSIGN_OR_RETURN(const pg::Result rows, co_await db_.Query(call, kListClaims, std::move(values)));
  std::vector<Claim> claims;
  for (int i = 0; i < rows.size(); ++i) claims.push_back(ClaimOf(rows[i]));
  co_return claims;
}

Task<absl::Status> Ledger::ForgetEnded(const CallContext& call, absl::Time time) {
  co_return (co_await db_.Write(call, {{kForgetEnded, {provider_, time}}})).status();
}

}  // namespace aima::resource
