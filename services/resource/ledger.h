// The ledger of claims: who holds how much of what.
#pragma once

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "libs/base/call_context.h"
#include "libs/base/task.h"
#include "libs/pg/database.h"

namespace aima::resource {

// Classes of capacity.
inline constexpr char kMemory[] = "memory_bytes";
inline constexpr char kGpu[] = "gpu_milli";
inline constexpr char kCpu[] = "cpu_milli";

// Pools. Only the first two have shares; what these leave is for everybody.
inline constexpr char kInferencePool[] = "inference";
inline constexpr char kContainerPool[] = "container";
inline constexpr char kFlexiblePool[] = "flexible";

// Amounts by class.
using Amounts = std::map<std::string, int64_t>;

// What there is of one class.
struct Stock {
  struct Pool {
    int64_t share = 0;  // kept for claims of this pool
    int64_t used = 0;
    bool operator==(const Pool&) const = default;
  };
  int64_t total = 0;
  int64_t reserved = 0;
  int64_t used = 0;
  std::map<std::string, Pool> pools;
  // Used by programs that hold no claim. Seen on the machine, not kept in the ledger.
  int64_t external = 0;

  // What a claim of `pool` can still be granted. Each pool counts with the greater of its share and its use.
  int64_t AvailableTo(const std::string& pool) const;
};
using Stocks = std::map<std::string, Stock>;

// One claim. A slot is a claim.
struct Claim {
  std::string id;
  std::string pool;
  int64_t fence = 0;
  std::string name;
  std::string type;
  int priority = 0;
  std::string status;
  std::string current_model;
  int64_t process_pid = 0;
  int64_t actual_memory = 0;
  absl::Time created_at;
  Amounts items;
};

// What to change of a claim, besides its amounts.
struct ClaimChange {
  std::optional<std::string> status;
  std::optional<int64_t> actual_memory;
  std::optional<int64_t> process_pid;
  std::optional<std::string> current_model;
  std::optional<int> priority;
};

// The part of the ledger that belongs to one provider. Changes are operations, to be written together with the
// event that tells of them; when one of them is refused, the whole write fails and Refused() tells why. Each
// begins by locking the provider, so that what follows sees everything committed before: processes that share a
// database never oversell.
class Ledger {
 public:
  Ledger(pg::Database& db, std::string provider) : db_(db), provider_(std::move(provider)) {}

  // Makes the ledger what the machine has, as far as claims allow: it never falls below what is granted.
  Task<absl::Status> SetStocks(const CallContext& call, Stocks stocks);
  Task<absl::StatusOr<Stocks>> GetStocks(const CallContext& call);

  // A fence for the next grant. Known before the grant, so that the reply can be stored with it; the ledger
  // accepts fences in ascending order only.
  int64_t NextFence() { return ++last_fence_; }

  // Operations. `external` is what other programs use, by class.
  std::vector<pg::Operation> Grant(const Claim& claim, const Amounts& external) const;
  std::vector<pg::Operation> Change(const std::string& id, const ClaimChange& change, const Amounts& amounts,
                                    const Amounts& external) const;
  // With a fence other than 0, only the claim that has it.
  std::vector<pg::Operation> End(const std::string& id, int64_t fence) const;
  // An id that no claim has had will never be one's: whoever is about to be granted it comes too late.
  std::vector<pg::Operation> Bar(const std::string& id) const;

  enum class Refusal { kNone, kDoesNotFit, kFenceTooLow, kNotHeld, kIdTaken };
  static Refusal Refused(const absl::Status& written);

  // The claim, ended or not, unless it ended long ago. None for a barred id.
  Task<absl::StatusOr<std::optional<Claim>>> Find(const CallContext& call, const std::string& id);

  // Claims that have not ended, in the order of their ids. Empty strings do not restrict.
  struct Filter {
    std::string id;
    std::string type;
    std::string after;
    bool in_use = false;  // only those that told of a process or of memory in use
    int limit = 100;
  };
  Task<absl::StatusOr<std::vector<Claim>>> List(const CallContext& call, Filter filter);

  // Forgets claims that ended before `time`.
  Task<absl::Status> ForgetEnded(const CallContext& call, absl::Time time);

 private:
  pg::Database& db_;
  const std::string provider_;
  int64_t last_fence_ = 0;
};

}  // namespace aima::resource
