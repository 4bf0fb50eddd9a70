// What the NVML of the tests answers. fake_nvml.cc is built as a library of its own and loaded as the real one is.
#pragma once

#include <cstring>

namespace aima::device {

struct FakeGpu {
  const char* name = "NVIDIA H100 80GB HBM3";
  const char* uuid = "GPU-5e0f9c1a-7d2b-4c6e-9f10-a1b2c3d4e5f6";
  unsigned pci_domain = 0;
  unsigned pci_bus = 1;
  int capability_major = 9;
  int capability_minor = 0;
  int memory_answer = 0;
  unsigned long long memory_total = 85899345920ull;
  unsigned long long memory_used = 1073741824ull;
  unsigned utilization = 42;
  unsigned temperature = 45;
  unsigned slowdown = 90;
  unsigned shutdown = 95;
  bool has_power_limit = true;
  unsigned power_mw = 120500;
  unsigned limit_mw = 700000;
  unsigned min_limit_mw = 200000;
  unsigned max_limit_mw = 700000;
  unsigned long long throttle_reasons = 1;  // idle
  unsigned long long ecc_uncorrected = 0;
  unsigned remap_pending = 0;
  unsigned remap_failed = 0;
  int answer = 0;            // result of every call about this GPU, such as 15 for one that is lost
  int set_limit_answer = 0;  // result of setting the power limit
};

struct FakeNvml {
  int init_answer = 0;
  int inits = 0;
  int shutdowns = 0;
  unsigned count = 1;
  FakeGpu gpus[4];
};

// The symbol through which a test reaches the state of the loaded library.
inline constexpr char kFakeNvmlState[] = "aima_fake_nvml_state";

}  // namespace aima::device
