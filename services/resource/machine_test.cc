#include "services/resource/machine.h"

#include <unistd.h>

#include "services/resource/testbed.h"

namespace aima::resource {
namespace {

TEST(MachineTest, TheRealMachineTellsWhatItHas) {
  const Machine machine;
  const auto memory = machine.Memory();
  ASSERT_THAT(memory, IsOk());
  EXPECT_GT(memory->available, 0);
  EXPECT_GT(memory->total, memory->available);
  EXPECT_GT(machine.MemoryOfProcess(getpid()), 0);
  EXPECT_EQ(machine.MemoryOfProcess(4194304), 0);
  EXPECT_EQ(machine.CpuMilli() % 1000, 0);
  EXPECT_GT(machine.Storage("/").value().total, 0);
}

TEST(MachineTest, DescendantsBelongToTheirProcess) {
  MachineFiles files;
  files.SetProcess(10, 1, "11 12 ");
  files.SetProcess(11, 2, "13");
  files.SetProcess(12, 4);
  files.SetProcess(13, 8);
  files.SetProcess(14, 16);
  EXPECT_EQ(Machine(files.path()).MemoryOfProcess(10), 15 * kMiB);
}

TEST(MachineTest, ControlDevicesAreNotGpus) {
  MachineFiles files;
  files.AddGpu(0);
  files.AddGpu(15);
  for (const char* other : {"nvidiactl", "nvidia-uvm", "nvidia", "null"}) files.Write(other, "");
  EXPECT_EQ(Machine(files.path(), files.path()).GpuMilli(), 2000);
}

TEST(MachineTest, AnUnreadableMachineIsAnError) {
  MachineFiles files;
  files.Write("meminfo", "MemFree: 12 kB\n");
  EXPECT_THAT(Machine(files.path()).Memory(), FailsWith(unit::v1::INTERNAL_ERROR, "meminfo"));
  EXPECT_THAT(Machine().Storage("/no/such/place"), FailsWith(unit::v1::INTERNAL_ERROR, "/no/such/place"));
}

}  // namespace
}  // namespace aima::resource
