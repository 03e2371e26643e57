// Which cores a process's threads belong on, and whose memory they should use.
#pragma once

#include <string>
#include <vector>

#include "base/cpu_info.h"

namespace pagoda {

struct NumaNode {
  int id = 0;
  std::vector<int> cores;  // logical
};

// Nodes that have cores, ascending; empty where the system tells of none. `root` as in detect_cpu.
std::vector<NumaNode> numa_nodes(const std::string& root = "");

// "0-3,8" as the files of /sys have it; what cannot be read ends the list.
std::vector<int> parse_cpu_list(const std::string& text);

struct Placement {
  int threads = 1;
  std::vector<int> cores;  // thread i is pinned to cores[i]; empty: not pinned
  int numa_node = -1;      // whose memory is preferred; -1: no wish
  std::string reason;      // for people
};

// One thread a physical core of one NUMA node; a core's other hardware threads are left alone. threads: 0: as many as the node
// has cores for and the control group's quota pays for, rounded up. node: -1: the one with most cores that may be used.
// Threads are pinned where a scheduler could choose badly: there are siblings, other nodes, or cores to spare. They are not
// pinned under a quota that is less than the cores (it stops whole threads: the others must be able to move), nor where there
// are more threads than physical cores. kInvalidInput: a node without cores that may be used.
Placement choose_placement(const CpuInfo& cpu, const std::vector<NumaNode>& nodes, int threads, int node = -1);

// The node that all these cores belong to; -1: several, or there is one node only.
int node_of(const std::vector<int>& cores, const std::vector<NumaNode>& nodes);

// Memory that the calling thread, and threads that it starts, touch first comes from this node while it has some.
void prefer_memory_of(int node);

}  // namespace pagoda
