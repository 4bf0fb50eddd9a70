// The engine's output on its way into a file of bounded size.
#pragma once

#include <sys/types.h>

#include <string>

namespace aima::shim {

// Owns the reading end of the pipe that the engine writes to. Never makes the engine wait for longer than a write to
// the file takes: what a full disk does not take is dropped.
class EngineLog {
 public:
  EngineLog(std::string path, off_t limit) : path_(std::move(path)), limit_(limit) {}
  ~EngineLog();
  EngineLog(const EngineLog&) = delete;

  // Opens the file and makes the pipe; false with errno.
  bool Open();
  // For the engine; closed by CloseWriter once it has it.
  int writer() const { return writer_; }
  void CloseWriter();

  // To be polled for reading; -1 when everything that could write has ended.
  int reader() const { return reader_; }
  // Moves what is there into the file.
  void Drain();

 private:
  void Append(const char* data, size_t size);
  void OpenFile();

  const std::string path_;
  const off_t limit_;
  int reader_ = -1;
  int writer_ = -1;
  int file_ = -1;
  off_t size_ = 0;
};

}  // namespace aima::shim
