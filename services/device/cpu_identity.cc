#include "services/device/cpu_identity.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <map>
#include <utility>

namespace aima::device {
namespace {

// Instruction sets that inference engines choose their code by, under the names that Linux gives them.
constexpr std::string_view kX86Flags[] = {
    "sse4_2", "f16c", "fma", "avx", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni",
    "avx512_bf16", "avx512_fp16", "avx_ne_convert", "amx_tile", "amx_int8", "amx_bf16", "amx_fp16"};
constexpr std::string_view kArmFeatures[] = {"asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve",
                                             "sve2",  "svei8mm", "svebf16", "sme",  "sme2"};

std::string_view ArmVendor(int64_t implementer) {
  switch (implementer) {
    case 0x41: return "Arm";
    case 0x48: return "HiSilicon";
    case 0x4e: return "NVIDIA";
    case 0x51: return "Qualcomm";
    case 0x61: return "Apple";
    case 0xc0: return "Ampere";
    default: return "";
  }
}

std::string ArmCore(int64_t implementer, int64_t part) {
  static constexpr struct { int64_t implementer, part; const char* name; } kCores[] = {
      {0x41, 0xd03, "Cortex-A53"},  {0x41, 0xd05, "Cortex-A55"},  {0x41, 0xd08, "Cortex-A72"},
      {0x41, 0xd0b, "Cortex-A76"},  {0x41, 0xd0c, "Neoverse N1"}, {0x41, 0xd40, "Neoverse V1"},
      {0x41, 0xd41, "Cortex-A78"},  {0x41, 0xd42, "Cortex-A78AE"}, {0x41, 0xd49, "Neoverse N2"},
      {0x41, 0xd4f, "Neoverse V2"}, {0x41, 0xd84, "Neoverse V3"}, {0x41, 0xd85, "Cortex-X925"},
      {0x41, 0xd87, "Cortex-A725"}, {0xc0, 0xac3, "AmpereOne"}};
  for (const auto& core : kCores) {
    if (core.implementer == implementer && core.part == part) return core.name;
  }
  char text[48];
  snprintf(text, sizeof(text), "Arm core 0x%02x:0x%03x", static_cast<int>(implementer), static_cast<int>(part));
  return text;
}

int64_t ParseHex(std::string_view text) { return strtoll(std::string(text).c_str(), nullptr, 16); }

template <size_t n>
void AddCapabilities(std::string_view present, const std::string_view (&wanted)[n], v1::Device& device) {
  const std::vector<std::string_view> flags = Words(present);
  for (std::string_view flag : wanted) {
    if (std::find(flags.begin(), flags.end(), flag) != flags.end()) device.add_capabilities(std::string(flag));
  }
}

// Cores of several kinds in one machine are all named: "10x Cortex-X925 + 10x Cortex-A725".
void ReadArm(std::string_view cpuinfo, v1::Device& device) {
  device.set_architecture("aarch64");
  std::vector<std::pair<std::string, int>> kinds;
  int64_t implementer = 0;
  for (std::string_view line : Lines(cpuinfo)) {
    if (const auto value = FindValue(line, "CPU implementer")) implementer = ParseHex(*value);
    const auto part = FindValue(line, "CPU part");
    if (!part) continue;
    const std::string name = ArmCore(implementer, ParseHex(*part));
    const auto kind = std::find_if(kinds.begin(), kinds.end(), [&](const auto& k) { return k.first == name; });
    if (kind == kinds.end()) {
      kinds.emplace_back(name, 1);
    } else {
      kind->second += 1;
    }
  }
  const std::string_view vendor = ArmVendor(implementer);
  device.set_vendor(vendor.empty() ? "Arm" : std::string(vendor));
  std::string name;
  for (const auto& [kind, count] : kinds) {
    absl::StrAppend(&name, name.empty() ? "" : " + ", kinds.size() > 1 ? absl::StrCat(count, "x ") : "", kind);
  }
  device.set_name(name);
  AddCapabilities(FindValue(cpuinfo, "Features").value_or(""), kArmFeatures, device);
}

void ReadX86(std::string_view cpuinfo, v1::Device& device) {
  const std::string_view maker = FindValue(cpuinfo, "vendor_id").value_or("");
  device.set_architecture(FindValue(cpuinfo, "flags").value_or("").find(" lm ") != std::string_view::npos ? "x86_64"
                                                                                                         : "x86");
  device.set_vendor(maker == "GenuineIntel"   ? "Intel"
                    : maker == "AuthenticAMD" ? "AMD"
                    : maker == "HygonGenuine" ? "Hygon"
                                              : std::string(maker));
  device.set_name(std::string(FindValue(cpuinfo, "model name").value_or("")));
  AddCapabilities(FindValue(cpuinfo, "flags").value_or(""), kX86Flags, device);
}

}  // namespace

void ReadCpuIdentity(const SystemFiles& files, v1::Device& device) {
  const std::string cpuinfo = files.Read("/proc/cpuinfo").value_or("");
  if (FindValue(cpuinfo, "vendor_id")) {
    ReadX86(cpuinfo, device);
  } else if (FindValue(cpuinfo, "CPU implementer")) {
    ReadArm(cpuinfo, device);
  } else if (const auto isa = FindValue(cpuinfo, "isa")) {
    device.set_architecture("riscv");
    device.set_name(std::string(FindValue(cpuinfo, "uarch").value_or(*isa)));
  }
  if (device.name().empty()) device.set_name("CPU");
}

v1::Host ReadHost(const SystemFiles& files) {
  v1::Host host;
  host.set_hostname(files.ReadLine("/proc/sys/kernel/hostname").value_or(""));
  host.set_kernel(files.ReadLine("/proc/sys/kernel/osrelease").value_or(""));
  std::string os(FindValue(files.Read("/etc/os-release").value_or(""), "PRETTY_NAME", '=').value_or("Linux"));
  os.erase(std::remove(os.begin(), os.end(), '"'), os.end());
  host.set_os(std::move(os));
  if (const auto product = files.ReadLine("/sys/class/dmi/id/product_name")) {
    const std::string maker = files.ReadLine("/sys/class/dmi/id/sys_vendor").value_or("");
    host.set_model(maker.empty() ? *product : absl::StrCat(maker, " ", *product));
  } else if (const auto model = files.ReadLine("/proc/device-tree/model")) {
    host.set_model(*model);
  }
  return host;
}

}  // namespace aima::device
