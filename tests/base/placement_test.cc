// Placement on simulated machines: siblings, sockets, quotas, masks.
#include "base/placement.h"

#include <gtest/gtest.h>

#include <functional>

#include "base/error.h"
#include "base/file.h"
#include "tests/temporary.h"

namespace pagoda {
namespace {

struct Machine {
  std::string root;
  CpuInfo cpu() const { return detect_cpu(root); }
  Placement place(int threads = 0, int node = -1) const { return choose_placement(cpu(), numa_nodes(root), threads, node); }
  void write(const std::string& path, const std::string& text) const {
    make_directories(root + parent_path(path));
    write_file_atomic(root + path, text + "\n");
  }
};

// nodes x cores, `siblings` hardware threads each; logical cores are numbered as Linux does on servers: first one of every
// core, then the others. A socket a node.
Machine machine(const std::string& name, int nodes, int cores, int siblings) {
  Machine made{pagoda::testing::temporary_path("placement_" + name)};
  const int physical = nodes * cores, logical = physical * siblings;
  made.write("/proc/self/status", "Name:\tpagoda\nCpus_allowed_list:\t0-" + std::to_string(logical - 1));
  made.write("/sys/devices/system/cpu/online", "0-" + std::to_string(logical - 1));
  for (int id = 0; id < logical; ++id) {
    const std::string folder = "/sys/devices/system/cpu/cpu" + std::to_string(id) + "/topology";
    made.write(folder + "/core_id", std::to_string(id % physical % cores));
    made.write(folder + "/physical_package_id", std::to_string(id % physical / cores));
  }
  made.write("/sys/devices/system/node/online", nodes == 1 ? "0" : "0-" + std::to_string(nodes - 1));
  for (int node = 0; node < nodes; ++node) {
    std::string list;
    for (int sibling = 0; sibling < siblings; ++sibling) {
      const int first = sibling * physical + node * cores;
      list += (list.empty() ? "" : ",") + std::to_string(first) + "-" + std::to_string(first + cores - 1);
    }
    made.write("/sys/devices/system/node/node" + std::to_string(node) + "/cpulist", list);
  }
  return made;
}

using Cores = std::vector<int>;

TEST(Placement, SiblingsAreLeftAlone) {
  const Machine laptop = machine("smt", 1, 4, 2);
  EXPECT_EQ(laptop.cpu().logical_cores, 8);
  EXPECT_EQ(laptop.cpu().usable_cores, 4);
  EXPECT_EQ(laptop.place().cores, (Cores{0, 1, 2, 3}));
  EXPECT_EQ(laptop.place().threads, 4);
  EXPECT_EQ(laptop.place().numa_node, -1);  // there is one
  EXPECT_EQ(laptop.place(2).cores, (Cores{0, 1}));
  // As many threads as there are hardware threads, and more than there are cores: the system knows best.
  EXPECT_EQ(laptop.place(8).cores, Cores{});
  EXPECT_EQ(laptop.place(8).threads, 8);
  EXPECT_EQ(laptop.place(5).cores, Cores{});
}

TEST(Placement, WhereEveryCoreHasItsThreadNothingIsPinned) {
  const Machine plain = machine("plain", 1, 2, 1);
  EXPECT_EQ(plain.place().threads, 2);
  EXPECT_EQ(plain.place().cores, Cores{});
  EXPECT_EQ(plain.place(1).cores, Cores{0});
}

TEST(Placement, OneEngineANode) {
  const Machine server = machine("sockets", 2, 4, 2);
  EXPECT_EQ(server.place().cores, (Cores{0, 1, 2, 3}));
  EXPECT_EQ(server.place().numa_node, 0);
  EXPECT_EQ(server.place(0, 1).cores, (Cores{4, 5, 6, 7}));
  EXPECT_EQ(server.place(0, 1).numa_node, 1);
  EXPECT_EQ(server.place(3, 1).cores, (Cores{4, 5, 6}));
  // More threads than one node has cores: all of the machine.
  EXPECT_EQ(server.place(6).cores, (Cores{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(server.place(6).numa_node, -1);
  EXPECT_THROW(server.place(0, 2), Error);
  // A mask that leaves the second node more cores than the first.
  server.write("/proc/self/status", "Name:\tpagoda\nCpus_allowed_list:\t2-7,10-15");
  EXPECT_EQ(server.place().cores, (Cores{4, 5, 6, 7}));
  EXPECT_EQ(server.place().numa_node, 1);
  server.write("/proc/self/status", "Name:\tpagoda\nCpus_allowed_list:\t0-3");
  EXPECT_EQ(server.place().numa_node, 0);
  EXPECT_THROW(server.place(0, 1), Error);
  EXPECT_EQ(node_of({4, 5}, numa_nodes(server.root)), 1);
  EXPECT_EQ(node_of({3, 4}, numa_nodes(server.root)), -1);
}

TEST(Placement, QuotasOfAnyGroupAreRespected) {
  const Machine container = machine("quota", 1, 8, 2);
  container.write("/sys/fs/cgroup/cpu.max", "250000 100000");
  EXPECT_DOUBLE_EQ(container.cpu().quota_cores, 2.5);
  EXPECT_EQ(container.place().threads, 3);
  EXPECT_EQ(container.place().cores, Cores{});
  container.write("/sys/fs/cgroup/cpu.max", "max 100000");
  EXPECT_EQ(container.place().threads, 8);
  // The group's own, and one above it: the least counts.
  container.write("/proc/self/cgroup", "0::/a/b");
  container.write("/sys/fs/cgroup/a/cpu.max", "400000 100000");
  container.write("/sys/fs/cgroup/a/b/cpu.max", "600000 100000");
  EXPECT_DOUBLE_EQ(container.cpu().quota_cores, 4);
  // Control groups of the first kind.
  container.write("/proc/self/cgroup", "4:cpu,cpuacct:/c");
  container.write("/sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "150000");
  container.write("/sys/fs/cgroup/cpu/c/cpu.cfs_period_us", "100000");
  EXPECT_DOUBLE_EQ(container.cpu().quota_cores, 1.5);
  container.write("/sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "-1");
  EXPECT_DOUBLE_EQ(container.cpu().quota_cores, 0);
  // A quota that pays for every core is none.
  container.write("/proc/self/cgroup", "0::/");
  container.write("/sys/fs/cgroup/cpu.max", "800000 100000");
  EXPECT_EQ(container.place().cores.size(), 8u);
}

TEST(Placement, WithoutTopologyThereIsNoWish) {
  const Machine bare{pagoda::testing::temporary_path("placement_bare")};
  bare.write("/proc/self/status", "Cpus_allowed_list:\t0-3");
  EXPECT_TRUE(numa_nodes(bare.root).empty());
  EXPECT_EQ(bare.place().threads, 4);
  EXPECT_EQ(bare.place().numa_node, -1);
  EXPECT_THROW(bare.place(0, 0), Error);
}

TEST(Placement, ListsOfCores) {
  EXPECT_EQ(parse_cpu_list("0-2,5,7-8\n"), (Cores{0, 1, 2, 5, 7, 8}));
  EXPECT_EQ(parse_cpu_list(""), Cores{});
  EXPECT_EQ(parse_cpu_list("3-1"), Cores{});
  EXPECT_EQ(parse_cpu_list("0-999999999"), Cores{});
  EXPECT_EQ(parse_cpu_list("1,x"), (Cores{1}));
}

}  // namespace
}  // namespace pagoda
