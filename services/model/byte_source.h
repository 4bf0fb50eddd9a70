// Bounded reads of files that are not trusted.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "libs/base/status_macros.h"

namespace aima::model {

// Bytes at offsets, with a name for errors. A read past the end is an error of the file, never of the reader.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual const std::string& name() const = 0;
  virtual uint64_t size() const = 0;
  // Fills `to` with the `count` bytes at `offset`, all of them.
  virtual absl::Status ReadAt(uint64_t offset, char* to, size_t count) const = 0;
};

// MODEL_FILE_CORRUPT that names the file, the place and what is wrong there.
absl::Status Corrupt(const ByteSource& source, uint64_t offset, std::string_view what);

// A regular file that stays open: what was checked is what is read, whatever happens to its path.
class FileBytes : public ByteSource {
 public:
  // Opens a path with no symbolic link at its end. MODEL_PATH_REFUSED for anything but a regular file.
  static absl::StatusOr<std::unique_ptr<FileBytes>> Open(const std::string& path);
  ~FileBytes() override;

  const std::string& name() const override { return path_; }
  uint64_t size() const override { return size_; }
  absl::Status ReadAt(uint64_t offset, char* to, size_t count) const override;

  int descriptor() const { return descriptor_; }
  // Where the open file is now, whatever links led to it.
  absl::StatusOr<std::string> RealPath() const;

 private:
  FileBytes(std::string path, int descriptor, uint64_t size)
      : path_(std::move(path)), descriptor_(descriptor), size_(size) {}

  const std::string path_;
  const int descriptor_;
  const uint64_t size_;
};

// Bytes in memory, for fuzzing.
class MemoryBytes : public ByteSource {
 public:
  MemoryBytes(std::string name, std::string_view bytes) : name_(std::move(name)), bytes_(bytes) {}
  const std::string& name() const override { return name_; }
  uint64_t size() const override { return bytes_.size(); }
  absl::Status ReadAt(uint64_t offset, char* to, size_t count) const override;

 private:
  const std::string name_;
  const std::string_view bytes_;
};

// Reads forward through a part of a source with a small buffer. Every read is checked against the end of that part.
class Cursor {
 public:
  Cursor(const ByteSource& source, uint64_t begin, uint64_t end);

  uint64_t offset() const { return offset_; }
  uint64_t remaining() const { return end_ - offset_; }

  // `what` names the thing that is read, for errors: "the length of key 3".
  absl::Status Read(void* to, size_t count, std::string_view what);
  absl::Status Skip(uint64_t count, std::string_view what);

  // A little-endian number.
  template <class T>
  absl::StatusOr<T> Number(std::string_view what) {
    T value;
    RETURN_IF_ERROR(Read(&value, sizeof value, what));
    return value;
  }

  // The next `count` bytes, at most as many as are left.
  absl::StatusOr<std::string> Text(uint64_t count, std::string_view what);

 private:
  absl::Status CheckLeft(uint64_t count, std::string_view what) const;

  const ByteSource& source_;
  uint64_t offset_;
  const uint64_t end_;
  std::string buffer_;
  uint64_t buffer_at_ = 0;
};

// Text of a file made fit to be shown and stored: valid UTF-8 without control characters, at most `max` bytes.
std::string CleanText(std::string_view text, size_t max);

// a × b, and a + b; false if it does not fit.
inline bool Multiply(uint64_t a, uint64_t b, uint64_t& product) { return !__builtin_mul_overflow(a, b, &product); }
inline bool Add(uint64_t a, uint64_t b, uint64_t& sum) { return !__builtin_add_overflow(a, b, &sum); }

}  // namespace aima::model
