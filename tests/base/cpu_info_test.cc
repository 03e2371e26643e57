// What is detected of this machine, and a simulated container.
#include "base/cpu_info.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"
#include "tests/temporary.h"

namespace pagoda {
namespace {

TEST(CpuInfo, ThisMachine) {
  const CpuInfo cpu = detect_cpu();
  EXPECT_GE(cpu.usable_cores, 1);
  EXPECT_GT(cpu.memory_bytes, 0);
  EXPECT_GT(cpu.memory_available, 0);
  EXPECT_GE(cpu.l1d_bytes, 8 << 10);
  EXPECT_TRUE(isa_supported(Isa::kReference, cpu));
}

TEST(CpuInfo, NamesRoundTrip) {
  for (const char* name : {"reference", "portable", "avx2", "avx512", "avx512_bf16", "amx"}) {
    EXPECT_STREQ(isa_name(parse_isa(name)), name);
  }
  EXPECT_THROW(parse_isa("sse9"), Error);
}

TEST(CpuInfo, ContainerLimitsOfASimulatedMachine) {
  const std::string root = pagoda::testing::temporary_path("cpu");
  make_directories(root + "/sys/fs/cgroup");
  make_directories(root + "/proc");
  write_file_atomic(root + "/sys/fs/cgroup/cpu.max", "150000 100000\n");
  write_file_atomic(root + "/sys/fs/cgroup/memory.max", "1073741824\n");
  write_file_atomic(root + "/sys/fs/cgroup/memory.current", "73741824\n");
  write_file_atomic(root + "/proc/meminfo", "MemTotal:  8388608 kB\nMemFree: 1 kB\nMemAvailable:  4194304 kB\n");
  const CpuInfo cpu = detect_cpu(root);
  EXPECT_DOUBLE_EQ(cpu.quota_cores, 1.5);
  EXPECT_LE(cpu.usable_cores, 2);
  EXPECT_EQ(cpu.memory_limit, 1073741824);
  EXPECT_EQ(cpu.memory_available, 1000000000);
}

TEST(CpuInfo, GroupsAboveAndOfTheFirstKindCountToo) {
  const std::string root = pagoda::testing::temporary_path("groups"), group = root + "/sys/fs/cgroup/a/b";
  make_directories(group);
  make_directories(root + "/proc/self");
  write_file_atomic(root + "/proc/meminfo", "MemTotal:  8388608 kB\nMemAvailable:  4194304 kB\n");
  write_file_atomic(root + "/proc/self/cgroup", "0::/a/b\n");
  write_file_atomic(group + "/memory.max", "max\n");
  write_file_atomic(root + "/sys/fs/cgroup/a/memory.max", "2000000000\n");
  write_file_atomic(root + "/sys/fs/cgroup/a/memory.current", "1500000000\n");
  write_file_atomic(root + "/sys/fs/cgroup/a/memory.stat", "anon 500000000\ninactive_file 900000000\n");
  EXPECT_EQ(detect_cpu(root).memory_limit, 2000000000);
  EXPECT_EQ(detect_cpu(root).memory_available, 1400000000);  // cached files are given back
  const std::string first = root + "/sys/fs/cgroup/memory/c";
  make_directories(first);
  write_file_atomic(root + "/proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/c\n0::/\n");
  write_file_atomic(root + "/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  write_file_atomic(first + "/memory.limit_in_bytes", "1000000000\n");
  write_file_atomic(first + "/memory.usage_in_bytes", "300000000\n");
  write_file_atomic(first + "/memory.stat", "inactive_file 1\ntotal_inactive_file 100000000\n");
  EXPECT_EQ(detect_cpu(root).memory_limit, 1000000000);
  EXPECT_EQ(detect_cpu(root).memory_available, 800000000);
}

}  // namespace
}  // namespace pagoda
