#include "services/resource/machine.h"

#include <absl/strings/str_cat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <string_view>
#include <thread>
#include <vector>

#include "libs/errors/errors.h"

namespace aima::resource {
namespace {

// Sum of the named lines of a file of lines such as `MemTotal:  24684112 kB`, in bytes; -1 if none is there.
int64_t SumOfLines(const std::string& path, std::initializer_list<std::string_view> names) {
  std::ifstream file(path);
  int64_t sum = -1;
  for (std::string name, line; file >> name && std::getline(file, line);) {
    if (std::find(names.begin(), names.end(), name) == names.end()) continue;
    sum = std::max<int64_t>(sum, 0) + std::strtoll(line.c_str(), nullptr, 10) * 1024;
  }
  return sum;
}

// nvidia0, nvidia1 … but not nvidiactl.
bool IsGpu(const std::string& device) {
  constexpr std::string_view kPrefix = "nvidia";
  return device.starts_with(kPrefix) && device.size() > kPrefix.size() &&
         std::all_of(device.begin() + kPrefix.size(), device.end(),
                     [](unsigned char c) { return std::isdigit(c); });
}

// What a directory holds; nothing if it cannot be read, as when its process has ended.
std::vector<std::filesystem::path> EntriesOf(const std::string& directory) {
  std::vector<std::filesystem::path> entries;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    entries.push_back(entry->path());
  }
  return entries;
}

}  // namespace

absl::StatusOr<Usage> Machine::Memory() const {
  const std::string path = proc_ + "/meminfo";
  Usage memory;
  memory.total = SumOfLines(path, {"MemTotal:"});
  memory.available = SumOfLines(path, {"MemAvailable:"});
  if (memory.total <= 0 || memory.available < 0) {
    return Error(unit::v1::INTERNAL_ERROR, absl::StrCat(path, " does not tell MemTotal and MemAvailable"));
  }
  return memory;
}

absl::StatusOr<Usage> Machine::Storage(const std::string& path) const {
  struct statvfs stat;
  if (statvfs(path.c_str(), &stat) != 0) {
    return Error(unit::v1::INTERNAL_ERROR, absl::StrCat("cannot tell the size of ", path, ": ", strerror(errno)));
  }
  const auto block = static_cast<int64_t>(stat.f_frsize);
  return Usage{.total = static_cast<int64_t>(stat.f_blocks) * block,
               .available = static_cast<int64_t>(stat.f_bavail) * block};
}

int64_t Machine::MemoryOfProcess(int64_t pid) const {
  const std::string process = absl::StrCat(proc_, "/", pid);
  int64_t memory = std::max<int64_t>(0, SumOfLines(process + "/status", {"RssAnon:", "RssShmem:"}));
  for (const auto& thread : EntriesOf(process + "/task")) {
    std::ifstream children(thread / "children");
    for (int64_t child; children >> child;) memory += MemoryOfProcess(child);
  }
  return memory;
}

int64_t Machine::CpuMilli() const { return int64_t{1000} * std::max(1u, std::thread::hardware_concurrency()); }

int64_t Machine::GpuMilli() const {
  const auto devices = EntriesOf(dev_);
  return 1000 * std::count_if(devices.begin(), devices.end(),
                              [](const auto& device) { return IsGpu(device.filename()); });
}

}  // namespace aima::resource
