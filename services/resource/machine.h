// What the machine has and how much of it is in use.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>

namespace aima::resource {

// Bytes.
struct Usage {
  int64_t total = 0;
  int64_t available = 0;  // free to use, including what the system frees when it is asked for
  int64_t used() const { return total - available; }
};

// Reads the kernel's files. Cheap enough for an event loop; stateless.
class Machine {
 public:
  // `proc` and `dev` are where the kernel shows processes and devices; tests give recorded trees.
  explicit Machine(std::string proc = "/proc", std::string dev = "/dev")
      : proc_(std::move(proc)), dev_(std::move(dev)) {}

  absl::StatusOr<Usage> Memory() const;

  // The file system that holds `path`.
  absl::StatusOr<Usage> Storage(const std::string& path) const;

  // Memory of a process and its descendants that the system cannot take back; 0 if there is no such process. Pages
  // of mapped files do not count: they are available memory too.
  int64_t MemoryOfProcess(int64_t pid) const;

  // Thousandths of CPU cores, and of NVIDIA GPUs.
  int64_t CpuMilli() const;
  int64_t GpuMilli() const;

 private:
  const std::string proc_;
  const std::string dev_;
};

}  // namespace aima::resource
