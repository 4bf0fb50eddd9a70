#include "services/model/part_file.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libs/base/status_macros.h"
#include "services/model/disk.h"
#include "services/model/wish.h"

namespace aima::model {

namespace {

std::string JournalOf(const std::string& path) { return path + ".journal"; }

absl::Status WriteAll(int descriptor, std::string_view bytes, int64_t offset, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = offset < 0 ? ::write(descriptor, bytes.data(), bytes.size())
                                       : ::pwrite(descriptor, bytes.data(), bytes.size(), offset);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return DiskFailure("write", path, written < 0 ? errno : EIO);
    bytes.remove_prefix(static_cast<size_t>(written));
    if (offset >= 0) offset += written;
  }
  return absl::OkStatus();
}

// False if it cannot be read whole.
bool ReadAll(int descriptor, char* to, size_t size, int64_t offset) {
  while (size > 0) {
    const ssize_t read = ::pread(descriptor, to, size, offset);
    if (read < 0 && errno == EINTR) continue;
    if (read <= 0) return false;
    to += read;
    size -= static_cast<size_t>(read);
    offset += read;
  }
  return true;
}

std::string ReadText(int descriptor) {
  struct stat status {};
  std::string text;
  if (::fstat(descriptor, &status) != 0) return text;
  text.resize(static_cast<size_t>(status.st_size));
  if (!ReadAll(descriptor, text.data(), text.size(), 0)) text.clear();
  return text;
}

}  // namespace

PartFile::PartFile(std::string path, int64_t size, int64_t piece_size)
    : path_(std::move(path)),
      size_(size),
      piece_size_(piece_size),
      there_(static_cast<size_t>((size + piece_size - 1) / piece_size)) {}

PartFile::~PartFile() {
  if (file_ >= 0) ::close(file_);
  if (journal_ >= 0) ::close(journal_);
}

absl::StatusOr<std::shared_ptr<PartFile>> PartFile::Open(const std::string& path, int64_t size, int64_t piece_size,
                                                         const std::function<absl::Status()>& go_on) {
  std::shared_ptr<PartFile> part(new PartFile(path, size, piece_size));
  RETURN_IF_ERROR(part->OpenFiles());
  struct stat journal {};
  const bool fresh = ::fstat(part->journal_, &journal) != 0 || journal.st_size == 0;
  if (const absl::Status claimed = part->Claim(); !claimed.ok()) {
    if (fresh) Remove(path);  // what was claimed of it
    return claimed;
  }
  RETURN_IF_ERROR(part->ReadJournal(go_on));
  return part;
}

void PartFile::Remove(const std::string& path) {
  ::unlink(JournalOf(path).c_str());
  ::unlink(path.c_str());
}

int64_t PartFile::SizeOf(size_t piece) const {
  return std::min(piece_size_, size_ - static_cast<int64_t>(piece) * piece_size_);
}

absl::Status PartFile::OpenFiles() {
  file_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (file_ < 0) return DiskFailure("create", path_, errno);
  const std::string journal = JournalOf(path_);
  journal_ = ::open(journal.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0644);
  return journal_ < 0 ? DiskFailure("create", journal, errno) : absl::OkStatus();
}

absl::Status PartFile::Claim() const {
  struct stat status {};
  if (::fstat(file_, &status) != 0) return DiskFailure("read", path_, errno);
  if (status.st_size != size_ && ::ftruncate(file_, size_) != 0) return DiskFailure("write", path_, errno);
  if (size_ == 0) return absl::OkStatus();
  // What does not know how to claim room finds out while it writes.
  while (::fallocate(file_, 0, 0, size_) != 0) {
    if (errno == EINTR) continue;
    if (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL) break;
    return DiskFailure("claim room for", path_, errno);
  }
  return absl::OkStatus();
}

absl::Status PartFile::StartJournal() {
  there_.assign(there_.size(), false);
  if (::ftruncate(journal_, 0) != 0) return DiskFailure("write", JournalOf(path_), errno);
  return WriteAll(journal_, absl::StrCat("pieces of ", piece_size_, " of ", size_, "\n"), -1, JournalOf(path_));
}

absl::Status PartFile::ReadJournal(const std::function<absl::Status()>& go_on) {
  const std::string text = ReadText(journal_);
  const std::string head = absl::StrCat("pieces of ", piece_size_, " of ", size_, "\n");
  if (!text.starts_with(head)) return StartJournal();
  // The last line may be torn; later lines have to begin on one of their own.
  if (!text.ends_with('\n')) RETURN_IF_ERROR(WriteAll(journal_, "\n", -1, JournalOf(path_)));
  std::string bytes;
  for (const absl::string_view line : absl::StrSplit(text.substr(head.size()), '\n')) {
    const std::pair<absl::string_view, absl::string_view> entry = absl::StrSplit(line, absl::MaxSplits(' ', 1));
    uint64_t piece = 0;
    if (!absl::SimpleAtoi(entry.first, &piece) || piece >= there_.size() ||
        !IsHex(std::string_view(entry.second.data(), entry.second.size()), 64)) {
      continue;
    }
    RETURN_IF_ERROR(go_on());
    bytes.resize(static_cast<size_t>(SizeOf(piece)));
    there_[piece] = ReadAll(file_, bytes.data(), bytes.size(), static_cast<int64_t>(piece) * piece_size_) &&
                    HashText(bytes) == entry.second;
  }
  return absl::OkStatus();
}

absl::Status PartFile::Write(size_t piece, std::string_view bytes) const {
  const int64_t offset = static_cast<int64_t>(piece) * piece_size_;
  RETURN_IF_ERROR(WriteAll(file_, bytes, offset, path_));
  // Begins to write it out, so that the end need not wait for all of it.
  ::sync_file_range(file_, offset, static_cast<off64_t>(bytes.size()), SYNC_FILE_RANGE_WRITE);
  return WriteAll(journal_, absl::StrCat(piece, " ", HashText(bytes), "\n"), -1, JournalOf(path_));
}

absl::StatusOr<FileDigests> PartFile::Digest(bool git_id, const std::function<absl::Status()>& go_on) const {
  ASSIGN_OR_RETURN(const std::unique_ptr<FileBytes> file, FileBytes::Open(path_));
  return HashBlob(*file, git_id, go_on);
}

absl::Status PartFile::Commit(const std::string& path) const {
  if (::fsync(file_) != 0) return DiskFailure("write", path_, errno);
  if (::fchmod(file_, 0444) != 0) return DiskFailure("write", path_, errno);
  // Never another file that has got the same name meanwhile.
  struct stat mine {}, named {};
  if (::fstat(file_, &mine) != 0 || ::lstat(path_.c_str(), &named) != 0 || mine.st_ino != named.st_ino) {
    return DiskFailure("find", path_, ENOENT);
  }
  if (::rename(path_.c_str(), path.c_str()) != 0) return DiskFailure("rename", path_, errno);
  RETURN_IF_ERROR(SyncDirectory(path.substr(0, path.rfind('/'))));
  ::unlink(JournalOf(path_).c_str());
  return absl::OkStatus();
}

}  // namespace aima::model
