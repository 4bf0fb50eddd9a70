#include "services/model/pulls.h"

#include <absl/strings/str_cat.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "services/model/hub_source.h"
#include "services/model/ollama_source.h"
#include "services/model/registrar.h"
#include "services/model/wish.h"

namespace aima::model {

namespace asio = boost::asio;

namespace {

constexpr int kInsertAttempts = 5;
// For an earlier process that is still ending.
constexpr absl::Duration kLockTime = absl::Seconds(30);
constexpr absl::Duration kSearchTime = absl::Seconds(6);

std::vector<std::string> Trusted(const Pulls::Settings& settings) {
  std::vector<std::string> trusted = settings.mirror_hosts;
  for (const std::string& text : {settings.ollama_url, settings.huggingface_url, settings.modelscope_url}) {
    const absl::StatusOr<http::Url> url = http::ParseUrl(text);
    if (url.ok()) trusted.push_back(absl::StrCat(url->endpoint.host, ":", url->endpoint.port));
  }
  return trusted;
}

std::string WithoutSlash(std::string url) {
  while (url.ends_with('/')) url.pop_back();
  return url;
}

}  // namespace

Pulls::Pulls(const Parts& parts, const Settings& settings)
    : parts_(parts),
      default_source_(settings.default_source),
      store_(parts.db),
      blobs_(settings.storage_dir),
      web_(parts.loop, Trusted(settings)),
      room_(parts.models, parts.outbox, blobs_, threads_, parts.users, settings.cache_bytes_max),
      downloads_({parts.loop, web_, threads_, blobs_, parts.spawn}, settings.download),
      world_{parts.loop,
             parts.db,
             parts.outbox,
             parts.models,
             blobs_,
             downloads_,
             threads_,
             room_,
             sources_,
             parts.spawn,
             parts.background,
             [this](const std::string& model_id, std::set<std::string> keys) { Keep(model_id, std::move(keys)); }} {
  sources_[v1::MODEL_SOURCE_OLLAMA] = std::make_unique<OllamaSource>(web_, WithoutSlash(settings.ollama_url));
  sources_[v1::MODEL_SOURCE_HUGGINGFACE] = std::make_unique<HuggingFaceSource>(
      web_, WithoutSlash(settings.huggingface_url), settings.huggingface_token_file);
  sources_[v1::MODEL_SOURCE_MODELSCOPE] =
      std::make_unique<ModelScopeSource>(web_, WithoutSlash(settings.modelscope_url));
}

Pulls::~Pulls() { threads_.Stop(); }

void Pulls::Stop() {
  world_.stopping = true;
  threads_.Stop();
  for (const auto& [id, run] : runs_) run->Abandon();
}

Task<void> Pulls::Drain() {
  Stop();
  asio::steady_timer timer(parts_.loop);
  for (int i = 0; world_.alive > 0 && i < 1000; ++i) {
    timer.expires_after(std::chrono::milliseconds(10));
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

void Pulls::Keep(const std::string& model_id, std::set<std::string> keys) {
  blobs_.Hold(keys);
  const auto kept = kept_.find(model_id);
  if (kept != kept_.end()) blobs_.Release(kept->second);
  if (keys.empty()) {
    kept_.erase(model_id);
  } else {
    kept_[model_id] = std::move(keys);
  }
}

std::shared_ptr<PullRun> Pulls::Running(const std::string& model_id) {
  std::erase_if(runs_, [](const auto& entry) { return entry.second->feed().finished(); });
  const auto found = runs_.find(model_id);
  return found == runs_.end() ? nullptr : found->second;
}

std::shared_ptr<PullRun> Pulls::Run(PullRow row, v1::Model model) {
  auto run = std::make_shared<PullRun>(world_, std::move(row), std::move(model));
  runs_[run->row().model_id] = run;
  run->Start();
  return run;
}

Task<absl::Status> Pulls::Lock() {
  asio::steady_timer timer(parts_.loop);
  for (const absl::Time end = absl::Now() + kLockTime;;) {
    CO_ASSIGN_OR_RETURN(const bool locked, co_await threads_.RunQuick([blobs = &blobs_] { return blobs->Lock(); }));
    if (locked) co_return absl::OkStatus();
    if (absl::Now() > end)
      co_return absl::FailedPreconditionError("another model service works in the same model.storage_dir");
    timer.expires_after(std::chrono::milliseconds(100));
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

Task<absl::Status> Pulls::Recover() {
  CO_RETURN_IF_ERROR(co_await Lock());
  const CallContext call = parts_.background();
  CO_ASSIGN_OR_RETURN(const std::vector<PullRow> rows, co_await store_.List(call, 1'000'000));
  for (const PullRow& row : rows) {
    if (row.status == v1::PULL_STATUS_READY || row.status == v1::PULL_STATUS_CANCELLED) continue;
    std::set<std::string> keys;
    for (const v1::PullPlan::File& file : row.plan.files()) keys.insert(BlobStore::KeyOf(file));
    Keep(row.model_id, std::move(keys));
  }
  CO_ASSIGN_OR_RETURN(const std::vector<v1::Model> stored, co_await parts_.models.Stored(call));
  std::vector<std::string> paths;
  for (const v1::Model& model : stored) paths.push_back(model.path());
  co_await threads_.RunQuick([blobs = &blobs_, paths] { return blobs->Collect(paths); });
  for (const PullRow& row : rows) {
    if (!IsUnfinished(row.status)) continue;
    absl::StatusOr<v1::Model> model = co_await parts_.models.Find(call, row.model_id);
    if (!model.ok()) continue;
    spdlog::info("going on with the pull of {}", row.model_id);
    Run(row, *std::move(model));
  }
  co_return absl::OkStatus();
}

Task<absl::StatusOr<std::shared_ptr<PullRun>>> Pulls::Begin(const CallContext& call, const v1::PullRequest& request) {
  CO_ASSIGN_OR_RETURN(const Wish wish, ReadWish(request, default_source_));
  for (int attempt = 1;; ++attempt) {
    CO_ASSIGN_OR_RETURN(std::optional<PullRow> same, co_await store_.FindSame(call, wish));
    if (same) {
      if (!request.name().empty() && SlugOf(request.name()) != same->model_id) {
        co_return Error(v1::MODEL_EXISTS, absl::StrCat("this is the model '", same->model_id, "' already"),
                        {{"model_id", same->model_id}});
      }
      absl::StatusOr<std::shared_ptr<PullRun>> run = co_await Again(call, *std::move(same), wish);
      // Its record went with it in between, as its source knows nothing of it.
      if (HasReason(run.status(), v1::MODEL_NOT_FOUND) && attempt < kInsertAttempts) continue;
      co_return run;
    }
    absl::StatusOr<std::shared_ptr<PullRun>> run = co_await New(call, wish, request.name());
    // Somebody else took the id, or asked for the same, in between.
    if (run.ok() || pg::SqlState(run.status()) != pg::kUniqueViolation || attempt == kInsertAttempts) co_return run;
  }
}

Task<absl::StatusOr<std::shared_ptr<PullRun>>> Pulls::Again(const CallContext& call, PullRow row, const Wish& wish) {
  if (std::shared_ptr<PullRun> run = Running(row.model_id)) co_return run;
  CO_ASSIGN_OR_RETURN(v1::Model model, co_await parts_.models.Find(call, row.model_id));
  row.wish.mirror = wish.mirror;
  row.status = v1::PULL_STATUS_QUEUED;
  row.plan.Clear();  // it may have changed meanwhile
  row.update_time = absl::Now();
  std::vector<pg::Operation> operations;
  operations.push_back(PullStore::UpdateOf(row));
  operations.push_back(ModelStore::SetStatusOf(row.model_id, v1::MODEL_STATUS_PULLING, ""));
  CO_RETURN_IF_ERROR((co_await parts_.db.Write(call, std::move(operations))).status());
  if (std::shared_ptr<PullRun> run = Running(row.model_id)) co_return run;
  co_return Run(std::move(row), std::move(model));
}

Task<absl::StatusOr<std::shared_ptr<PullRun>>> Pulls::New(const CallContext& call, const Wish& wish,
                                                          const std::string& name) {
  v1::Model model;
  PullRow row;
  row.wish = wish;
  row.status = v1::PULL_STATUS_QUEUED;
  row.own_record = true;
  row.create_time = row.update_time = absl::Now();
  model.set_name(name.empty() ? NameFor(wish) : CleanText(name, 200));
  const std::string slug = SlugOf(model.name());
  if (slug.empty())
    co_return InvalidInput(name.empty() ? "repo" : "name", "has no letters or digits of which an id could be made");
  CO_ASSIGN_OR_RETURN(const std::vector<std::string> taken, co_await parts_.models.IdsLike(call, slug));
  model.set_id(FreeId(taken, slug, wish.quantization));
  if (!name.empty() && model.id() != slug) {
    CO_ASSIGN_OR_RETURN(model, co_await parts_.models.Find(call, slug));
    if (model.status() != v1::MODEL_STATUS_PENDING) {
      co_return Error(v1::MODEL_EXISTS, absl::StrCat("there is a model '", slug, "' already"), {{"model_id", slug}});
    }
    row.own_record = false;
  }
  row.model_id = model.id();
  std::vector<pg::Operation> operations;
  if (row.own_record) {
    model.set_status(v1::MODEL_STATUS_PULLING);
    model.set_source(NameOfSource(wish.source));
    model.set_repo(wish.repo);
    *model.mutable_create_time() = *model.mutable_update_time() = TimestampOf(absl::Now());
    v1::ModelCreated created;
    *created.mutable_model() = model;
    operations.push_back(ModelStore::InsertOf(model));
    operations.push_back(parts_.outbox.Emit(call, created));
  } else {
    operations.push_back(ModelStore::SetStatusOf(model.id(), v1::MODEL_STATUS_PULLING, ""));
  }
  operations.push_back(PullStore::InsertOf(row));
  CO_RETURN_IF_ERROR((co_await parts_.db.Write(call, std::move(operations))).status());
  if (std::shared_ptr<PullRun> run = Running(row.model_id)) co_return run;
  co_return Run(std::move(row), std::move(model));
}

Task<absl::StatusOr<bool>> Pulls::Cancel(const CallContext& call, const std::string& model_id) {
  if (const std::shared_ptr<PullRun> run = Running(model_id)) {
    run->Cancel();
    const absl::Status end = co_await run->feed().Result();
    if (end.ok()) co_return false;  // it was quicker
  }
  CO_ASSIGN_OR_RETURN(const std::optional<PullRow> row, co_await store_.Find(call, model_id));
  if (!row || row->status == v1::PULL_STATUS_READY || row->status == v1::PULL_STATUS_CANCELLED) co_return false;
  if (Running(model_id)) co_return false;  // begun anew meanwhile
  CO_RETURN_IF_ERROR(co_await Erase(call, *row));
  const auto kept = kept_.find(model_id);
  const std::set<std::string> keys = kept == kept_.end() ? std::set<std::string>() : kept->second;
  Keep(model_id, {});
  for (const std::string& key : keys) co_await downloads_.AwaitEnd(key);
  co_await threads_.RunQuick([blobs = &blobs_] { return blobs->Collect(); });
  co_return true;
}

// The record and what tells of it, in one transaction.
Task<absl::Status> Pulls::Erase(const CallContext& call, const PullRow& row) {
  CO_ASSIGN_OR_RETURN(const v1::Model model, co_await parts_.models.Find(call, row.model_id));
  v1::ModelPullProgress progress;
  progress.set_model_id(row.model_id);
  progress.set_status(v1::PULL_STATUS_CANCELLED);
  ModelStore::Also also;
  also.push_back(parts_.outbox.Emit(call, progress));
  if (row.own_record && model.path().empty()) {
    v1::ModelDeleted deleted;
    deleted.set_model_id(row.model_id);
    also.push_back(parts_.outbox.Emit(call, deleted));
    const absl::Status status = co_await parts_.models.Delete(call, row.model_id, std::move(also));
    co_return HasReason(status, v1::MODEL_NOT_FOUND) ? absl::OkStatus() : status;
  }
  PullRow cancelled = row;
  cancelled.status = v1::PULL_STATUS_CANCELLED;
  cancelled.plan.Clear();
  cancelled.update_time = absl::Now();
  also.push_back(PullStore::UpdateOf(cancelled));
  also.push_back(ModelStore::SetStatusOf(row.model_id, v1::MODEL_STATUS_PENDING, ""));
  co_return (co_await parts_.db.Write(call, std::move(also))).status();
}

Task<absl::StatusOr<v1::PullsResponse>> Pulls::List(const CallContext& call, int limit) {
  CO_ASSIGN_OR_RETURN(const std::vector<PullRow> rows, co_await store_.List(call, limit));
  v1::PullsResponse response;
  for (const PullRow& row : rows) {
    v1::Pull& pull = *response.add_items();
    pull.set_model_id(row.model_id);
    pull.set_source(row.wish.source);
    pull.set_repo(row.wish.repo);
    pull.set_tag(row.wish.tag);
    pull.set_mirror(row.wish.mirror);
    pull.set_quantization(row.wish.quantization);
    pull.set_status(row.status);
    pull.set_error(row.error);
    pull.set_revision(row.plan.revision());
    *pull.mutable_create_time() = TimestampOf(row.create_time);
    *pull.mutable_update_time() = TimestampOf(row.update_time);
    if (const std::shared_ptr<PullRun> run = Running(row.model_id)) *pull.mutable_progress() = run->progress();
  }
  co_return response;
}

Task<int64_t> Pulls::Forget(std::string model_id, std::string path) {
  Keep(model_id, {});
  co_return co_await threads_.RunQuick([blobs = &blobs_, path] {
    blobs->Remove(path);
    return blobs->Collect();
  });
}

struct Pulls::Survey {
  explicit Survey(Loop& loop) : done(loop) {}
  std::map<v1::ModelSource, absl::StatusOr<std::vector<v1::Offer>>> answers;
  size_t asked = 0;
  asio::steady_timer done;
};

Task<void> Pulls::Ask(std::shared_ptr<Survey> survey, v1::ModelSource name, Source& source, std::string words,
                      int limit) {
  absl::StatusOr<std::vector<v1::Offer>> offers = co_await source.Search(words, limit);
  survey->answers.insert_or_assign(name, std::move(offers));
  if (survey->answers.size() == survey->asked) survey->done.cancel();
}

Task<Pulls::Offers> Pulls::Search(const CallContext& call, v1::ModelSource source, std::string words, int limit) {
  auto survey = std::make_shared<Survey>(parts_.loop);
  for (const auto& [name, one] : sources_) {
    if (source != v1::MODEL_SOURCE_UNSPECIFIED && source != name) continue;
    ++survey->asked;
    parts_.spawn(Ask(survey, name, *one, words, limit));
  }
  survey->done.expires_after(absl::ToChronoMilliseconds(std::min(kSearchTime, call.TimeLeft() / 2)));
  if (survey->asked > 0) co_await survey->done.async_wait(asio::as_tuple(asio::use_awaitable));
  Offers found;
  for (const auto& [name, one] : sources_) {
    if (source != v1::MODEL_SOURCE_UNSPECIFIED && source != name) continue;
    const auto answer = survey->answers.find(name);
    if (answer != survey->answers.end() && answer->second.ok()) {
      found.offers.insert(found.offers.end(), answer->second->begin(), answer->second->end());
      continue;
    }
    v1::SourceProblem& problem = found.problems.emplace_back();
    problem.set_source(name);
    problem.set_error(answer == survey->answers.end() ? "did not answer in time"
                                                      : std::string(answer->second.status().message()));
  }
  co_return found;
}

}  // namespace aima::model
