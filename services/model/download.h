// One file on its way from a source to the store of blobs.
#pragma once

#include <absl/status/statusor.h>

#include <atomic>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "aima/model/v1/pull.pb.h"
#include "libs/base/task.h"
#include "libs/http/outbound.h"
#include "services/model/blob_store.h"
#include "services/model/file_threads.h"

namespace aima::model {

// Fetches a file over several connections, each of which asks for a run of pieces. A piece that is whole is written and
// vouched for in the part's journal; a connection that breaks, stalls or is answered with an error is replaced after a
// pause, and what it had whole stays. When all pieces are there the file is read back, and becomes a blob only if it is
// what the source announced; if it is not, it is fetched anew once.
//
// Lives on the loop, kept by whoever waits for it and by its own work.
class Download : public std::enable_shared_from_this<Download> {
 public:
  struct Parts {
    Loop& loop;
    http::Outbound& web;
    FileThreads& threads;
    BlobStore& blobs;
    std::function<void(Task<void>)> spawn;
  };
  struct Settings {
    int connections = 4;
    int64_t piece_size = 4 << 20;  // at least
    absl::Duration stall = absl::Seconds(30);
    absl::Duration pause = absl::Milliseconds(500);  // before the second try; doubled for each further one
    int tries = 6;                                   // in a row without a whole piece
  };

  Download(Parts parts, const Settings& settings, v1::PullPlan::File file, http::Headers headers);

  // Begins; once.
  void Start();
  // Ends it soon with MODEL_PULL_CANCELLED. What has arrived stays in the part.
  void Cancel();

  // Returns when it has ended, or at the next Ring.
  Task<void> Wait();
  // Wakes those who wait, so that they look whether they still want to.
  void Ring() { bell_.cancel(); }

  bool cancelled() const { return *cancelled_; }
  bool finished() const { return result_.has_value(); }
  // SHA-256 of the blob, once finished.
  const absl::StatusOr<std::string>& result() const { return *result_; }
  const v1::PullPlan::File& file() const { return file_; }
  // Bytes that are there, whole pieces and what follows; never goes back.
  int64_t done();
  // Bytes that came over the network so far.
  int64_t received() const { return received_; }
  // All bytes are there and are being checked.
  bool verifying() const { return verifying_; }

 private:
  // Pieces [first, last) of one request.
  struct Run {
    size_t first = 0;
    size_t last = 0;
  };
  struct Worker;

  Task<void> Work();
  Task<absl::StatusOr<std::string>> Fetch();
  Task<absl::Status> Fill();
  Task<absl::StatusOr<FileDigests>> Digest();
  Task<void> RunWorker(std::shared_ptr<Worker> worker);
  std::optional<Run> NextRun(const Worker& worker);
  Task<absl::Status> FetchRun(Worker& worker, Run run);
  absl::Status CheckHead(const http::ResponseStream& answer, Worker& worker, Run& run);
  Task<absl::Status> Receive(http::ResponseStream& answer, Worker& worker, Run run, size_t at);
  Task<void> Pause(absl::Duration time);
  void Stop(absl::Status why);
  bool AnyoneWorks() const;
  std::function<absl::Status()> GoOn() const;

  const Parts parts_;
  const Settings settings_;
  const v1::PullPlan::File file_;
  const http::Headers headers_;
  const std::string key_;
  boost::asio::steady_timer bell_;

  std::shared_ptr<PartFile> part_;
  std::shared_ptr<void> held_;  // keeps the blob until those who waited for it hold it themselves
  enum class Piece : char { kMissing, kAsked, kThere };
  std::vector<Piece> pieces_;
  size_t there_ = 0;
  int64_t bytes_there_ = 0;
  int64_t shown_ = 0;
  int64_t received_ = 0;
  std::set<Worker*> workers_;
  Worker* sole_ = nullptr;  // the server knows no ranges: this one reads everything
  absl::Status stopped_;    // why no more is to be fetched
  const std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
  bool verifying_ = false;
  std::optional<absl::StatusOr<std::string>> result_;
};

// Whether trying again may help: the source could not be reached, or broke off.
bool IsPassing(const absl::Status& status);

}  // namespace aima::model
