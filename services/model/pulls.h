// All pulls: those that go on, and those that are only recorded.
#pragma once

#include <absl/status/statusor.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "libs/http/outbound.h"
#include "services/model/pull_run.h"

namespace aima::model {

// Begins pulls, or attaches to those that there are, and ends them. Lives on the loop.
class Pulls {
 public:
  struct Parts {
    Loop& loop;
    pg::Database& db;
    events::Outbox& outbox;
    ModelStore& models;
    ModelUsers& users;
    std::function<void(Task<void>)> spawn;
    std::function<CallContext()> background;
  };
  struct Settings {
    std::string storage_dir;
    v1::ModelSource default_source = v1::MODEL_SOURCE_OLLAMA;
    std::string ollama_url = "https://registry.ollama.ai";
    std::string huggingface_url = "https://huggingface.co";
    std::string modelscope_url = "https://modelscope.cn";
    std::string huggingface_token_file;
    std::vector<std::string> mirror_hosts;  // besides those of the three addresses
    int64_t cache_bytes_max = int64_t{50} * 1'000'000'000;
    Download::Settings download;
  };

  Pulls(const Parts& parts, const Settings& settings);
  ~Pulls();

  // Once, before anything else: removes what earlier processes left behind, and goes on with their pulls.
  Task<absl::Status> Recover();

  // The pull of this thing, begun if it is not going on.
  Task<absl::StatusOr<std::shared_ptr<PullRun>>> Begin(const CallContext& call, const v1::PullRequest& request);

  // Ends the pull of a model, if there is one that is not ready, with all that it has fetched; a record that was made for
  // it goes too. False if there is none.
  Task<absl::StatusOr<bool>> Cancel(const CallContext& call, const std::string& model_id);

  Task<absl::StatusOr<v1::PullsResponse>> List(const CallContext& call, int limit);

  // After a model's record has gone: removes its files if they are pulled ones. Returns the bytes that were freed.
  Task<int64_t> Forget(std::string model_id, std::string path);
  bool IsPulled(const std::string& path) const { return blobs_.IsPlaced(path); }

  // What the sources offer, and which could not be asked. `source` unspecified asks all.
  struct Offers {
    std::vector<v1::Offer> offers;
    std::vector<v1::SourceProblem> problems;
  };
  Task<Offers> Search(const CallContext& call, v1::ModelSource source, std::string words, int limit);

  // Ends all work soon; pulls go on in the next process.
  void Stop();
  // Stop, and returns when no pull works any more.
  Task<void> Drain();

 private:
  // Each source is asked by its own work, which may outlast the question.
  struct Survey;
  static Task<void> Ask(std::shared_ptr<Survey> survey, v1::ModelSource name, Source& source, std::string words, int limit);

  Task<absl::Status> Lock();
  std::shared_ptr<PullRun> Running(const std::string& model_id);
  std::shared_ptr<PullRun> Run(PullRow row, v1::Model model);
  Task<absl::StatusOr<std::shared_ptr<PullRun>>> Again(const CallContext& call, PullRow row, const Wish& wish);
  Task<absl::StatusOr<std::shared_ptr<PullRun>>> New(const CallContext& call, const Wish& wish, const std::string& name);
  void Keep(const std::string& model_id, std::set<std::string> keys);
  Task<absl::Status> Erase(const CallContext& call, const PullRow& row);

  const Parts parts_;
  const v1::ModelSource default_source_;
  PullStore store_;
  BlobStore blobs_;
  FileThreads threads_;
  http::Outbound web_;
  std::map<v1::ModelSource, std::unique_ptr<Source>> sources_;
  CacheRoom room_;
  Downloads downloads_;
  std::map<std::string, std::set<std::string>> kept_;
  PullWorld world_;
  std::map<std::string, std::shared_ptr<PullRun>> runs_;
};

}  // namespace aima::model
