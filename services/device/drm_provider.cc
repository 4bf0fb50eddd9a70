#include "services/device/drm_provider.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <absl/time/clock.h>

#include <algorithm>
#include <cmath>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "services/device/cpu_provider.h"
#include "services/device/pci_names.h"

namespace aima::device {
namespace {

constexpr char kPci[] = "/sys/bus/pci/devices";
constexpr char kDrm[] = "/sys/class/drm";
constexpr char kKfdNodes[] = "/sys/class/kfd/kfd/topology/nodes";
constexpr int64_t kAmd = 0x1002;
constexpr int64_t kNvidia = 0x10de;
constexpr int64_t kIntel = 0x8086;
// Base classes of PCI: a display controller, a processing accelerator.
constexpr int64_t kDisplay = 0x03;
constexpr int64_t kAccelerator = 0x12;

std::string Dashed(std::string address) {
  for (char& c : address) c = c == ':' || c == '.' ? '-' : c;
  return address;
}

// card0, but not its connectors, such as card0-HDMI-A-1.
bool IsCard(const std::string& name) {
  return name.rfind("card", 0) == 0 && ParseInt(std::string_view(name).substr(4)).has_value();
}

// The generation of an AMD GPU as its compilers name it: 110000 is gfx1100, 90010 is gfx90a.
std::string GfxOf(int64_t version) {
  return absl::StrFormat("gfx%d%x%x", version / 10000, version / 100 % 100, version % 100);
}

}  // namespace

DrmProvider::DrmProvider(const SystemFiles& files, std::function<std::string()> nvml_problem)
    : files_(files), nvml_problem_(std::move(nvml_problem)) {}

std::vector<v1::Device> DrmProvider::Scan(const std::vector<v1::Device>& known) {
  std::vector<Card> cards;
  for (const std::string& address : files_.List(kPci)) {
    const bool taken = std::any_of(known.begin(), known.end(),
                                   [&](const v1::Device& device) { return device.pci_address() == address; });
    if (taken) continue;
    if (auto card = DescribePci(address)) cards.push_back(*std::move(card));
  }
  for (const std::string& name : files_.List(kDrm)) {
    if (!IsCard(name)) continue;
    std::optional<Card> card = DescribePlatform(name);
    if (!card) continue;
    // NVML of newer Jetsons tells of the same GPU, which has no place on a bus to know it by.
    const bool taken = std::any_of(known.begin(), known.end(), [&](const v1::Device& device) {
      return device.vendor() == card->device.vendor() && device.pci_address().empty();
    });
    if (!taken) cards.push_back(*std::move(card));
  }
  for (Card& card : cards) {
    if (const Card* old = Find(card.device.id())) {
      card.last_energy_uj = old->last_energy_uj;
      card.last_time = old->last_time;
    }
  }
  cards_ = std::move(cards);
  std::vector<v1::Device> devices;
  for (const Card& card : cards_) devices.push_back(card.device);
  return devices;
}

std::optional<DrmProvider::Card> DrmProvider::DescribePci(const std::string& address) {
  Card card;
  card.directory = absl::StrCat(kPci, "/", address);
  const int64_t base_class = files_.ReadHex(card.directory + "/class").value_or(0) >> 16;
  if (base_class != kDisplay && base_class != kAccelerator) return std::nullopt;
  const int64_t vendor = files_.ReadHex(card.directory + "/vendor").value_or(0);
  // Others that display, such as the controllers of server boards, do not compute.
  if (base_class == kDisplay && vendor != kAmd && vendor != kNvidia && vendor != kIntel) return std::nullopt;

  v1::Device& device = card.device;
  device.set_type(base_class == kDisplay ? v1::DEVICE_TYPE_GPU : v1::DEVICE_TYPE_NPU);
  const PciName name = LookUpPciName(files_, vendor, files_.ReadHex(card.directory + "/device").value_or(0));
  device.set_vendor(name.vendor);
  device.set_name(name.device);
  if (const auto told = files_.ReadLine(card.directory + "/product_name"); told && !told->empty()) {
    device.set_name(*told);
  }
  device.set_pci_address(address);
  device.set_id(absl::StrCat(name.slug, "-", Dashed(address)));
  device.set_driver(files_.LinkName(card.directory + "/driver").value_or(""));
  if (const auto node = files_.ReadInt(card.directory + "/numa_node"); node && *node >= 0) {
    device.set_numa_node(static_cast<int32_t>(*node));
  }
  for (const std::string& hwmon : files_.List(card.directory + "/hwmon")) {
    card.hwmon = absl::StrCat(card.directory, "/hwmon/", hwmon);
  }
  if (vendor == kAmd) DescribeAmd(card);
  DescribePower(card);
  *device.mutable_memory() = ReadMemory(card);
  return card;
}

std::optional<DrmProvider::Card> DrmProvider::DescribePlatform(const std::string& card_name) {
  Card card;
  card.directory = absl::StrCat(kDrm, "/", card_name, "/device");
  const std::string uevent = files_.Read(card.directory + "/uevent").value_or("");
  const std::string driver(FindValue(uevent, "DRIVER", '=').value_or(""));
  static constexpr struct { const char *driver, *vendor, *name; } kDrivers[] = {
      {"panfrost", "Arm", "Mali"},        {"panthor", "Arm", "Mali"},     {"lima", "Arm", "Mali"},
      {"msm", "Qualcomm", "Adreno"},      {"msm_dpu", "Qualcomm", "Adreno"}, {"v3d", "Broadcom", "VideoCore"},
      {"asahi", "Apple", "Apple GPU"},    {"gk20a", "NVIDIA", "Tegra GPU"}, {"nvgpu", "NVIDIA", "Tegra GPU"},
      {"pvrsrvkm", "Imagination", "PowerVR"}};
  for (const auto& known : kDrivers) {
    if (driver != known.driver) continue;
    card.device.set_type(v1::DEVICE_TYPE_GPU);
    card.device.set_vendor(known.vendor);
    card.device.set_name(absl::StrCat(known.vendor == std::string("Apple") ? "" : absl::StrCat(known.vendor, " "),
                                      known.name));
    card.device.set_id(absl::StrCat(driver, "-", card_name));
    card.device.set_driver(driver);
    *card.device.mutable_memory() = ReadSystemMemory(files_);
    card.device.mutable_memory()->set_unified(true);
    return card;
  }
  return std::nullopt;
}

void DrmProvider::DescribeAmd(Card& card) {
  v1::Device& device = card.device;
  if (const auto unique = files_.ReadLine(card.directory + "/unique_id"); unique && !unique->empty()) {
    device.set_uuid(*unique);
  }
  // KFD, the part of the driver that ROCm computes with, names a node by bus and function.
  unsigned domain = 0, bus = 0, slot = 0, function = 0;
  if (sscanf(device.pci_address().c_str(), "%x:%x:%x.%x", &domain, &bus, &slot, &function) != 4) return;
  const int64_t location = static_cast<int64_t>(bus << 8 | slot << 3 | function);
  for (const std::string& node : files_.List(kKfdNodes)) {
    const std::string properties = files_.Read(absl::StrCat(kKfdNodes, "/", node, "/properties")).value_or("");
    const auto property = [&](std::string_view key) {
      const auto value = FindValue(properties, key, ' ');
      return value ? ParseInt(*value).value_or(0) : 0;
    };
    if (property("simd_count") == 0 || property("location_id") != location || property("domain") != domain) continue;
    device.add_capabilities("rocm");
    if (const int64_t version = property("gfx_target_version"); version > 0) device.set_architecture(GfxOf(version));
  }
}

void DrmProvider::DescribePower(Card& card) {
  if (card.hwmon.empty()) return;
  // amdgpu calls it power1_cap, Intel's xe and i915 power1_max; both in microwatts.
  const std::string stem = card.hwmon + "/power1_";
  v1::PowerLimit limit;
  if (const auto cap = files_.ReadScaled(stem + "cap", 1e-6)) {
    limit.set_current_watts(*cap);
    if (const auto min = files_.ReadScaled(stem + "cap_min", 1e-6)) limit.set_min_watts(*min);
    if (const auto max = files_.ReadScaled(stem + "cap_max", 1e-6)) limit.set_max_watts(*max);
    if (const auto normal = files_.ReadScaled(stem + "cap_default", 1e-6)) limit.set_default_watts(*normal);
    // Parts that share a package's budget report a cap of which nothing can be set.
    limit.set_settable(limit.max_watts() > 0 && limit.max_watts() > limit.min_watts());
  } else if (const auto max = files_.ReadScaled(stem + "max", 1e-6)) {
    limit.set_current_watts(*max);
    // 0 where the card does not tell.
    if (const double rated = files_.ReadScaled(stem + "rated_max", 1e-6).value_or(0); rated > 0) {
      limit.set_max_watts(rated);
    }
    limit.set_settable(limit.has_max_watts());
  } else {
    return;
  }
  *card.device.mutable_power_limit() = std::move(limit);
  if (card.device.power_limit().settable()) card.device.add_capabilities("power_limit");
}

v1::Memory DrmProvider::ReadMemory(const Card& card) {
  v1::Memory memory;
  const auto total = files_.ReadInt(card.directory + "/mem_info_vram_total");
  if (total && *total > 0) {
    const int64_t used = files_.ReadInt(card.directory + "/mem_info_vram_used").value_or(0);
    memory.set_total(*total);
    memory.set_used(std::clamp<int64_t>(used, 0, *total));
    memory.set_available(*total - memory.used());
    return memory;
  }
  // Intel's integrated GPUs sit on the first bus; the memory of its cards is not told.
  const bool integrated = card.device.pci_address().find(":00:") == 4 && card.device.vendor() == "Intel";
  if (integrated) {
    memory = ReadSystemMemory(files_);
    memory.set_unified(true);
  }
  return memory;
}

bool DrmProvider::Asleep(const Card& card) {
  return files_.ReadLine(card.directory + "/power/runtime_status") == "suspended";
}

Reading DrmProvider::Read(const std::string& device_id) {
  Reading reading;
  Card* card = Find(device_id);
  if (card == nullptr || !files_.Exists(card->directory)) {
    if (card != nullptr) reading.memory = card->device.memory();
    reading.faults.push_back({"device_lost", v1::HEALTH_STATUS_CRITICAL,
                              "the device is no longer on its bus; look into the kernel log, and restart the machine"});
    return reading;
  }
  // NVIDIA's cards are here only if NVML does not tell of them.
  const bool nvidia_card = card->device.vendor() == "NVIDIA" && !card->device.pci_address().empty();
  if (card->device.driver().empty() || nvidia_card) {
    const std::string problem = nvidia_card ? nvml_problem_() : "";
    reading.faults.push_back(
        {"driver_missing", v1::HEALTH_STATUS_WARNING,
         absl::StrCat("the device cannot be used: ",
                      !problem.empty()                     ? problem
                      : card->device.driver().empty()      ? "no driver is loaded for it"
                                                           : "the maker's driver library (NVML) is not installed",
                      "; install the maker's driver and restart")});
  }
  // Reading sensors would wake a sleeping GPU, and keep it awake.
  if (Asleep(*card)) {
    reading.memory = card->device.memory();
    reading.utilization = 0;
    return reading;
  }
  reading.memory = ReadMemory(*card);
  if (const auto busy = files_.ReadInt(card->directory + "/gpu_busy_percent")) {
    reading.utilization = static_cast<double>(std::clamp<int64_t>(*busy, 0, 100));
  }
  ReadHwmon(*card, reading);
  return reading;
}

void DrmProvider::ReadHwmon(Card& card, Reading& reading) {
  if (card.hwmon.empty()) return;
  const std::string stem = card.hwmon + "/";
  // amdgpu: temp1 is the edge, temp2 the hottest spot, which is what slows the GPU down.
  for (int i = 1; i <= 2; ++i) {
    const std::string sensor = absl::StrCat(stem, "temp", i);
    const auto value = files_.ReadScaled(sensor + "_input", 0.001);
    if (!value) continue;
    reading.temperature = value;
    if (const auto crit = files_.ReadScaled(sensor + "_crit", 0.001); crit && *crit > 50) {
      reading.temperature_warning = *crit - 5;
      reading.temperature_critical = std::max(*crit, files_.ReadScaled(sensor + "_emergency", 0.001).value_or(0) - 2);
    }
  }
  reading.power = files_.ReadScaled(stem + "power1_average", 1e-6);
  if (!reading.power) reading.power = files_.ReadScaled(stem + "power1_input", 1e-6);
  if (!reading.power) {
    const auto energy = files_.ReadInt(stem + "energy1_input");
    const absl::Time now = absl::Now();
    const double seconds = absl::ToDoubleSeconds(now - card.last_time);
    if (energy && card.last_energy_uj && *energy >= *card.last_energy_uj && seconds > 0) {
      reading.power = static_cast<double>(*energy - *card.last_energy_uj) / 1e6 / seconds;
    }
    card.last_energy_uj = energy;
    card.last_time = now;
  }
  reading.power_limit = files_.ReadScaled(stem + "power1_cap", 1e-6);
  if (const auto hertz = files_.ReadScaled(stem + "freq1_input", 1e-6)) reading.frequency_mhz = hertz;
  const auto pwm = files_.ReadInt(stem + "pwm1");
  if (pwm) reading.fan = 100.0 * static_cast<double>(std::clamp<int64_t>(*pwm, 0, 255)) / 255.0;
}

DrmProvider::Card* DrmProvider::Find(const std::string& device_id) {
  for (Card& card : cards_) {
    if (card.device.id() == device_id) return &card;
  }
  return nullptr;
}

absl::StatusOr<double> DrmProvider::SetPowerLimit(const std::string& device_id, double watts) {
  Card* card = Find(device_id);
  const Metadata metadata = {{"device_id", device_id}};
  if (card == nullptr || !files_.Exists(card->directory)) {
    return Error(v1::DEVICE_UNAVAILABLE, absl::StrCat("device '", device_id, "' does not answer"), metadata);
  }
  if (!card->device.power_limit().settable()) {
    return Error(v1::POWER_LIMIT_UNSUPPORTED,
                 absl::StrCat("'", card->device.name(), "' (", device_id, ") offers no power limit"), metadata);
  }
  RETURN_IF_ERROR(CheckPowerRange(card->device, watts));
  const std::string stem = card->hwmon + "/power1_";
  const std::string file = stem + (files_.Exists(stem + "cap") ? "cap" : "max");
  const absl::Status written = files_.Write(file, absl::StrCat(std::llround(watts * 1e6)));
  if (!written.ok()) {
    const std::string message =
        absl::StrCat("the power limit of '", device_id, "' was not set: ", std::string(written.message()));
    return absl::IsPermissionDenied(written) ? Error(v1::POWER_LIMIT_DENIED, message, metadata)
                                             : Error(v1::POWER_LIMIT_NOT_APPLIED, message, metadata);
  }
  const double applied = files_.ReadScaled(file, 1e-6).value_or(watts);
  if (std::abs(applied - watts) > 1 + 0.02 * watts) {
    return Error(v1::POWER_LIMIT_NOT_APPLIED,
                 absl::StrFormat("'%s' was told to draw %g W at most, but reports a limit of %g W", device_id, watts,
                                 applied), metadata);
  }
  card->device.mutable_power_limit()->set_current_watts(applied);
  return applied;
}

}  // namespace aima::device
