#include "services/model/pull_run.h"

#include <absl/cleanup/cleanup.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <cmath>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "services/model/examination.h"
#include "services/model/inspect.h"
#include "services/model/wish.h"

namespace aima::model {

namespace asio = boost::asio;

namespace {

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr int kResolveTries = 3;
constexpr double kSpeedWeight = 0.25;  // of the newest tick

const char* PhaseOf(v1::PullStatus status) {
  switch (status) {
    case v1::PULL_STATUS_RESOLVING:
      return "resolving";
    case v1::PULL_STATUS_DOWNLOADING:
      return "downloading";
    case v1::PULL_STATUS_VERIFYING:
      return "verifying";
    case v1::PULL_STATUS_READY:
      return "ready";
    default:
      return "queued";
  }
}

// The record that the files of a pull make.
absl::StatusOr<v1::Model> ModelOfFiles(const std::string& place, const v1::PullPlan& plan,
                                       const std::vector<BlobStore::Placed>& files) {
  const ImportRoots everywhere({});
  ASSIGN_OR_RETURN(const Inspection found,
                   Inspect(everywhere, plan.main().empty() ? place : absl::StrCat(place, "/", plan.main())));
  v1::Model model;
  model.set_path(found.path);
  model.set_format(found.format);
  model.set_type(found.type != v1::MODEL_TYPE_UNSPECIFIED ? found.type : static_cast<v1::ModelType>(plan.type()));
  if (model.type() == v1::MODEL_TYPE_UNSPECIFIED) {
    return Error(v1::MODEL_TYPE_UNKNOWN, "neither the files nor their source tell what the model does");
  }
  *model.mutable_details() = found.details;
  std::map<std::string, const BlobStore::Placed*> left;
  for (const BlobStore::Placed& file : files) left[absl::StrCat(place, "/", file.name)] = &file;
  std::vector<NamedDigest> digests;
  const auto add = [&](const std::string& path, int64_t size) {
    v1::ModelFile& file = *model.add_files();
    file.set_path(path);
    file.set_size(size);
    file.set_digest(left.at(path)->sha256);
    digests.push_back({NameInModel(model, path), file.digest()});
    model.set_size(model.size() + size);
    left.erase(path);
  };
  // First what engines read, then what came with it: all of it is verified.
  for (const v1::ModelFile& file : found.files) {
    if (left.count(file.path())) add(file.path(), file.size());
  }
  while (!left.empty()) {
    const std::string path = left.begin()->first;
    ASSIGN_OR_RETURN(const std::unique_ptr<FileBytes> file, everywhere.Open(path));
    add(path, static_cast<int64_t>(file->size()));
  }
  model.set_digest(CombinedDigest(std::move(digests)));
  return model;
}

}  // namespace

PullRun::PullRun(PullWorld& world, PullRow row, v1::Model model)
    : world_(world), row_(std::move(row)), model_(std::move(model)), call_(world.background()), feed_(world.loop) {
  progress_.set_model_id(row_.model_id);
  Update();
}

void PullRun::Start() { world_.spawn(Run()); }

void PullRun::Cancel() {
  cancelled_ = true;
  if (current_) current_->download->Ring();
}

void PullRun::Abandon() {
  if (current_) current_->download->Ring();
  if (!feed_.finished())
    feed_.Finish(absl::UnavailableError("the model service is stopping; the pull goes on when it is back"));
}

absl::Status PullRun::StoppedStatus() const {
  if (!cancelled_) return absl::UnavailableError("the model service is stopping");
  return Error(v1::MODEL_PULL_CANCELLED, absl::StrCat("the pull of '", row_.model_id, "' was cancelled"),
               {{"model_id", row_.model_id}});
}

v1::PullResponse PullRun::Response() const {
  v1::PullResponse response;
  response.set_model_id(row_.model_id);
  response.set_status(row_.status);
  response.set_revision(row_.plan.revision());
  response.set_size(progress_.size());
  return response;
}

Task<void> PullRun::Run() {
  const auto self = shared_from_this();
  ++world_.alive;
  absl::Cleanup end = [this] {
    --world_.alive;
    if (!feed_.finished()) feed_.Finish(StoppedStatus());
  };
  asio::steady_timer turn(world_.loop);
  while (world_.running >= world_.running_max && !stopped()) {
    turn.expires_after(std::chrono::milliseconds(100));
    co_await turn.async_wait(kTuple);
  }
  ++world_.running;
  absl::Cleanup leave = [this] {
    --world_.running;
    world_.blobs.Release(held_);
  };
  world_.spawn(Tick());
  absl::StatusOr<v1::Model> model = absl::UnknownError("");
  if (stopped()) {
    model = StoppedStatus();
  } else {
    model = co_await Pull();
  }
  current_.reset();
  if (feed_.finished()) co_return;
  if (stopped() && !model.ok()) {
    feed_.Finish(StoppedStatus());
    co_return;
  }
  if (!model.ok()) {
    co_await Fail(model.status());
    feed_.Finish(model.status());
    co_return;
  }
  Update();
  progress_.set_percent(100);
  progress_.set_message(absl::StrCat("'", row_.model_id, "' is ready"));
  *progress_.mutable_result() = Response();
  feed_.Report(progress_);
  feed_.Finish(absl::OkStatus());
}

Task<absl::StatusOr<v1::Model>> PullRun::Pull() {
  if (row_.plan.files().empty()) CO_RETURN_IF_ERROR(co_await Resolve());
  if (model_.status() == v1::MODEL_STATUS_READY && model_.revision() == row_.plan.revision()) {
    row_.status = v1::PULL_STATUS_READY;
    std::vector<pg::Operation> operations;
    row_.update_time = absl::Now();
    operations.push_back(PullStore::UpdateOf(row_));
    CO_RETURN_IF_ERROR((co_await world_.db.Write(call_, std::move(operations))).status());
    for (const v1::PullPlan::File& file : row_.plan.files()) done_[BlobStore::KeyOf(file)] = file.size();
    co_return model_;
  }
  std::set<std::string> keys;
  for (const v1::PullPlan::File& file : row_.plan.files()) keys.insert(BlobStore::KeyOf(file));
  world_.keep(row_.model_id, keys);
  CO_ASSIGN_OR_RETURN(const CacheRoom::Grant room, co_await world_.room.Make(call_, row_.model_id, row_.plan));
  CO_RETURN_IF_ERROR(co_await SetStatus(v1::PULL_STATUS_DOWNLOADING));
  CO_ASSIGN_OR_RETURN(std::vector<BlobStore::Placed> files, co_await Fetch());
  CO_RETURN_IF_ERROR(co_await SetStatus(v1::PULL_STATUS_VERIFYING));
  co_return co_await Place(std::move(files));
}

Task<absl::Status> PullRun::Resolve() {
  CO_RETURN_IF_ERROR(co_await SetStatus(v1::PULL_STATUS_RESOLVING));
  Source& source = *world_.sources.at(row_.wish.source);
  asio::steady_timer pause(world_.loop);
  for (int attempt = 1;; ++attempt) {
    absl::StatusOr<v1::PullPlan> plan = co_await source.Plan(row_.wish);
    if (stopped()) co_return StoppedStatus();
    if (plan.ok()) {
      row_.plan = *std::move(plan);
      row_.confirmed = true;
      Update();
      co_return absl::OkStatus();
    }
    if (!IsPassing(plan.status()) || attempt == kResolveTries) co_return plan.status();
    pause.expires_after(std::chrono::seconds(attempt));
    co_await pause.async_wait(kTuple);
  }
}

Task<absl::StatusOr<std::vector<BlobStore::Placed>>> PullRun::Fetch() {
  CO_ASSIGN_OR_RETURN(const http::Headers headers,
                      co_await world_.sources.at(row_.wish.source)->Credentials(row_.wish));
  // What is small comes first: it tells soon what is wrong.
  std::vector<v1::PullPlan::File> files(row_.plan.files().begin(), row_.plan.files().end());
  std::sort(files.begin(), files.end(),
            [](const auto& a, const auto& b) { return std::pair(a.size(), a.name()) < std::pair(b.size(), b.name()); });
  std::vector<BlobStore::Placed> placed;
  for (const v1::PullPlan::File& file : files) {
    CO_ASSIGN_OR_RETURN(std::string sha256, co_await FetchFile(file, headers));
    done_[BlobStore::KeyOf(file)] = file.size();
    placed.push_back({file.name(), std::move(sha256)});
  }
  co_return placed;
}

void PullRun::Hold(const std::string& key) {
  if (held_.insert(key).second) world_.blobs.Hold({key});
}

Task<absl::StatusOr<std::string>> PullRun::FetchFile(const v1::PullPlan::File& file, const http::Headers& headers) {
  for (int attempt = 1;; ++attempt) {
    if (stopped()) co_return StoppedStatus();
    current_ = co_await world_.downloads.Join(file, headers);
    const std::shared_ptr<Download> download = current_->download;
    while (!download->finished() && !stopped()) co_await download->Wait();
    if (stopped()) co_return StoppedStatus();
    received_ += download->received();
    current_.reset();
    const absl::StatusOr<std::string> result = download->result();
    if (result.ok()) {
      // From here on the blob may be known under its digest only. The download holds it until it goes.
      if (file.sha256().empty()) Hold("sha256-" + *result);
      co_return *result;
    }
    // It may have been another pull's, from another mirror.
    const bool ours = download->file().url() == file.url();
    if (attempt == 2 || (ours && !HasReason(result.status(), v1::MODEL_PULL_CANCELLED))) co_return result.status();
  }
}

Task<absl::StatusOr<v1::Model>> PullRun::Place(std::vector<BlobStore::Placed> files) {
  BlobStore* const blobs = &world_.blobs;
  CO_ASSIGN_OR_RETURN(const std::string place, co_await world_.threads.RunSlow([blobs, id = row_.model_id, files] {
    return blobs->Place(id, files);
  }));
  absl::StatusOr<v1::Model> read =
      co_await world_.threads.RunSlow([place, plan = row_.plan, files] { return ModelOfFiles(place, plan, files); });
  const std::string before = model_.path();
  if (read.ok()) {
    v1::Model model = *std::move(read);
    model.set_id(model_.id());
    model.set_name(model_.name());
    if (before.empty() && model_.type() != v1::MODEL_TYPE_UNSPECIFIED) model.set_type(model_.type());
    model.set_status(v1::MODEL_STATUS_READY);
    model.set_source(NameOfSource(row_.wish.source));
    model.set_repo(row_.wish.repo);
    model.set_revision(row_.plan.revision());
    model.set_stored(true);
    *model.mutable_create_time() = model_.create_time();
    *model.mutable_update_time() = TimestampOf(absl::Now());
    row_.status = v1::PULL_STATUS_READY;
    row_.error.clear();
    row_.reason.clear();
    row_.update_time = absl::Now();
    Update();
    v1::ModelVerified verified;
    verified.set_model_id(model.id());
    verified.set_valid(true);
    ModelStore::Also also;
    also.push_back(PullStore::UpdateOf(row_));
    also.push_back(world_.outbox.Emit(call_, verified));
    also.push_back(world_.outbox.Emit(call_, Event()));
    const absl::Status status =
        stopped() ? StoppedStatus() : co_await world_.models.Place(call_, model, std::move(also));
    read = status.ok() ? absl::StatusOr<v1::Model>(std::move(model)) : status;
  }
  // What may be recorded or not is left to the next start, which looks. What has arrived is kept for another try.
  if (!HasReason(read.status(), unit::v1::OUTCOME_UNKNOWN)) {
    if (read.ok()) world_.keep(row_.model_id, {});
    co_await world_.threads.RunQuick([blobs, stale = read.ok() ? before : place] {
      blobs->Remove(stale);
      return blobs->Collect();
    });
  }
  co_return read;
}

Task<absl::Status> PullRun::SetStatus(v1::PullStatus status) {
  row_.status = status;
  row_.error.clear();
  row_.reason.clear();
  row_.update_time = absl::Now();
  Update();
  feed_.Report(progress_);
  std::vector<pg::Operation> operations;
  operations.push_back(PullStore::UpdateOf(row_));
  operations.push_back(ModelStore::SetStatusOf(row_.model_id, v1::MODEL_STATUS_PULLING, ""));
  operations.push_back(world_.outbox.Emit(call_, Event()));
  CO_RETURN_IF_ERROR((co_await world_.db.Write(call_, std::move(operations))).status());
  co_return stopped() ? StoppedStatus() : absl::OkStatus();
}

// What no source has ever said to be there is no model that one could be pulling: its record was made for this pull alone.
bool PullRun::WasNothing() const { return row_.own_record && !row_.confirmed && model_.path().empty(); }

Task<void> PullRun::Fail(const absl::Status& status) {
  const ErrorDetails details = DetailsOf(status);
  row_.status = v1::PULL_STATUS_FAILED;
  row_.error = details.message;
  row_.reason = details.reason;
  row_.update_time = absl::Now();
  ModelStore::Also also;
  also.push_back(world_.outbox.Emit(call_, Event()));
  absl::Status written;
  if (WasNothing()) {
    v1::ModelDeleted deleted;
    deleted.set_model_id(row_.model_id);
    also.push_back(world_.outbox.Emit(call_, deleted));
    written = co_await world_.models.Delete(call_, row_.model_id, std::move(also));
  } else {
    also.push_back(PullStore::UpdateOf(row_));
    also.push_back(ModelStore::SetStatusOf(row_.model_id, v1::MODEL_STATUS_ERROR, details.message));
    written = (co_await world_.db.Write(call_, std::move(also))).status();
  }
  if (!written.ok())
    spdlog::warn("the end of the pull of {} is not recorded: {}", row_.model_id, std::string(written.message()));
  spdlog::warn("pull of {} failed: {}", row_.model_id, details.message);
}

void PullRun::Update() {
  progress_.set_phase(PhaseOf(row_.status));
  progress_.clear_items();
  const std::string current = current_ ? BlobStore::KeyOf(current_->download->file()) : "";
  int64_t size = 0, done = 0;
  bool checking = false;
  for (const v1::PullPlan::File& file : row_.plan.files()) {
    v1::PullFile& item = *progress_.add_items();
    item.set_name(file.name());
    item.set_size(file.size());
    item.set_digest(file.sha256());
    const std::string key = BlobStore::KeyOf(file);
    const auto there = done_.find(key);
    if (there != done_.end() || row_.status == v1::PULL_STATUS_READY) {
      item.set_done(file.size());
    } else if (key == current) {
      item.set_done(current_->download->done());
      checking = current_->download->verifying();
      item.set_speed(progress_.speed());
      if (item.speed() > 0) item.set_eta(static_cast<double>(item.size() - item.done()) / item.speed());
    }
    size += item.size();
    done += item.done();
  }
  progress_.set_size(size);
  progress_.set_done(std::max(done, progress_.done()));
  const double percent = size == 0 ? 0 : 99.9 * static_cast<double>(progress_.done()) / static_cast<double>(size);
  progress_.set_percent(std::max(percent, progress_.percent()));
  progress_.set_eta(progress_.speed() > 0 ? static_cast<double>(size - progress_.done()) / progress_.speed() : 0);
  switch (row_.status) {
    case v1::PULL_STATUS_RESOLVING:
      progress_.set_message(absl::StrCat("asking ", NameOfSource(row_.wish.source), " for '", row_.wish.repo, "'"));
      break;
    case v1::PULL_STATUS_DOWNLOADING:
      progress_.set_message(
          absl::StrCat(checking ? "checking '" : "fetching '", current_ ? current_->download->file().name() : "", "'"));
      break;
    case v1::PULL_STATUS_VERIFYING:
      progress_.set_message("reading the headers of the files");
      break;
    default:
      progress_.set_message("waiting for its turn");
  }
}

v1::ModelPullProgress PullRun::Event() const {
  v1::ModelPullProgress event;
  event.set_model_id(row_.model_id);
  event.set_status(row_.status);
  event.set_progress(row_.status == v1::PULL_STATUS_READY ? 100 : progress_.percent());
  event.set_size(progress_.size());
  event.set_done(progress_.done());
  event.set_speed(progress_.speed());
  event.set_eta(progress_.eta());
  event.set_error(row_.error);
  return event;
}

Task<void> PullRun::Tick() {
  const auto self = shared_from_this();
  asio::steady_timer timer(world_.loop);
  absl::Time before = absl::Now(), told = before;
  while (!feed_.finished()) {
    timer.expires_after(absl::ToChronoNanoseconds(world_.tick));
    co_await timer.async_wait(kTuple);
    if (feed_.finished() || row_.status != v1::PULL_STATUS_DOWNLOADING) continue;
    const absl::Time now = absl::Now();
    const int64_t received = received_ + (current_ ? current_->download->received() : 0);
    const double speed =
        static_cast<double>(received - received_before_) / std::max(1e-3, absl::ToDoubleSeconds(now - before));
    received_before_ = received;
    before = now;
    progress_.set_speed(progress_.speed() == 0 ? speed : (1 - kSpeedWeight) * progress_.speed() + kSpeedWeight * speed);
    if (progress_.speed() < 1) progress_.set_speed(0);
    Update();
    feed_.Report(progress_);
    if (now - told < absl::Seconds(1)) continue;
    told = now;
    world_.outbox.Tell(call_, Event());
  }
}

}  // namespace aima::model
