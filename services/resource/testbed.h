// A whole resource service without its process, on a machine that is made of files, for tests.
#pragma once

#include <absl/strings/str_cat.h>
#include <gmock/gmock.h>

#include <boost/asio/co_spawn.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "libs/base/ids.h"
#include "libs/events/events.h"
#include "libs/testing/postgres.h"
#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"
#include "libs/unit/rules.h"
#include "services/resource/resource_units.h"

namespace aima::resource {

using testing::FailsWith;
using testing::IsOk;

inline constexpr int64_t kMiB = 1 << 20;

// Files such as those in /proc and /dev, in a temporary directory.
class MachineFiles {
 public:
  MachineFiles() : root_(std::filesystem::temp_directory_path() / NewId("aima_machine_")) {
    SetMemory(1000, 1000);
  }
  ~MachineFiles() { std::filesystem::remove_all(root_); }

  std::string path() const { return root_; }
  void SetMemory(int64_t total_mib, int64_t available_mib) {
    Write("meminfo", absl::StrCat("MemTotal: ", total_mib * 1024,
                                  " kB\nMemFree: 1 kB\nMemAvailable: ", available_mib * 1024, " kB\n"));
  }
  void SetProcess(int64_t pid, int64_t anonymous_mib, const std::string& children = "") {
    Write(absl::StrCat(pid, "/status"),
          absl::StrCat("Name: engine\nVmRSS: 999999 kB\nRssAnon: ", anonymous_mib * 1024,
                       " kB\nRssFile: 999999 kB\nRssShmem: 0 kB\n"));
    Write(absl::StrCat(pid, "/task/", pid, "/children"), children);
  }
  void AddGpu(int number) { Write(absl::StrCat("nvidia", number), ""); }
  void Write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << text;
  }

 private:
  const std::filesystem::path root_;
};

// What one process holds. Several on one database are replicas.
struct Replica {
  // Nobody listens to events here.
  struct NoRpc : rpc::Client {
    Task<absl::Status> CallUntyped(const CallContext&, const google::protobuf::Message&,
                                   google::protobuf::Message&) override {
      co_return absl::UnavailableError("no service");
    }
    Task<absl::Status> CallDomain(const std::string&, const CallContext&, const google::protobuf::Message&,
                                  google::protobuf::Message&) override {
      co_return absl::UnavailableError("no service");
    }
    std::unique_ptr<RawReader> StreamUntyped(const CallContext&, const google::protobuf::Message&) override {
      return nullptr;
    }
  };

  Replica(Loop& loop, std::unique_ptr<pg::Database> database, const Machine& machine,
          const config::v1::Resource& config)
      : db(std::move(database)),
        outbox(loop, *db, rpc),
        ledger(*db, "local"),
        survey(machine, ledger, config),
        units({*db, outbox, ledger, machine, survey}, {"/", 0.9}) {}

  NoRpc rpc;
  std::unique_ptr<pg::Database> db;
  events::EventOutbox outbox;
  Ledger ledger;
  Survey survey;
  ResourceUnits units;
};

// A machine with 1000 MiB, of which 200 are the system's, 400 inference's, 160 containers' and 240 anybody's.
class ResourceTest : public ::testing::Test {
 protected:
  explicit ResourceTest(testing::Postgres& postgres = testing::Postgres::Shared()) : postgres_(postgres) {
    config_.set_system_reserved_mb(200);
    config_.set_inference_pool_pct(0.5);
    config_.set_container_pool_pct(0.2);
    options_ = postgres.FreshOptions("resource");
    Migrate();
    replica_ = NewReplica();
    Look();
  }

  std::unique_ptr<Replica> NewReplica() {
    return std::make_unique<Replica>(loop_, pg::Open(loop_, options_), machine_, config_);
  }
  void Look() { ASSERT_THAT(Run(replica_->survey.Look(call_)), IsOk()); }

  template <class T>
  T Run(Task<T> task) {
    return testing::Run(loop_, std::move(task));
  }

  absl::StatusOr<v1::AllocateResponse> Allocate(int64_t mib, v1::SlotType type = v1::SLOT_TYPE_INFERENCE_NATIVE) {
    return Run(replica_->units.Allocate(call_, Wanted(mib, type)));
  }
  absl::Status Release(const std::string& slot_id, int64_t fence = 0) {
    v1::ReleaseRequest request;
    request.set_slot_id(slot_id);
    request.set_fence(fence);
    return Run(replica_->units.Release(call_, request)).status();
  }
  absl::Status Resize(const std::string& slot_id, int64_t mib) {
    v1::UpdateSlotRequest request;
    request.set_slot_id(slot_id);
    request.set_memory_limit(mib * kMiB);
    return Run(replica_->units.UpdateSlot(call_, request)).status();
  }
  v1::BudgetResponse Budget() { return Run(replica_->units.Budget(call_, {})).value(); }

  static v1::AllocateRequest Wanted(int64_t mib, v1::SlotType type = v1::SLOT_TYPE_INFERENCE_NATIVE) {
    v1::AllocateRequest request;
    request.set_name("test");
    request.set_type(type);
    request.set_memory_bytes(mib * kMiB);
    ApplyDefaults(request);
    return request;
  }

  std::string Sql(const std::string& sql) {
    return postgres_.Execute(options_.url, "SET search_path = resource; " + sql);
  }

  // The one rule of the ledger. Holds at every moment; "t" if it does.
  std::string LedgerAddsUp() {
    return Sql(
        "SELECT bool_and(used <= total - reserved"
        "  AND used = (SELECT sum(p.used) FROM pool p WHERE p.class = i.class)"
        "  AND used = (SELECT coalesce(sum(amount), 0) FROM claim JOIN claim_item ON claim_id = id"
        "              WHERE claim_item.class = i.class AND ended_at IS NULL)) FROM inventory i");
  }

  Loop loop_;
  testing::Postgres& postgres_;
  MachineFiles files_;
  Machine machine_{files_.path(), files_.path()};
  config::v1::Resource config_;
  pg::Options options_;
  CallContext call_;
  std::unique_ptr<Replica> replica_;

 private:
  void Migrate() {
    auto db = pg::Open(loop_, options_);
    for (const char* directory : {"/libs/events/migrations", "/services/resource/migrations"}) {
      ASSERT_THAT(Run(db->Migrate(std::string(AIMA_SOURCE_DIR) + directory)), IsOk());
    }
  }
};

}  // namespace aima::resource
