// One pull while it goes on.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "aima/model/v1/model.pb.h"
#include "libs/base/call_context.h"
#include "libs/base/feed.h"
#include "libs/events/outbox.h"
#include "libs/pg/database.h"
#include "services/model/blob_store.h"
#include "services/model/cache_room.h"
#include "services/model/downloads.h"
#include "services/model/model_store.h"
#include "services/model/pull_store.h"
#include "services/model/source.h"

namespace aima::model {

// What all pulls share.
struct PullWorld {
  Loop& loop;
  pg::Database& db;
  events::Outbox& outbox;
  ModelStore& models;
  BlobStore& blobs;
  Downloads& downloads;
  FileThreads& threads;
  CacheRoom& room;
  const std::map<v1::ModelSource, std::unique_ptr<Source>>& sources;
  std::function<void(Task<void>)> spawn;
  std::function<CallContext()> background;
  // Keeps blobs and parts of a model from being removed; those that it kept before are let go.
  std::function<void(const std::string& model_id, std::set<std::string> keys)> keep;
  absl::Duration tick = absl::Milliseconds(500);
  int running_max = 3;
  int running = 0;  // those whose turn it is
  int alive = 0;
  bool stopping = false;
};

// Takes a pull from where its row says it is to its end, and records each step before it is taken. Goes on whether
// anybody listens or not. Lives on the loop, kept by its own work.
class PullRun : public std::enable_shared_from_this<PullRun> {
 public:
  // `model` as it is recorded.
  PullRun(PullWorld& world, PullRow row, v1::Model model);

  void Start();
  // Ends soon, with MODEL_PULL_CANCELLED; its row and files are for the caller to remove.
  void Cancel();
  // Ends soon; the row stays as it is, for the next process.
  void Abandon();

  Feed<v1::PullProgress>& feed() { return feed_; }
  const PullRow& row() const { return row_; }
  const v1::PullProgress& progress() const { return progress_; }
  v1::PullResponse Response() const;

 private:
  Task<void> Run();
  Task<void> Tick();
  Task<absl::StatusOr<v1::Model>> Pull();
  Task<absl::Status> Resolve();
  Task<absl::StatusOr<std::vector<BlobStore::Placed>>> Fetch();
  Task<absl::StatusOr<std::string>> FetchFile(const v1::PullPlan::File& file, const http::Headers& headers);
  Task<absl::StatusOr<v1::Model>> Place(std::vector<BlobStore::Placed> files);
  Task<absl::Status> SetStatus(v1::PullStatus status);
  Task<void> Fail(const absl::Status& status);
  bool WasNothing() const;
  void Hold(const std::string& key);
  void Update();
  v1::ModelPullProgress Event() const;
  absl::Status StoppedStatus() const;
  bool stopped() const { return cancelled_ || world_.stopping; }

  PullWorld& world_;
  PullRow row_;
  v1::Model model_;
  CallContext call_;
  Feed<v1::PullProgress> feed_;
  v1::PullProgress progress_;
  bool cancelled_ = false;
  std::shared_ptr<Downloads::Share> current_;
  std::set<std::string> held_;           // besides what the world keeps for the model
  std::map<std::string, int64_t> done_;  // of files that are there, by key
  int64_t received_ = 0;                 // by downloads that have ended
  int64_t received_before_ = 0;          // at the last tick
};

}  // namespace aima::model
