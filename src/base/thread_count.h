// How many threads can run at once here.
#pragma once

#include <algorithm>
#include <cmath>

#include "base/cpu_info.h"

namespace pagoda {

// Threads that the affinity mask has hardware for and the control group's quota pays for (rounded up), at least 1. More than
// that only wait for each other.
inline int most_threads(const CpuInfo& cpu) {
  int most = cpu.affinity.empty() ? cpu.logical_cores : static_cast<int>(cpu.affinity.size());
  if (cpu.quota_cores > 0) most = std::min(most, static_cast<int>(std::ceil(cpu.quota_cores)));
  return std::max(1, most);
}

}  // namespace pagoda
