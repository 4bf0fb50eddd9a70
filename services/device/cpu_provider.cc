#include "services/device/cpu_provider.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <absl/time/clock.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "services/device/cpu_identity.h"
#include "services/device/cpu_topology.h"

namespace aima::device {
namespace {

constexpr char kHwmon[] = "/sys/class/hwmon";
constexpr char kThermal[] = "/sys/class/thermal";
constexpr char kCpus[] = "/sys/devices/system/cpu";
// Enough for a mean; reading a clock disturbs its core.
constexpr size_t kMaxFrequencyFiles = 8;

int64_t Kilobytes(std::string_view meminfo, std::string_view key) {
  const auto value = FindValue(meminfo, key);
  if (!value) return -1;
  return ParseInt(value->substr(0, value->find(' '))).value_or(-1);
}

// What a line of /proc/pressure says of the last ten seconds: "some avg10=1.23 avg60=…".
std::optional<double> PressureOf(std::string_view pressure, std::string_view kind) {
  for (std::string_view line : Lines(pressure)) {
    const std::vector<std::string_view> words = Words(line);
    if (words.size() < 2 || words[0] != kind || words[1].substr(0, 6) != "avg10=") continue;
    return strtod(std::string(words[1].substr(6)).c_str(), nullptr);
  }
  return std::nullopt;
}

}  // namespace

v1::Memory ReadSystemMemory(const SystemFiles& files) {
  const std::string meminfo = files.Read("/proc/meminfo", 4096).value_or("");
  v1::Memory memory;
  const int64_t total = std::max<int64_t>(0, Kilobytes(meminfo, "MemTotal"));
  int64_t available = Kilobytes(meminfo, "MemAvailable");
  if (available < 0) available = std::max<int64_t>(0, Kilobytes(meminfo, "MemFree"));
  memory.set_total(total * 1024);
  memory.set_available(std::min(total, available) * 1024);
  memory.set_used(memory.total() - memory.available());
  return memory;
}

std::optional<CpuProvider::Disk> ReadDisk(const std::string& path) {
  std::error_code ignored;
  std::filesystem::path existing(path);
  while (existing.has_relative_path() && !std::filesystem::exists(existing, ignored)) {
    existing = existing.parent_path();
  }
  struct statvfs info;
  if (statvfs(existing.c_str(), &info) != 0 || info.f_blocks == 0) return std::nullopt;
  const auto block = static_cast<int64_t>(info.f_frsize);
  return CpuProvider::Disk{existing.string(), static_cast<int64_t>(info.f_blocks) * block,
                           static_cast<int64_t>(info.f_bavail) * block};
}

CpuProvider::CpuProvider(const SystemFiles& files, DiskReader disk)
    : files_(files), disk_(std::move(disk)), rapl_(files) {}

std::vector<v1::Device> CpuProvider::Scan(const std::vector<v1::Device>&) {
  if (device_.id().empty()) Describe();
  rapl_.Find();
  FindSensors();
  v1::Device device = device_;
  *device.mutable_memory() = ReadSystemMemory(files_);
  if (auto limit = rapl_.Limit()) {
    *device.mutable_power_limit() = *std::move(limit);
    device.add_capabilities("power_limit");
  }
  return {device};
}

void CpuProvider::Describe() {
  device_.set_id(kCpuId);
  device_.set_type(v1::DEVICE_TYPE_CPU);
  ReadCpuIdentity(files_, device_);
  if (auto topology = ReadTopology(files_); topology.ok()) {
    *device_.mutable_topology() = *std::move(topology);
  } else {
    // hwloc knows every Linux; should it fail, the count of threads is still certain.
    device_.mutable_topology()->set_threads(0);
    for (const std::string& name : files_.List(kCpus)) {
      const bool cpu = name.rfind("cpu", 0) == 0 && ParseInt(std::string_view(name).substr(3));
      if (cpu) device_.mutable_topology()->set_threads(device_.topology().threads() + 1);
    }
  }
  const std::string cpufreq = absl::StrCat(kCpus, "/cpufreq");
  std::vector<std::string> policies;
  for (const std::string& name : files_.List(cpufreq)) {
    const std::string file = absl::StrCat(cpufreq, "/", name, "/scaling_cur_freq");
    if (name.rfind("policy", 0) == 0 && files_.Exists(file)) policies.push_back(file);
  }
  const size_t step = std::max<size_t>(1, (policies.size() + kMaxFrequencyFiles - 1) / kMaxFrequencyFiles);
  for (size_t i = 0; i < policies.size(); i += step) frequency_files_.push_back(policies[i]);
  // All threads of a package tell the same count, so one of each is enough.
  std::set<int64_t> packages;
  for (const std::string& name : files_.List(kCpus)) {
    const std::string cpu = absl::StrCat(kCpus, "/", name);
    const std::string file = cpu + "/thermal_throttle/package_throttle_count";
    if (!files_.Exists(file)) continue;
    const int64_t package = files_.ReadInt(cpu + "/topology/physical_package_id").value_or(0);
    if (packages.insert(package).second) throttle_files_.push_back(file);
  }
}

void CpuProvider::FindSensors() {
  sensors_.clear();
  for (const std::string& chip : files_.List(kHwmon)) {
    const std::string directory = absl::StrCat(kHwmon, "/", chip);
    const std::string name = files_.ReadLine(directory + "/name").value_or("");
    const bool intel = name == "coretemp";
    const bool amd = name == "k10temp" || name == "zenpower";
    if (!intel && !amd && name != "cpu_thermal" && name != "cpu") continue;
    std::vector<Sensor> found;
    for (int i = 1; i <= 16; ++i) {
      const std::string stem = absl::StrCat(directory, "/temp", i);
      if (!files_.Exists(stem + "_input")) continue;
      const std::string label = files_.ReadLine(stem + "_label").value_or("");
      // Of coretemp the whole package, of k10temp the real die rather than the offset one, where there is a choice.
      if (intel && label.rfind("Package", 0) != 0) continue;
      if (amd && label != "Tdie" && label != "Tctl") continue;
      if (label == "Tdie") found.clear();
      found.push_back({stem + "_input", files_.ReadScaled(stem + "_crit", 0.001)});
      if (label == "Tdie") break;
    }
    sensors_.insert(sensors_.end(), found.begin(), found.end());
  }
  if (sensors_.empty()) FindThermalZones();
}

void CpuProvider::FindThermalZones() {
  for (const std::string& zone : files_.List(kThermal)) {
    const std::string directory = absl::StrCat(kThermal, "/", zone);
    const std::string type = files_.ReadLine(directory + "/type").value_or("");
    if (type == "x86_pkg_temp" || type.find("cpu") != std::string::npos || type.find("CPU") != std::string::npos) {
      if (zone.rfind("thermal_zone", 0) == 0) sensors_.push_back({directory + "/temp"});
    }
  }
}

Reading CpuProvider::Read(const std::string&) {
  Reading reading;
  reading.memory = ReadSystemMemory(files_);
  ReadUtilization(reading);
  ReadTemperature(reading);
  ReadFrequency(reading);
  ReadThrottling(reading);
  reading.power = rapl_.Power(absl::Now());
  if (const auto limit = rapl_.Limit()) reading.power_limit = limit->current_watts();
  ReadFaults(reading);
  return reading;
}

void CpuProvider::ReadUtilization(Reading& reading) {
  const std::string stat = files_.Read("/proc/stat", 512).value_or("");
  const std::vector<std::string_view> words = Words(std::string_view(stat).substr(0, stat.find('\n')));
  if (words.size() < 5 || words[0] != "cpu") return;
  int64_t total = 0;
  int64_t idle = 0;
  // user nice system idle iowait irq softirq steal; what follows is counted in user already. Time stolen by a
  // hypervisor counts as busy: this machine cannot have it.
  for (size_t i = 1; i < std::min<size_t>(words.size(), 9); ++i) {
    const int64_t ticks = ParseInt(words[i]).value_or(0);
    total += ticks;
    if (i == 4 || i == 5) idle += ticks;
  }
  const int64_t total_delta = total - last_total_;
  const int64_t idle_delta = std::clamp<int64_t>(idle - last_idle_, 0, std::max<int64_t>(0, total_delta));
  if (last_total_ > 0 && total_delta > 0) {
    reading.utilization = 100.0 * static_cast<double>(total_delta - idle_delta) / static_cast<double>(total_delta);
  }
  last_total_ = total;
  last_idle_ = idle;
}

void CpuProvider::ReadTemperature(Reading& reading) {
  for (const Sensor& sensor : sensors_) {
    const std::optional<double> value = files_.ReadScaled(sensor.input, 0.001);
    if (!value || *value <= -40 || *value >= 250) continue;  // what a sensor that does not work says
    if (reading.temperature && *reading.temperature >= *value) continue;
    reading.temperature = value;
    // At `crit` processors slow down by themselves and stay whole: worth a warning. Above it cooling has failed.
    if (sensor.crit && *sensor.crit > 50) {
      reading.temperature_warning = *sensor.crit - 3;
      reading.temperature_critical = *sensor.crit + 5;
    }
  }
}

void CpuProvider::ReadFrequency(Reading& reading) {
  double sum = 0;
  int count = 0;
  for (const std::string& file : frequency_files_) {
    if (const auto mhz = files_.ReadScaled(file, 0.001)) {
      sum += *mhz;
      ++count;
    }
  }
  if (count > 0) reading.frequency_mhz = sum / count;
}

void CpuProvider::ReadThrottling(Reading& reading) {
  int64_t throttles = 0;
  for (const std::string& file : throttle_files_) throttles += files_.ReadInt(file).value_or(0);
  if (last_throttles_ && throttles > *last_throttles_) {
    reading.throttle_reasons.push_back("thermal");
    reading.faults.push_back({"throttled", v1::HEALTH_STATUS_WARNING,
                              "the processors are slowed down because they are too hot; improve cooling or lower "
                              "their power limit"});
  }
  last_throttles_ = throttles;
}

void CpuProvider::ReadFaults(Reading& reading) {
  const std::string pressure = files_.Read("/proc/pressure/memory", 512).value_or("");
  reading.memory_pressure = PressureOf(pressure, "some");
  if (!disk_) return;
  const std::optional<Disk> disk = disk_();
  if (!disk || disk->total <= 0) return;
  const double free = 100.0 * static_cast<double>(disk->available) / static_cast<double>(disk->total);
  const double gib = static_cast<double>(disk->available) / (1 << 30);
  // A share alone would blame large disks, a size alone small ones.
  const bool critical = free < 1 || gib < 0.5;
  if (!critical && (free >= 5 || gib >= 20)) return;
  reading.faults.push_back({"disk_full", critical ? v1::HEALTH_STATUS_CRITICAL : v1::HEALTH_STATUS_WARNING,
                            absl::StrFormat("the disk that holds %s has %.1f GiB left (%.1f %%); delete models or logs",
                                            disk->path, gib, free),
                            "disk_free_percent", free, critical ? 1.0 : 5.0});
}

absl::StatusOr<double> CpuProvider::SetPowerLimit(const std::string&, double watts) {
  const std::optional<v1::PowerLimit> limit = rapl_.Limit();
  if (!limit) {
    return Error(v1::POWER_LIMIT_UNSUPPORTED,
                 "the processors of this machine offer no power limit (no RAPL in /sys/class/powercap)",
                 {{"device_id", kCpuId}});
  }
  v1::Device device = device_;
  *device.mutable_power_limit() = *limit;
  RETURN_IF_ERROR(CheckPowerRange(device, watts));
  return rapl_.SetLimit(watts);
}

}  // namespace aima::device
