#include "services/model/byte_source.h"

#include <absl/strings/str_cat.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>

#include "aima/model/v1/model.pb.h"
#include "libs/errors/errors.h"

namespace aima::model {

static_assert(std::endian::native == std::endian::little, "model files are little-endian and read as they are");

namespace {

constexpr size_t kBufferSize = 64 * 1024;

// Length of the valid UTF-8 sequence at `at`, 0 if there is none.
size_t SequenceLength(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(at);
  const size_t length = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 0;
  if (length == 0 || first > 0xf4 || at + length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xc0) != 0x80) return 0;
  }
  if (length < 3) return length;
  const unsigned char second = byte(at + 1);
  const bool overlong = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
  const bool surrogate = first == 0xed && second >= 0xa0;
  const bool beyond = first == 0xf4 && second >= 0x90;
  return overlong || surrogate || beyond ? 0 : length;
}

}  // namespace

absl::Status Corrupt(const ByteSource& source, uint64_t offset, std::string_view what) {
  return Error(v1::MODEL_FILE_CORRUPT,
               absl::StrCat("'", source.name(), "' is corrupt at byte ", offset, " of ", source.size(), ": ",
                            absl::string_view(what.data(), what.size())),
               {{"path", source.name()}, {"offset", absl::StrCat(offset)}, {"size", absl::StrCat(source.size())}});
}

absl::StatusOr<std::unique_ptr<FileBytes>> FileBytes::Open(const std::string& path) {
  // Without O_NONBLOCK, opening a FIFO would wait for a writer.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  if (descriptor < 0) {
    const int error = errno;
    const std::string why = absl::StrCat("cannot open '", path, "': ", strerror(error));
    if (error == ELOOP || error == EACCES || error == EPERM || error == ENXIO) {
      return Error(v1::MODEL_PATH_REFUSED, why, {{"path", path}});
    }
    return Error(v1::MODEL_FILE_NOT_FOUND, why, {{"path", path}});
  }
  struct stat info;
  if (::fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(descriptor);
    return Error(v1::MODEL_PATH_REFUSED, absl::StrCat("'", path, "' is not a regular file"), {{"path", path}});
  }
  return std::unique_ptr<FileBytes>(new FileBytes(path, descriptor, static_cast<uint64_t>(info.st_size)));
}

FileBytes::~FileBytes() { ::close(descriptor_); }

absl::Status FileBytes::ReadAt(uint64_t offset, char* to, size_t count) const {
  while (count > 0) {
    const ssize_t got = ::pread(descriptor_, to, count, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Corrupt(*this, offset, absl::StrCat("cannot be read: ", strerror(errno)));
    if (got == 0) return Corrupt(*this, offset, "the file ends here, although it was longer when it was opened");
    offset += static_cast<uint64_t>(got);
    to += got;
    count -= static_cast<size_t>(got);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> FileBytes::RealPath() const {
  std::string target(4096, '\0');
  const std::string link = absl::StrCat("/proc/self/fd/", descriptor_);
  const ssize_t length = ::readlink(link.c_str(), target.data(), target.size());
  if (length <= 0 || static_cast<size_t>(length) == target.size()) {
    return Error(v1::MODEL_PATH_REFUSED, absl::StrCat("cannot tell where '", path_, "' is"), {{"path", path_}});
  }
  target.resize(static_cast<size_t>(length));
  return target;
}

absl::Status MemoryBytes::ReadAt(uint64_t offset, char* to, size_t count) const {
  if (offset > bytes_.size() || count > bytes_.size() - offset) return Corrupt(*this, offset, "read past the end");
  std::memcpy(to, bytes_.data() + offset, count);
  return absl::OkStatus();
}

Cursor::Cursor(const ByteSource& source, uint64_t begin, uint64_t end)
    : source_(source), offset_(begin), end_(std::max(begin, std::min(end, source.size()))) {}

absl::Status Cursor::CheckLeft(uint64_t count, std::string_view what) const {
  if (count <= remaining()) return absl::OkStatus();
  return Corrupt(source_, offset_, absl::StrCat(absl::string_view(what.data(), what.size()), " takes ", count,
                                                " bytes, but only ", remaining(), " are left"));
}

absl::Status Cursor::Read(void* to, size_t count, std::string_view what) {
  RETURN_IF_ERROR(CheckLeft(count, what));
  char* out = static_cast<char*>(to);
  while (count > 0) {
    if (offset_ < buffer_at_ || offset_ >= buffer_at_ + buffer_.size()) {
      buffer_.resize(std::min<uint64_t>(kBufferSize, remaining()));
      buffer_at_ = offset_;
      if (absl::Status status = source_.ReadAt(offset_, buffer_.data(), buffer_.size()); !status.ok()) {
        buffer_.clear();
        return status;
      }
    }
    const size_t from = offset_ - buffer_at_;
    const size_t piece = std::min(count, buffer_.size() - from);
    std::memcpy(out, buffer_.data() + from, piece);
    out += piece;
    offset_ += piece;
    count -= piece;
  }
  return absl::OkStatus();
}

absl::Status Cursor::Skip(uint64_t count, std::string_view what) {
  RETURN_IF_ERROR(CheckLeft(count, what));
  offset_ += count;
  return absl::OkStatus();
}

absl::StatusOr<std::string> Cursor::Text(uint64_t count, std::string_view what) {
  RETURN_IF_ERROR(CheckLeft(count, what));
  std::string text(count, '\0');
  RETURN_IF_ERROR(Read(text.data(), text.size(), what));
  return text;
}

std::string CleanText(std::string_view text, size_t max) {
  std::string clean;
  for (size_t at = 0; at < text.size();) {
    const size_t length = SequenceLength(text, at);
    std::string_view piece = length == 0 ? std::string_view("?") : text.substr(at, length);
    if (length == 1 && (text[at] < 0x20 || text[at] == 0x7f)) piece = " ";
    if (clean.size() + piece.size() > max) break;
    clean += piece;
    at += std::max<size_t>(length, 1);
  }
  return clean;
}

}  // namespace aima::model
