#include "services/model/storage.h"

#include <absl/cleanup/cleanup.h>
#include <absl/strings/str_cat.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <filesystem>

#include "libs/base/ids.h"
#include "libs/errors/errors.h"
#include "services/model/digest.h"
#include "services/model/disk.h"
#include "services/model/examination.h"

namespace aima::model {

namespace {

namespace fs = std::filesystem;

constexpr char kIncoming[] = ".incoming-";
constexpr size_t kPiece = 16 * 1024 * 1024;

absl::Status Failed(const std::string& what, const std::string& path, const std::string& why) {
  return Error(v1::MODEL_STORAGE_FAILED, absl::StrCat("cannot ", what, " '", path, "': ", why), {{"path", path}});
}

absl::Status CopyBytes(const FileBytes& from, int to, const std::string& path,
                       const std::function<absl::Status()>& go_on) {
  // File systems that can share blocks copy nothing.
  if (::ioctl(to, FICLONE, from.descriptor()) == 0) return absl::OkStatus();
  off64_t offset = 0;
  while (static_cast<uint64_t>(offset) < from.size()) {
    RETURN_IF_ERROR(go_on());
    const ssize_t copied = ::copy_file_range(from.descriptor(), &offset, to, nullptr, kPiece, 0);
    if (copied > 0) continue;
    if (copied == 0) return Failed("copy", from.name(), "the file became shorter meanwhile");
    if (errno == EINTR) continue;
    if (offset > 0 || (errno != EXDEV && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)) {
      return Failed("write", path, strerror(errno));
    }
    break;
  }
  std::string piece(1024 * 1024, '\0');
  for (uint64_t at = static_cast<uint64_t>(offset); at < from.size(); at += piece.size()) {
    RETURN_IF_ERROR(go_on());
    piece.resize(std::min<uint64_t>(piece.size(), from.size() - at));
    RETURN_IF_ERROR(from.ReadAt(at, piece.data(), piece.size()));
    for (size_t done = 0; done < piece.size();) {
      const ssize_t written = ::write(to, piece.data() + done, piece.size() - done);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return Failed("write", path, strerror(errno));
      done += static_cast<size_t>(written);
    }
  }
  return absl::OkStatus();
}

absl::Status CopyFile(const FileBytes& from, const std::string& path, const std::function<absl::Status()>& go_on) {
  std::error_code error;
  fs::create_directories(fs::path(path).parent_path(), error);
  const int to = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (to < 0) return Failed("create", path, strerror(errno));
  absl::Status status = CopyBytes(from, to, path, go_on);
  if (status.ok() && ::fsync(to) != 0) status = Failed("write", path, strerror(errno));
  ::close(to);
  return status;
}

}  // namespace

absl::StatusOr<v1::Model> Storage::Adopt(const ImportRoots& roots, const Inspection& found,
                                         const std::function<absl::Status()>& go_on) const {
  std::error_code error;
  fs::create_directories(directory_, error);
  const std::string incoming = absl::StrCat(directory_, "/", kIncoming, NewId(""));
  if (!fs::create_directory(incoming, error)) return Failed("create", incoming, error.message());
  absl::Cleanup remove = [&incoming] {
    std::error_code ignored;
    fs::remove_all(incoming, ignored);
  };
  const fs::space_info space = fs::space(directory_, error);
  if (!error && space.available < static_cast<uint64_t>(found.size) + static_cast<uint64_t>(found.size) / 20) {
    return Failed("copy into", directory_, absl::StrCat(found.size, " bytes are needed and ", space.available,
                                                        " are free"));
  }

  v1::Model source;
  source.set_path(found.path);
  v1::Model copy;
  copy.set_format(found.format);
  copy.set_path(incoming);
  for (const v1::ModelFile& file : found.files) {
    const std::string name = NameInModel(source, file.path());
    ASSIGN_OR_RETURN(const std::unique_ptr<FileBytes> from, roots.Open(file.path()));
    v1::ModelFile& copied = *copy.add_files();
    copied.set_path(absl::StrCat(incoming, "/", name));
    copied.set_size(file.size());
    RETURN_IF_ERROR(CopyFile(*from, copied.path(), go_on));
  }
  // What was inspected might have been changed while it was copied: the copy is read as a whole and checked again.
  ASSIGN_OR_RETURN(const Examination examined, Examine(copy, ImportRoots({}), go_on));
  if (!examined.issues.empty()) return Failed("copy", found.path, examined.issues[0]);

  const std::string place = absl::StrCat(directory_, "/sha256-", examined.digest);
  for (const fs::path& below : fs::recursive_directory_iterator(incoming, error)) {
    if (fs::is_directory(below, error)) RETURN_IF_ERROR(SyncDirectory(below));
  }
  RETURN_IF_ERROR(SyncDirectory(incoming));
  copy.clear_files();
  for (const v1::ModelFile& file : examined.files) {
    v1::ModelFile& placed = *copy.add_files();
    placed = file;
    placed.set_path(absl::StrCat(place, file.path().substr(incoming.size())));
  }
  copy.set_path(found.directory ? place : copy.files(0).path());
  fs::rename(incoming, place, error);
  if (error == std::errc::file_exists || error == std::errc::directory_not_empty) {
    // Left by an earlier import. It is as good as the new copy only if every byte is right.
    ASSIGN_OR_RETURN(const Examination there, Examine(copy, ImportRoots({}), go_on));
    error.clear();
    if (!there.issues.empty()) {
      fs::remove_all(place, error);
      fs::rename(incoming, place, error);
    }
  }
  if (error) return Failed("rename", incoming, error.message());
  RETURN_IF_ERROR(SyncDirectory(directory_));
  copy.set_digest(examined.digest);
  copy.set_size(found.size);
  copy.set_stored(true);
  return copy;
}

absl::StatusOr<int64_t> Storage::Remove(const v1::Model& model) const {
  const std::string place = absl::StrCat(directory_, "/sha256-", model.digest());
  if (!model.stored() || model.digest().empty() || !(model.path() + "/").starts_with(place + "/")) return 0;
  std::error_code error;
  fs::remove_all(place, error);
  if (error) return Failed("remove", place, error.message());
  return model.size();
}

void Storage::Sweep() const {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory_, error)) {
    if (!entry.path().filename().string().starts_with(kIncoming)) continue;
    std::error_code ignored;
    fs::remove_all(entry.path(), ignored);
  }
}

}  // namespace aima::model
