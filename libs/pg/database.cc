#include "libs/pg/database.h"

#include <absl/time/clock.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <random>
#include <utility>

#include "libs/base/status_macros.h"
#include "libs/pg/lane.h"
#include "libs/pg/migrate.h"
#include "libs/pg/pool.h"
#include "libs/pg/probe.h"
#include "libs/pg/sql_status.h"
#include "libs/pg/transaction.h"

namespace aima::pg {
namespace {

namespace asio = boost::asio;
constexpr int kMostRuns = 8;  // of a transaction that meets conflicts

class LaneDatabase : public Database {
 public:
  LaneDatabase(Loop& loop, const Options& options)
      : loop_(loop),
        options_(options),
        reads_(Lane::Open(loop, options, Traffic::kReads)),
        writes_(Lane::Open(loop, options, Traffic::kWrites)),
        pool_(std::make_shared<Pool>(loop, options)),
        probe_(std::make_shared<Probe>(loop, options, reads_, [this] { GiveUp(); })) {
    probe_->Start();
  }

  ~LaneDatabase() override {
    probe_->Close();
    reads_->Close();
    writes_->Close();
    pool_->Close();
  }

  Task<absl::StatusOr<Result>> Query(const CallContext& call, const Statement& statement, Values values) override {
    std::vector<Operation> operations;
    operations.push_back(Operation{statement, std::move(values), nullptr});
    CO_ASSIGN_OR_RETURN(std::vector<Result> results, co_await reads_->Run(call, std::move(operations)));
    co_return std::move(results.front());
  }

  Task<absl::StatusOr<std::vector<Result>>> Write(const CallContext& call,
                                                  std::vector<Operation> operations) override {
    return writes_->Run(call, std::move(operations));
  }

  Task<absl::Status> Transact(const CallContext& call, Body body) override {
    for (int run = 1;; ++run) {
      const absl::Status status = co_await RunOnce(call, body);
      if (!IsConflict(status) || run == kMostRuns || call.deadline <= absl::Now()) co_return status;
      asio::steady_timer pause(loop_);
      pause.expires_after(std::chrono::milliseconds(1 + random_() % (4 << run)));
      co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
    }
  }

  Task<absl::Status> Migrate(const std::string& directory) override {
    return pg::Migrate(loop_, options_, directory);
  }

  bool Connected() const override { return reads_->connected() && writes_->connected(); }

 private:
  // Those who wait for a server that says nothing are told so; while it stays silent, calls fail at once.
  void GiveUp() {
    const auto pool = pool_;  // whoever hears of it may end this database
    for (const auto& lane : {reads_, writes_}) lane->Abandon("it does not answer");
    pool->Abandon("it does not answer");
  }

  Task<absl::Status> RunOnce(const CallContext& call, const Body& body) {
    CO_ASSIGN_OR_RETURN(Pool::Lease lease, co_await pool_->Take(call));
    LaneTransaction transaction(lease.lane(), call);
    const absl::Status status = co_await body(transaction);
    // A conflict shows as the first failure, whatever the body made of it.
    if (IsConflict(transaction.failure())) co_return transaction.failure();
    if (!status.ok()) co_return status;
    co_return co_await transaction.Commit();
  }

  Loop& loop_;
  const Options options_;
  std::shared_ptr<Lane> reads_;
  std::shared_ptr<Lane> writes_;
  std::shared_ptr<Pool> pool_;
  std::shared_ptr<Probe> probe_;
  std::minstd_rand random_{std::random_device{}()};
};

}  // namespace

std::unique_ptr<Database> Open(Loop& loop, Options options) {
  return std::make_unique<LaneDatabase>(loop, std::move(options));
}

}  // namespace aima::pg
