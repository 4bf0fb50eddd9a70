#include "services/event/event_log.h"

#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "libs/base/ids.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"

namespace aima::event {
namespace {

constexpr size_t kBatch = 2000;
constexpr size_t kBatchBytes = 4 << 20;
constexpr int kAttempts = 50;  // to be the one that appends next, where another process does too
constexpr int kPage = 1000;
constexpr int64_t kDeleteSlice = 5000;  // appending waits for the deletion of a slice
constexpr auto kRetentionInterval = std::chrono::seconds(60);
constexpr auto kCatchUpInterval = std::chrono::seconds(15);

CallContext LogCall() {
  CallContext call;
  call.unit = "event.log";
  call.request_id = NewId("bg_");
  call.trace_id = call.request_id;
  call.deadline = absl::Now() + absl::Seconds(20);
  return call;
}

}  // namespace

Task<absl::Status> EventLog::Open() {
  const CallContext call = LogCall();
  CO_RETURN_IF_ERROR(co_await table_.LoadTypes(call));
  CO_ASSIGN_OR_RETURN(head_, co_await table_.Head(call));
  CO_ASSIGN_OR_RETURN(const int64_t earliest, co_await table_.Earliest(call));
  floor_ = earliest - 1;
  co_return absl::OkStatus();
}

Task<void> EventLog::Run() {
  while (true) {
    // With nothing to append, another process may have appended; only here, where no append of ours is under way.
    if (!co_await work_.Wait(kCatchUpInterval)) (void)co_await CatchUp();
    while (!waiting_.empty()) {
      const Batch batch = TakeBatch();
      const absl::Status status = co_await AppendBatch(batch);
      for (auto& publish : batch) {
        publish->status = status;
        publish->done.Set();
      }
    }
  }
}

EventLog::Batch EventLog::TakeBatch() {
  Batch batch;
  size_t events = 0, bytes = 0;
  while (!waiting_.empty() && events < kBatch && bytes < kBatchBytes) {
    std::shared_ptr<Publish> publish = std::move(waiting_.front());
    waiting_.pop_front();
    publish->taken = true;
    events += publish->events.size();
    for (const v1::Event& event : publish->events) bytes += event.payload().value().size();
    batch.push_back(std::move(publish));
  }
  return batch;
}

Task<absl::StatusOr<std::vector<int64_t>>> EventLog::Append(const CallContext& call, std::vector<v1::Event> events) {
  auto publish = std::make_shared<Publish>(loop_);
  publish->events = std::move(events);
  waiting_.push_back(publish);
  work_.Set();
  const absl::Duration left = std::clamp(call.TimeLeft(), absl::ZeroDuration(), absl::Hours(1));
  if (!co_await publish->done.Wait(absl::ToChronoNanoseconds(left))) {
    if (publish->taken) co_return Error(unit::v1::OUTCOME_UNKNOWN, "the deadline passed while events were appended");
    waiting_.erase(std::find(waiting_.begin(), waiting_.end(), publish));
    co_return Error(unit::v1::DEADLINE_EXCEEDED, "the deadline passed before the events' turn came");
  }
  if (!publish->status.ok()) co_return publish->status;
  co_return std::move(publish->sequences);
}

Task<absl::Status> EventLog::AppendBatch(const Batch& batch) {
  if (unsure_) CO_RETURN_IF_ERROR(co_await CatchUp());
  // Ids are looked up only after the log has refused one: nearly all are new.
  absl::flat_hash_map<std::string, int64_t> known;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const absl::Status status = co_await AppendNew(batch, known);
    if (status.ok()) co_return status;
    if (absl::IsAborted(status)) {
      CO_RETURN_IF_ERROR(co_await CatchUp());
    } else if (pg::SqlState(status) == pg::kUniqueViolation) {
      std::vector<std::string> ids;
      for (auto& publish : batch) {
        for (const v1::Event& event : publish->events) ids.push_back(event.id());
      }
      CO_ASSIGN_OR_RETURN(known, co_await table_.Find(LogCall(), ids));
    } else {
      // Also where nothing was applied: looking costs little.
      unsure_ = true;
      co_return status;
    }
  }
  co_return Error(unit::v1::UNAVAILABLE, "other processes keep appending to this log");
}

// ABORTED if the head was not where it was thought to be.
Task<absl::Status> EventLog::AppendNew(const Batch& batch, absl::flat_hash_map<std::string, int64_t>& known) {
  const int64_t head = head_;
  int64_t next = head;
  absl::flat_hash_map<std::string_view, int64_t> given;
  std::vector<v1::Event*> fresh;
  for (auto& publish : batch) {
    publish->sequences.clear();
    for (v1::Event& event : publish->events) {
      auto old = known.find(event.id());
      if (old != known.end()) {
        publish->sequences.push_back(old->second);
        continue;
      }
      auto [mine, is_new] = given.try_emplace(event.id(), next + 1);
      publish->sequences.push_back(mine->second);
      if (!is_new) continue;
      event.set_sequence(++next);
      fresh.push_back(&event);
    }
  }
  if (fresh.empty()) co_return absl::OkStatus();
  CO_ASSIGN_OR_RETURN(const bool was_head, co_await table_.Append(LogCall(), head, fresh));
  if (!was_head) co_return absl::AbortedError("");
  head_ = next;
  if (listener_) {
    std::vector<EventPtr> appended;
    appended.reserve(fresh.size());
    for (v1::Event* event : fresh) appended.push_back(std::make_shared<v1::Event>(std::move(*event)));
    listener_(appended);
  }
  co_return absl::OkStatus();
}

Task<absl::Status> EventLog::CatchUp() {
  const CallContext call = LogCall();
  CO_ASSIGN_OR_RETURN(const int64_t head, co_await table_.Head(call));
  if (head < head_) {
    spdlog::critical("the log ends at {}, but {} was reached before: was the database put back?", head, head_);
    head_ = head;
  }
  if (head > head_) CO_RETURN_IF_ERROR(co_await table_.LoadTypes(call));
  while (head_ < head) {
    Range range;
    range.after = head_;
    range.until = head;
    range.limit = kPage;
    CO_ASSIGN_OR_RETURN(std::vector<v1::Event> events, co_await table_.Read(call, range));
    if (events.empty()) break;
    std::vector<EventPtr> told;
    for (v1::Event& event : events) told.push_back(std::make_shared<v1::Event>(std::move(event)));
    head_ = told.back()->sequence();
    if (listener_) listener_(told);
  }
  head_ = std::max(head_, head);
  unsure_ = false;
  co_return absl::OkStatus();
}

absl::Status EventLog::CheckCursor(int64_t after) const {
  if (after >= floor_ && after <= head_) return absl::OkStatus();
  return Error(v1::CURSOR_OUT_OF_RANGE,
               absl::StrCat("cursor ", after, " is outside of the log, which holds ", floor_ + 1, " to ", head_),
               {{"earliest", absl::StrCat(floor_ + 1)}, {"latest", absl::StrCat(head_)}});
}

Task<absl::StatusOr<std::vector<v1::Event>>> EventLog::Read(const CallContext& call, Range range) {
  range.until = std::min(range.until, head_);
  CO_RETURN_IF_ERROR(CheckCursor(range.after));
  CO_ASSIGN_OR_RETURN(std::vector<v1::Event> events, co_await table_.Read(call, range));
  // Old events may have gone while they were read.
  CO_RETURN_IF_ERROR(CheckCursor(range.after));
  co_return events;
}

Task<void> EventLog::RunRetention() {
  Signal never(loop_);
  while (true) {
    absl::Status status = co_await Retain();
    if (!status.ok()) spdlog::warn("old events not removed: {}", DetailsOf(status).message);
    co_await never.Wait(kRetentionInterval);
  }
}

Task<absl::Status> EventLog::Retain() {
  CO_ASSIGN_OR_RETURN(int64_t first,
                      co_await table_.FirstSince(LogCall(), absl::Now() - retention_.age, head_));
  first = std::max(first, head_ - retention_.events + 1);
  while (floor_ + 1 < first) {
    // Readers must know before the events are gone.
    const int64_t next = std::min(first, floor_ + 1 + kDeleteSlice);
    floor_ = next - 1;
    CO_RETURN_IF_ERROR(co_await table_.DeleteBefore(LogCall(), next));
  }
  co_return absl::OkStatus();
}

}  // namespace aima::event
