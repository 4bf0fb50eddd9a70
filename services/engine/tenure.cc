#include "services/engine/tenure.h"

#include <absl/cleanup/cleanup.h>
#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fstream>
#include <optional>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "libs/process/identity.h"

namespace aima::engine {
namespace {

constexpr absl::Duration kLookEvery = absl::Seconds(1);
constexpr absl::Duration kLockPatience = absl::Seconds(5);
constexpr char kRefusedState[] = "EN001";

constexpr pg::Statement kRaise = {
    "engine_raise_epoch",
    "INSERT INTO tenure (node, epoch, holder, since) VALUES ($1, 1, $2, now())"
    " ON CONFLICT (node) DO UPDATE SET epoch = tenure.epoch + 1, holder = $2, since = now() RETURNING epoch"};

// The row stays locked until the write is committed: who raises the epoch after that reads what was written.
constexpr pg::Statement kCheck = {
    "engine_check_epoch",
    "WITH mine AS (SELECT FROM tenure WHERE node = $1 AND epoch = $2 FOR SHARE)"
    " SELECT require(EXISTS (SELECT FROM mine), 'EN001')"};

// What the file says. Its first word is what shims read (services/shim/tenure.h).
struct Holder {
  process::Identity process;
  int64_t epoch = 0;
};

std::optional<Holder> Read(const std::string& path) {
  std::ifstream file(path);
  Holder holder;
  file >> holder.process.pid >> holder.process.start_time >> holder.process.boot_id >> holder.epoch;
  if (!file || holder.process.pid <= 0) return std::nullopt;
  return holder;
}

absl::Status Write(const std::string& path, const Holder& holder) {
  const std::string draft = absl::StrCat(path, ".", getpid());
  std::ofstream file(draft);
  file << holder.process.pid << ' ' << holder.process.start_time << ' ' << holder.process.boot_id << ' '
       << holder.epoch << '\n';
  file.close();
  if (!file || rename(draft.c_str(), path.c_str()) != 0) {
    return absl::InternalError(absl::StrCat("cannot write ", path));
  }
  return absl::OkStatus();
}

// Alive, and able to do something.
bool IsActive(const process::Identity& process) {
  if (!process::Lives(process)) return false;
  const std::optional<process::Entry> entry = process::ReadEntry(process.pid);
  return entry && entry->state != 'T' && entry->state != 't';
}

Task<void> Pause(absl::Duration time) {
  boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor, absl::ToChronoNanoseconds(time));
  co_await timer.async_wait(boost::asio::use_awaitable);
}

}  // namespace

Task<absl::StatusOr<Tenure>> Tenure::Begin(pg::Database& db, CallContext call, std::string node,
                                           std::string data_dir) {
  const std::string path = FileIn(data_dir);
  const std::optional<process::Identity> self = process::Identify(getpid());
  if (!self) co_return absl::InternalError("/proc does not tell who this process is");
  // One begins after the other; but not after one that was stopped while it began.
  const int lock = open((path + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  const absl::Cleanup unlock = [lock] { close(lock); };
  for (const absl::Time give_up = absl::Now() + kLockPatience;
       flock(lock, LOCK_EX | LOCK_NB) != 0 && absl::Now() < give_up;) {
    co_await Pause(absl::Milliseconds(20));
  }
  const std::optional<Holder> before = Read(path);
  if (before && before->process != *self && IsActive(before->process)) {
    co_return absl::FailedPreconditionError(
        absl::StrCat("the engine service with process id ", before->process.pid, " looks after ", data_dir,
                     " already; stop it first, or use another data directory"));
  }
  absl::StatusOr<std::vector<pg::Result>> raised;
  do {
    std::vector<pg::Operation> write = {{kRaise, {node, absl::StrCat("process ", self->pid)}, {}}};
    raised = co_await db.Write(call, std::move(write));
  } while (!raised.ok() && HasReason(raised.status(), unit::v1::OUTCOME_UNKNOWN));
  CO_RETURN_IF_ERROR(raised.status());
  const Holder holder{*self, (*raised)[0][0].Get<int64_t>(0)};
  CO_RETURN_IF_ERROR(Write(path, holder));
  co_return Tenure(std::move(node), holder.epoch, path);
}

pg::Operation Tenure::Check() const { return {kCheck, {node_, epoch_}, {}}; }

bool Tenure::Refused(const absl::Status& written) { return pg::SqlState(written) == kRefusedState; }

bool Tenure::Holds() const {
  const std::optional<Holder> holder = Read(file_);
  // Without the file, which somebody has removed, the database decides alone.
  return !holder || (holder->process.pid == getpid() && holder->epoch == epoch_);
}

Task<void> Tenure::Watch(std::function<void()> superseded) const {
  while (Holds()) co_await Pause(kLookEvery);
  superseded();
}

}  // namespace aima::engine
