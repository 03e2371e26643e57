// NUMA nodes out of /sys, and the choice of cores.
#include "base/placement.h"

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "base/error.h"

namespace pagoda {

namespace {

std::string first_line(const std::string& path) {
  FILE* file = std::fopen(path.c_str(), "r");
  if (file == nullptr) return "";
  char buffer[16384];
  const size_t got = std::fread(buffer, 1, sizeof buffer, file);
  std::fclose(file);
  return std::string(buffer, got);
}

std::vector<int> those_in(const std::vector<int>& cores, const std::vector<int>& of) {
  std::vector<int> found;
  for (const int core : cores) {
    if (std::find(of.begin(), of.end(), core) != of.end()) found.push_back(core);
  }
  return found;
}

// Physical cores of the process on each node; nodes without any are left out.
std::vector<NumaNode> usable_nodes(const CpuInfo& cpu, const std::vector<NumaNode>& nodes) {
  std::vector<NumaNode> usable;
  for (const NumaNode& node : nodes) {
    std::vector<int> cores = those_in(cpu.physical_first, node.cores);
    if (!cores.empty()) usable.push_back({node.id, std::move(cores)});
  }
  return usable;
}

const NumaNode& chosen(const std::vector<NumaNode>& usable, int node) {
  if (node < 0) {
    return *std::max_element(usable.begin(), usable.end(),
                             [](const NumaNode& a, const NumaNode& b) { return a.cores.size() < b.cores.size(); });
  }
  std::string known;
  for (const NumaNode& each : usable) {
    if (each.id == node) return each;
    known += (known.empty() ? "" : ", ") + std::to_string(each.id);
  }
  invalid("numa", "no node with cores that this process may use: got {}, need one of {}", node, known);
}

}  // namespace

std::vector<int> parse_cpu_list(const std::string& text) {
  constexpr long kMostCores = 1 << 16;
  std::vector<int> cores;
  const char* at = text.c_str();
  for (;;) {
    char* end = nullptr;
    const long first = std::strtol(at, &end, 10);
    if (end == at) break;
    long last = first;
    at = end;
    if (*at == '-') {
      last = std::strtol(++at, &end, 10);
      if (end == at) break;
      at = end;
    }
    if (first < 0 || last < first || last >= kMostCores) break;
    for (long core = first; core <= last; ++core) cores.push_back(static_cast<int>(core));
    if (*at != ',') break;
    ++at;
  }
  return cores;
}

std::vector<NumaNode> numa_nodes(const std::string& root) {
  std::vector<NumaNode> nodes;
  const std::string folder = root + "/sys/devices/system/node";
  for (const int id : parse_cpu_list(first_line(folder + "/online"))) {
    std::vector<int> cores = parse_cpu_list(first_line(folder + "/node" + std::to_string(id) + "/cpulist"));
    if (!cores.empty()) nodes.push_back({id, std::move(cores)});  // others are memory alone
  }
  return nodes;
}

int node_of(const std::vector<int>& cores, const std::vector<NumaNode>& nodes) {
  if (nodes.size() < 2 || cores.empty()) return -1;
  for (const NumaNode& node : nodes) {
    if (those_in(cores, node.cores).size() == cores.size()) return node.id;
  }
  return -1;
}

Placement choose_placement(const CpuInfo& cpu, const std::vector<NumaNode>& nodes, int threads, int node) {
  Placement placement;
  const std::vector<NumaNode> usable = usable_nodes(cpu, nodes);
  if (usable.empty() && node >= 0) invalid("numa", "this machine tells of no NUMA nodes: got node {}", node);
  std::vector<int> cores = cpu.physical_first;
  if (!usable.empty()) {
    const NumaNode& one = chosen(usable, node);
    // More threads than the node has cores take the whole machine, unless a node was asked for.
    const bool fits = node >= 0 || threads <= static_cast<int>(one.cores.size());
    if (fits) cores = one.cores;
    if (fits && nodes.size() > 1) placement.numa_node = one.id;
  }
  const auto count = static_cast<int>(cores.size());
  const bool quota = cpu.quota_cores > 0 && cpu.quota_cores < static_cast<double>(count);
  placement.threads = threads > 0 ? threads : std::max(1, quota ? static_cast<int>(std::ceil(cpu.quota_cores)) : count);
  if (quota) {
    if (node < 0) placement.numa_node = -1;  // its threads go where there is room
    placement.reason = "not pinned: the control group's quota is less than the cores";
  } else if (placement.threads > count) {
    placement.reason = "not pinned: more threads than physical cores";
  } else if (placement.threads == static_cast<int>(cpu.affinity.size())) {
    placement.reason = "not pinned: every core has its thread";
  } else {
    cores.resize(static_cast<size_t>(placement.threads));
    placement.cores = std::move(cores);
    placement.reason = "pinned, one a physical core";
  }
  return placement;
}

void prefer_memory_of(int node) {
#if defined(__linux__) && defined(SYS_set_mempolicy)
  constexpr int kMpolPreferred = 1;
  constexpr int kBits = 8 * static_cast<int>(sizeof(unsigned long));
  unsigned long mask[1024 / kBits] = {};
  if (node < 0 || node >= 1024) return;
  mask[node / kBits] = 1ul << (node % kBits);
  // Refused (a container's filter), memory comes from where a thread first touches it, which is mostly the same.
  (void)::syscall(SYS_set_mempolicy, kMpolPreferred, mask, 1024ul + 1);
#else
  (void)node;
#endif
}

}  // namespace pagoda
