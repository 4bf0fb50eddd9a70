#include "services/model/download.h"

#include <absl/cleanup/cleanup.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <re2/re2.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <cmath>

#include "aima/model/v1/model.pb.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "services/model/web.h"

namespace aima::model {

namespace asio = boost::asio;

namespace {

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr int64_t kRunBytes = int64_t{256} << 20;
constexpr size_t kPiecesMax = 16384;
constexpr absl::Duration kPauseMax = absl::Seconds(30);

int64_t PieceSizeFor(int64_t size, int64_t least) {
  int64_t piece = least;
  while (size / piece > static_cast<int64_t>(kPiecesMax)) piece *= 2;
  return piece;
}

absl::Status Cancelled(const std::string& name) {
  return Error(v1::MODEL_PULL_CANCELLED, absl::StrCat("the pull of '", name, "' was cancelled"));
}

}  // namespace

bool IsPassing(const absl::Status& status) { return HasReason(status, v1::MODEL_SOURCE_UNREACHABLE); }

// One connection.
struct Download::Worker {
  http::ResponseStream* answer = nullptr;  // while one is being read
  bool asking = false;                     // and using nothing of the download
  int64_t arrived = 0;                     // bytes of the piece in hand
  absl::Duration asked_pause;              // as the server asked
};

Download::Download(Parts parts, const Settings& settings, v1::PullPlan::File file, http::Headers headers)
    : parts_(std::move(parts)),
      settings_(settings),
      file_(std::move(file)),
      headers_(std::move(headers)),
      key_(BlobStore::KeyOf(file_)),
      bell_(parts_.loop, asio::steady_timer::time_point::max()) {}

void Download::Start() { parts_.spawn(Work()); }

void Download::Cancel() {
  *cancelled_ = true;
  Stop(Cancelled(file_.name()));
}

void Download::Stop(absl::Status why) {
  if (stopped_.ok()) stopped_ = std::move(why);
  for (Worker* worker : workers_) {
    if (worker->answer) worker->answer->SetDeadline(absl::InfinitePast());
  }
  Ring();
}

// Those that still wait for the head of an answer do not count once all is over: they see that when they wake.
bool Download::AnyoneWorks() const {
  return std::any_of(workers_.begin(), workers_.end(),
                     [this](const Worker* worker) { return stopped_.ok() || !worker->asking; });
}

std::function<absl::Status()> Download::GoOn() const {
  return [go_on = parts_.threads.GoOnUntil(absl::InfiniteFuture()), cancelled = cancelled_, name = file_.name()] {
    return *cancelled ? Cancelled(name) : go_on();
  };
}

Task<void> Download::Wait() {
  if (!finished()) co_await bell_.async_wait(kTuple);
}

Task<void> Download::Pause(absl::Duration time) {
  const absl::Time end = absl::Now() + time;
  asio::steady_timer timer(parts_.loop);
  // In steps, so that a cancelled download ends soon.
  while (stopped_.ok() && absl::Now() < end) {
    timer.expires_after(absl::ToChronoNanoseconds(std::min(absl::Milliseconds(100), end - absl::Now())));
    co_await timer.async_wait(kTuple);
  }
}

int64_t Download::done() {
  int64_t now = bytes_there_;
  for (const Worker* worker : workers_) now += worker->arrived;
  shown_ = std::max(shown_, std::min(now, file_.size()));
  return shown_;
}

Task<void> Download::Work() {
  const auto self = shared_from_this();
  // Also if the process ends meanwhile and this coroutine with it.
  absl::Cleanup finish = [this] {
    if (!result_) result_ = Cancelled(file_.name());
    Ring();
  };
  absl::StatusOr<std::string> result = co_await Fetch();
  if (result.ok()) shown_ = file_.size();
  part_.reset();
  result_ = std::move(result);
}

Task<absl::StatusOr<std::string>> Download::Fetch() {
  const auto go_on = GoOn();
  BlobStore* const blobs = &parts_.blobs;
  if (!file_.sha256().empty()) {
    verifying_ = true;
    CO_ASSIGN_OR_RETURN(const bool there, co_await parts_.threads.RunSlow([blobs, file = file_, go_on] {
      return blobs->Check(file.sha256(), file.size(), go_on);
    }));
    verifying_ = false;
    if (there) co_return file_.sha256();
  }
  for (int attempt = 1;; ++attempt) {
    if (!stopped_.ok()) co_return stopped_;
    CO_RETURN_IF_ERROR(co_await Fill());
    CO_ASSIGN_OR_RETURN(const FileDigests found, co_await Digest());
    const bool right = (file_.sha256().empty() || found.sha256 == file_.sha256()) &&
                       (file_.git_id().empty() || found.git_id == file_.git_id());
    if (right) {
      // The source may have told git's id only: then nobody holds the blob under the name that it gets.
      held_ = parts_.blobs.HoldWhile("sha256-" + found.sha256);
      CO_RETURN_IF_ERROR(co_await parts_.threads.RunSlow(
          [blobs, part = part_, sha256 = found.sha256] { return blobs->Commit(*part, sha256); }));
      co_return found.sha256;
    }
    part_.reset();
    co_await parts_.threads.RunQuick([blobs, key = key_] {
      blobs->RemovePart(key);
      return true;
    });
    spdlog::warn("what arrived as {} is not what its source announced, attempt={}", file_.name(), attempt);
    if (attempt == 2) {
      co_return Error(
          v1::MODEL_PULL_CORRUPT,
          absl::StrCat("what arrives as '", file_.name(), "' has the SHA-256 ", found.sha256, " instead of ",
                       file_.sha256().empty() ? "git's id " + file_.git_id() : file_.sha256()),
          {{"file", file_.name()}});
    }
  }
}

Task<absl::StatusOr<FileDigests>> Download::Digest() {
  verifying_ = true;
  const auto go_on = GoOn();
  absl::StatusOr<FileDigests> digests = co_await parts_.threads.RunSlow(
      [part = part_, git_id = !file_.git_id().empty(), go_on] { return part->Digest(git_id, go_on); });
  verifying_ = false;
  co_return digests;
}

Task<absl::Status> Download::Fill() {
  const auto go_on = GoOn();
  CO_ASSIGN_OR_RETURN(part_,
                      co_await parts_.threads.RunSlow([blobs = &parts_.blobs, key = key_, size = file_.size(),
                                                       piece = PieceSizeFor(file_.size(), settings_.piece_size),
                                                       go_on] { return blobs->OpenPart(key, size, piece, go_on); }));
  pieces_.assign(part_->pieces(), Piece::kMissing);
  there_ = 0;
  bytes_there_ = 0;
  sole_ = nullptr;
  for (size_t i = 0; i < pieces_.size(); ++i) {
    if (!part_->there()[i]) continue;
    pieces_[i] = Piece::kThere;
    ++there_;
    bytes_there_ += part_->SizeOf(i);
  }
  const size_t missing = pieces_.size() - there_;
  const size_t count = std::min(missing, static_cast<size_t>(settings_.connections));
  for (size_t i = 0; i < count; ++i) {
    auto worker = std::make_shared<Worker>();
    workers_.insert(worker.get());
    parts_.spawn(RunWorker(std::move(worker)));
  }
  while (AnyoneWorks()) co_await bell_.async_wait(kTuple);
  if (there_ == pieces_.size()) co_return absl::OkStatus();
  co_return stopped_.ok() ? Cancelled(file_.name()) : stopped_;
}

Task<void> Download::RunWorker(std::shared_ptr<Worker> worker) {
  const auto self = shared_from_this();
  absl::Cleanup leave = [&] {
    if (sole_ == worker.get()) sole_ = nullptr;
    workers_.erase(worker.get());
    Ring();
  };
  int failures = 0;
  while (stopped_.ok()) {
    const std::optional<Run> run = NextRun(*worker);
    if (!run) break;
    for (size_t i = run->first; i < run->last; ++i) {
      if (pieces_[i] == Piece::kMissing) pieces_[i] = Piece::kAsked;
    }
    const size_t before = there_;
    worker->asked_pause = absl::ZeroDuration();
    const absl::Status status = co_await FetchRun(*worker, *run);
    worker->arrived = 0;
    for (size_t i = run->first; i < run->last; ++i) {
      if (pieces_[i] == Piece::kAsked) pieces_[i] = Piece::kMissing;
    }
    if (there_ > before) failures = 0;
    if (status.ok() || !stopped_.ok()) continue;
    if (!IsPassing(status) || ++failures >= settings_.tries) {
      Stop(status);
      break;
    }
    spdlog::info("trying again to fetch {}: {}", file_.name(), std::string(status.message()));
    const absl::Duration pause = settings_.pause * std::exp2(failures - 1);
    co_await Pause(std::clamp(pause, worker->asked_pause, kPauseMax));
  }
}

std::optional<Download::Run> Download::NextRun(const Worker& worker) {
  if (sole_)
    return sole_ == &worker && there_ < pieces_.size() ? std::optional<Run>({0, pieces_.size()}) : std::nullopt;
  const auto first = std::find(pieces_.begin(), pieces_.end(), Piece::kMissing);
  if (first == pieces_.end()) return std::nullopt;
  const size_t missing = pieces_.size() - there_;
  const size_t share =
      (missing + static_cast<size_t>(settings_.connections) - 1) / static_cast<size_t>(settings_.connections);
  const size_t longest = std::clamp<size_t>(static_cast<size_t>(kRunBytes / part_->piece_size()), 1, share);
  Run run;
  run.first = run.last = static_cast<size_t>(first - pieces_.begin());
  while (run.last < pieces_.size() && run.last - run.first < longest && pieces_[run.last] == Piece::kMissing)
    ++run.last;
  return run;
}

Task<absl::Status> Download::FetchRun(Worker& worker, Run run) {
  const absl::StatusOr<http::Url> url = http::ParseUrl(file_.url());
  if (!url.ok()) co_return NoAnswer(file_.url(), url.status());
  const int64_t begin = static_cast<int64_t>(run.first) * part_->piece_size();
  const int64_t end = std::min(file_.size(), static_cast<int64_t>(run.last) * part_->piece_size());
  http::Headers headers = headers_;
  headers.Set("accept-encoding", "identity");
  headers.Set("range", absl::StrCat("bytes=", begin, "-", end - 1));
  worker.asking = true;
  absl::StatusOr<std::unique_ptr<http::ResponseStream>> answer =
      co_await parts_.web.Open(*url, std::move(headers), absl::Now() + settings_.stall);
  worker.asking = false;
  if (!stopped_.ok()) co_return stopped_;
  if (!answer.ok()) co_return NoAnswer(file_.url(), answer.status());
  CO_RETURN_IF_ERROR(CheckHead(**answer, worker, run));
  if (run.first == run.last) co_return absl::OkStatus();  // another connection reads everything
  worker.answer = answer->get();
  absl::Cleanup forget = [&worker] { worker.answer = nullptr; };
  co_return co_await Receive(**answer, worker, run, run.first);
}

// A server that knows no ranges sends everything from the beginning: one connection then reads it all.
absl::Status Download::CheckHead(const http::ResponseStream& answer, Worker& worker, Run& run) {
  static const RE2 kRange(R"(\s*bytes\s+(\d+)-(\d+)/(\d+)\s*)");
  const std::string what = absl::StrCat("'", file_.name(), "'");
  const int64_t begin = static_cast<int64_t>(run.first) * part_->piece_size();
  if (answer.status() == 206) {
    int64_t first = 0, last = 0, total = 0;
    const std::string range(answer.headers().Get("content-range"));
    if (!RE2::FullMatch(range, kRange, &first, &last, &total) || first != begin) {
      return Nonsense(file_.url(), absl::StrCat("it sends other bytes of ", what, " than were asked for"));
    }
    if (total != file_.size()) {
      return Nonsense(file_.url(), absl::StrCat(what, " has ", total, " bytes there instead of ", file_.size()));
    }
    return absl::OkStatus();
  }
  if (answer.status() == 200) {
    int64_t length = 0;
    const std::string header(answer.headers().Get("content-length"));
    if (absl::SimpleAtoi(header, &length) && length != file_.size()) {
      return Nonsense(file_.url(), absl::StrCat(what, " has ", length, " bytes there instead of ", file_.size()));
    }
    if (sole_ && sole_ != &worker) {
      run.first = run.last;
      return absl::OkStatus();
    }
    sole_ = &worker;
    run = {0, pieces_.size()};
    return absl::OkStatus();
  }
  if (answer.status() == 429 || answer.status() == 503) {
    int64_t seconds = 0;
    if (absl::SimpleAtoi(std::string(answer.headers().Get("retry-after")), &seconds)) {
      worker.asked_pause = std::clamp(absl::Seconds(seconds), absl::ZeroDuration(), kPauseMax);
    }
  }
  return BadAnswer(file_.url(), answer.status(), what);
}

Task<absl::Status> Download::Receive(http::ResponseStream& answer, Worker& worker, Run run, size_t at) {
  std::string piece;  // what has arrived of piece `at`
  absl::Time rearmed = absl::Now();
  answer.SetDeadline(rearmed + settings_.stall);
  while (at < run.last) {
    absl::StatusOr<std::optional<std::string>> bytes = co_await answer.Next();
    if (!stopped_.ok()) co_return stopped_;
    if (!bytes.ok()) co_return NoAnswer(file_.url(), bytes.status());
    if (!*bytes) co_return Nonsense(file_.url(), absl::StrCat("'", file_.name(), "' ends too early"));
    std::string_view left = **bytes;
    received_ += static_cast<int64_t>(left.size());
    while (!left.empty() && at < run.last) {
      const size_t wanted = static_cast<size_t>(part_->SizeOf(at));
      const size_t taken = std::min(left.size(), wanted - piece.size());
      piece.append(left.substr(0, taken));
      left.remove_prefix(taken);
      worker.arrived = pieces_[at] == Piece::kThere ? 0 : static_cast<int64_t>(piece.size());
      if (piece.size() < wanted) break;
      if (pieces_[at] != Piece::kThere) {
        CO_RETURN_IF_ERROR(co_await parts_.threads.RunQuick(
            [part = part_, at, piece = std::move(piece)] { return part->Write(at, piece); }));
        if (pieces_[at] != Piece::kThere) {
          pieces_[at] = Piece::kThere;
          ++there_;
          bytes_there_ += static_cast<int64_t>(wanted);
        }
      }
      worker.arrived = 0;
      piece = std::string();
      ++at;
    }
    if (!stopped_.ok()) co_return stopped_;
    // Once in a while: the deadline is one of some seconds.
    if (const absl::Time now = absl::Now(); now - rearmed > settings_.stall / 20) {
      rearmed = now;
      answer.SetDeadline(now + settings_.stall);
    }
  }
  co_return absl::OkStatus();
}

}  // namespace aima::model
