// The name under which a process holds leases.
#pragma once

#include <absl/status/statusor.h>

#include <string>

namespace aima::operations {

// A name that the next process with the same file has too, but no two at once: whoever finds leases under its own name
// knows that their holder is dead, and need not wait for them to run out. While another process has the file, a name of
// its own is made up.
class Owner {
 public:
  static absl::StatusOr<Owner> Take(const std::string& path);

  Owner(Owner&& other) noexcept;
  Owner& operator=(Owner&&) = delete;
  ~Owner();

  const std::string& name() const { return name_; }

 private:
  Owner(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}

  int fd_;  // holds the file's lock, which the kernel lets go when the process ends, however that happens
  std::string name_;
};

}  // namespace aima::operations
