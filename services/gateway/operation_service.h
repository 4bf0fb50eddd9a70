// Operations of the gateway as a whole: their tables, who runs them, and where they are served.
#pragma once

#include <memory>
#include <string>

#include "aima/config/v1/config.pb.h"
#include "libs/operations/operations.h"
#include "libs/operations/owner.h"
#include "libs/pg/database.h"
#include "libs/runtime/health.h"
#include "libs/runtime/server.h"
#include "services/gateway/operation_units.h"
#include "services/gateway/unit_calls.h"

namespace aima::gateway {

// The gateway's own units are served on <data_dir>/run/gateway.sock, as those of every domain are on theirs, so that all
// faces reach them in the same way. They need PostgreSQL, and nothing else of the gateway does: without it they answer
// UNAVAILABLE. Used on the loop.
class OperationService {
 public:
  static constexpr char kDomain[] = "gateway";

  OperationService(Loop& loop, const config::v1::Config& config, std::string share_dir, const Catalogue& catalogue,
                   const UnitRunner& runner, rpc::Client& rpc, KeyRing& keys);

  OperationUnits& units() { return units_; }
  // False while the database is configured and cannot be reached.
  bool DatabaseReached() const { return !db_ || db_->Connected(); }

  // Opens the socket and goes for the database in the background.
  absl::Status Start();
  // Lets go of what runs: the next process takes it up. Ends waits and watches.
  Task<void> Stop();
  // Closes the socket, once nobody calls any more.
  Task<void> Shutdown(absl::Time deadline) { return server_.Shutdown(deadline); }

 private:
  Task<void> Work();

  Loop& loop_;
  const std::string run_dir_;
  const std::string share_dir_;
  const absl::StatusOr<operations::Owner> owner_;
  UnitCalls calls_;
  std::unique_ptr<pg::Database> db_;                    // null if none is configured
  std::unique_ptr<operations::Operations> operations_;  // null then
  OperationUnits units_;
  runtime::Health health_;
  runtime::Server server_;
  bool working_ = false;
  bool stopping_ = false;
};

}  // namespace aima::gateway
