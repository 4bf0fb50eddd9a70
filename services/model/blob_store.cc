#include "services/model/blob_store.h"

#include <absl/cleanup/cleanup.h>
#include <absl/strings/str_cat.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cassert>
#include <filesystem>

#include "aima/model/v1/model.pb.h"
#include "libs/base/ids.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "services/model/disk.h"
#include "services/model/wish.h"

namespace aima::model {

namespace {

namespace fs = std::filesystem;

constexpr char kPart[] = ".part-";
constexpr char kJournal[] = ".journal";
constexpr char kGone[] = ".gone-";  // what Collect is removing
// Left free for everything else that the machine does.
constexpr int64_t kReserve = int64_t{256} << 20;

int64_t BytesOnDisk(const std::string& path) {
  struct stat status{};
  return ::lstat(path.c_str(), &status) == 0 ? static_cast<int64_t>(status.st_blocks) * 512 : 0;
}

}  // namespace

BlobStore::~BlobStore() {
  if (lock_ >= 0) ::close(lock_);
}

absl::StatusOr<bool> BlobStore::Lock() {
  if (lock_ >= 0) return true;
  RETURN_IF_ERROR(MakeDirectories(blobs_));
  const std::string path = blobs_ + "/.lock";
  const int lock = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (lock < 0) return DiskFailure("open", path, errno);
  if (::flock(lock, LOCK_EX | LOCK_NB) == 0) {
    lock_ = lock;
    return true;
  }
  const int error = errno;
  ::close(lock);
  if (error == EWOULDBLOCK || error == EINTR) return false;
  return DiskFailure("lock", path, error);
}

void BlobStore::Hold(const std::set<std::string>& keys) {
  const std::lock_guard lock(mutex_);
  for (const std::string& key : keys) ++held_[key];
}

void BlobStore::Release(const std::set<std::string>& keys) {
  const std::lock_guard lock(mutex_);
  for (const std::string& key : keys) {
    const auto held = held_.find(key);
    if (held != held_.end() && --held->second == 0) held_.erase(held);
  }
}

std::shared_ptr<void> BlobStore::HoldWhile(const std::string& key) {
  Hold({key});
  return std::shared_ptr<void>(nullptr, [store = std::weak_ptr<BlobStore>(self_), key](void*) {
    if (const std::shared_ptr<BlobStore> alive = store.lock()) alive->Release({key});
  });
}

std::string BlobStore::KeyOf(const v1::PullPlan::File& file) {
  return file.sha256().empty() ? "git-" + file.git_id() : "sha256-" + file.sha256();
}

// The two functions in which names of blobs are made. What is no digest never gets here: plans are checked.
std::string BlobStore::BlobPath(const std::string& sha256) const {
  assert(IsHex(sha256, 64));
  return absl::StrCat(blobs_, "/sha256-", sha256);
}
std::string BlobStore::PartPath(const std::string& key) const { return absl::StrCat(blobs_, "/", kPart, key); }

absl::StatusOr<bool> BlobStore::Check(const std::string& sha256, int64_t size,
                                      const std::function<absl::Status()>& go_on) const {
  const std::string path = BlobPath(sha256);
  const absl::StatusOr<std::unique_ptr<FileBytes>> file = FileBytes::Open(path);
  if (!file.ok()) return false;
  if (static_cast<int64_t>((*file)->size()) == size) {
    const absl::StatusOr<std::string> digest = HashFile(**file, go_on);
    RETURN_IF_ERROR(go_on());
    if (digest.ok() && *digest == sha256) return true;
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return DiskFailure("remove", path, errno);
  return false;
}

absl::StatusOr<std::shared_ptr<PartFile>> BlobStore::OpenPart(const std::string& key, int64_t size, int64_t piece_size,
                                                              const std::function<absl::Status()>& go_on) const {
  RETURN_IF_ERROR(MakeDirectories(blobs_));
  return PartFile::Open(PartPath(key), size, piece_size, go_on);
}

void BlobStore::RemovePart(const std::string& key) const { PartFile::Remove(PartPath(key)); }

absl::Status BlobStore::Commit(const PartFile& part, const std::string& sha256) const {
  return part.Commit(BlobPath(sha256));
}

int64_t BlobStore::Missing(const v1::PullPlan& plan) const {
  int64_t missing = 0;
  std::set<std::string> seen;
  for (const v1::PullPlan::File& file : plan.files()) {
    const std::string key = KeyOf(file);
    if (!seen.insert(key).second) continue;
    struct stat status{};
    if (!file.sha256().empty() && ::lstat(BlobPath(file.sha256()).c_str(), &status) == 0) continue;
    missing += std::max<int64_t>(0, file.size() - BytesOnDisk(PartPath(key)));
  }
  return missing;
}

absl::Status BlobStore::CheckRoom(int64_t bytes) const {
  RETURN_IF_ERROR(MakeDirectories(blobs_));
  struct statvfs disk{};
  if (::statvfs(blobs_.c_str(), &disk) != 0) return DiskFailure("ask for the free room of", blobs_, errno);
  const int64_t free = static_cast<int64_t>(disk.f_bavail) * static_cast<int64_t>(disk.f_frsize);
  const int64_t needed = bytes == 0 ? 0 : bytes + bytes / 20 + kReserve;
  if (free >= needed) return absl::OkStatus();
  return Error(v1::MODEL_STORAGE_FULL,
               absl::StrCat("the disk of '", blobs_, "' has ", free, " bytes free, and ", needed, " are needed"),
               {{"path", blobs_}, {"free", absl::StrCat(free)}, {"needed", absl::StrCat(needed)}});
}

int64_t BlobStore::UsedBytes() const {
  int64_t used = 0;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(blobs_, error)) used += BytesOnDisk(entry.path());
  return used;
}

absl::StatusOr<std::string> BlobStore::Place(const std::string& model_id, const std::vector<Placed>& files) const {
  const std::string place = absl::StrCat(pulled_, "/", model_id, "/", NewId(""));
  RETURN_IF_ERROR(MakeDirectories(place));
  absl::Cleanup remove = [&place] {
    std::error_code ignored;
    fs::remove_all(place, ignored);
  };
  std::set<std::string> directories = {place, pulled_ + "/" + model_id, pulled_};
  for (const Placed& file : files) {
    if (!IsSafeFileName(file.name)) {
      return Error(v1::MODEL_STORAGE_FAILED, absl::StrCat("'", file.name, "' cannot be the name of a file"), {});
    }
    const std::string path = absl::StrCat(place, "/", file.name);
    const std::string directory = path.substr(0, path.rfind('/'));
    RETURN_IF_ERROR(MakeDirectories(directory));
    for (fs::path above = directory; above != place; above = above.parent_path()) directories.insert(above);
    if (::link(BlobPath(file.sha256).c_str(), path.c_str()) != 0) return DiskFailure("link", path, errno);
  }
  for (const std::string& directory : directories) RETURN_IF_ERROR(SyncDirectory(directory));
  std::move(remove).Cancel();
  return place;
}

std::string BlobStore::PlaceOf(const std::string& path) const {
  if (!path.starts_with(pulled_ + "/")) return "";
  const size_t model = path.find('/', pulled_.size() + 1);
  if (model == std::string::npos || path.find("/../") != std::string::npos) return "";
  return path.substr(0, path.find('/', model + 1));
}

int64_t BlobStore::Freed(const std::vector<std::string>& paths) {
  std::map<ino_t, nlink_t> links;
  for (const std::string& path : paths) {
    std::error_code error;
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(PlaceOf(path), error)) {
      struct stat status{};
      if (::lstat(entry.path().c_str(), &status) == 0 && S_ISREG(status.st_mode)) ++links[status.st_ino];
    }
  }
  int64_t freed = 0;
  const std::lock_guard lock(mutex_);
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(blobs_, error)) {
    struct stat status{};
    if (held_.count(entry.path().filename().string()) || ::lstat(entry.path().c_str(), &status) != 0) continue;
    const auto found = links.find(status.st_ino);
    if (found == links.end() || found->second + 1 < status.st_nlink) continue;
    freed += BytesOnDisk(entry.path());
  }
  return freed;
}

bool BlobStore::IsPlaced(const std::string& path) const { return !PlaceOf(path).empty(); }

void BlobStore::Remove(const std::string& path) const {
  const std::string place = PlaceOf(path);
  if (place.empty()) return;
  std::error_code ignored;
  fs::remove_all(place, ignored);
  fs::remove(fs::path(place).parent_path(), ignored);  // if it is empty
}

int64_t BlobStore::Collect(const std::vector<std::string>& paths) {
  std::set<std::string> places;
  for (const std::string& path : paths) places.insert(PlaceOf(path));
  std::vector<std::string> strays;
  std::error_code error;
  for (const fs::directory_entry& model : fs::directory_iterator(pulled_, error)) {
    std::error_code ignored;
    for (const fs::directory_entry& place : fs::directory_iterator(model, ignored)) {
      if (!places.count(place.path())) strays.push_back(place.path());
    }
  }
  for (const std::string& stray : strays) Remove(stray);
  return Collect();
}

int64_t BlobStore::Collect() {
  // Whoever holds something waits for the lock, and large files take long to remove: under it they only lose their
  // names. What a process that ended left of them goes now, too.
  std::set<std::string> gone;
  {
    const std::lock_guard lock(mutex_);
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator(blobs_, error)) {
      const std::string path = entry.path().string();
      const std::string name = entry.path().filename().string();
      if (name.starts_with(kGone)) {
        gone.insert(path);
        continue;
      }
      std::string key = name;
      if (key.starts_with(kPart)) key.erase(0, sizeof(kPart) - 1);
      if (key.ends_with(kJournal)) key.resize(key.size() - (sizeof(kJournal) - 1));
      struct stat status{};
      if (name == ".lock" || held_.count(key) || ::lstat(path.c_str(), &status) != 0) continue;
      if (S_ISDIR(status.st_mode) || (!name.starts_with(kPart) && status.st_nlink > 1)) continue;
      const std::string away = absl::StrCat(blobs_, "/", kGone, NewId(""));
      if (::rename(path.c_str(), away.c_str()) == 0) gone.insert(away);
    }
  }
  int64_t freed = 0;
  for (const std::string& path : gone) {
    const int64_t bytes = BytesOnDisk(path);
    if (::unlink(path.c_str()) == 0) freed += bytes;  // else another Collect was quicker
  }
  return freed;
}

}  // namespace aima::model
