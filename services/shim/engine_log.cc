#include "services/shim/engine_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

namespace aima::shim {

EngineLog::~EngineLog() {
  CloseWriter();
  if (reader_ >= 0) close(reader_);
  if (file_ >= 0) close(file_);
}

bool EngineLog::Open() {
  OpenFile();
  int ends[2];
  if (file_ < 0 || pipe2(ends, O_CLOEXEC) != 0) return false;
  reader_ = ends[0];
  writer_ = ends[1];
  // Only this end: an engine that found its output non-blocking would lose lines.
  return fcntl(reader_, F_SETFL, O_NONBLOCK) == 0;
}

void EngineLog::CloseWriter() {
  if (writer_ >= 0) close(writer_);
  writer_ = -1;
}

void EngineLog::OpenFile() {
  file_ = open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  struct stat info {};
  size_ = file_ >= 0 && fstat(file_, &info) == 0 ? info.st_size : 0;
}

void EngineLog::Drain() {
  // Not on the stack, not on the heap: the pages cost nothing until they are used.
  static char buffer[16 << 10];
  while (reader_ >= 0) {
    const ssize_t count = read(reader_, buffer, sizeof(buffer));
    if (count > 0) {
      Append(buffer, static_cast<size_t>(count));
    } else if (count < 0 && errno == EINTR) {
      continue;
    } else if (count < 0 && errno == EAGAIN) {
      return;
    } else {
      close(reader_);
      reader_ = -1;
    }
  }
}

void EngineLog::Append(const char* data, size_t size) {
  if (size_ > 0 && size_ + static_cast<off_t>(size) > limit_) {
    if (file_ >= 0) close(file_);
    rename(path_.c_str(), (path_ + ".1").c_str());
    OpenFile();
  }
  if (file_ < 0) OpenFile();
  while (file_ >= 0 && size > 0) {
    const ssize_t count = write(file_, data, size);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    data += count;
    size -= static_cast<size_t>(count);
    size_ += count;
  }
}

}  // namespace aima::shim
