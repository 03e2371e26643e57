// Assembles a Runtime from what the machine has and what was asked for.
#include "ops/runtime.h"

#include <algorithm>
#include <string>

#include "base/error.h"

namespace pagoda {

Runtime::Runtime(const RuntimeOptions& options) : cpu_(detect_cpu()) {
  const Isa isa = options.isa.value_or(best_isa(cpu_));
  if (!isa_supported(isa, cpu_)) {
    std::string have;
    for (const Isa each : supported_isas(cpu_)) have += (have.empty() ? "" : ", ") + std::string(isa_name(each));
    unsupported("isa", "instruction set missing on this machine: got {}, need one of {}", isa_name(isa), have);
  }
  fill_cpu(table_, isa);
  start(options);
}

Runtime::Runtime(const RuntimeOptions& options, const KernelTable& table) : cpu_(detect_cpu()), table_(table) {
  start(options);
}

void Runtime::start(const RuntimeOptions& options) {
  if (options.threads < 0 || options.threads > 4096) {
    invalid("threads", "impossible number of threads: got {}, need 1 to 4096 (0: one a physical core)", options.threads);
  }
  for (const int core : options.cores) {
    if (std::find(cpu_.affinity.begin(), cpu_.affinity.end(), core) == cpu_.affinity.end()) {
      invalid("cores", "core not available to this process: got {}, need one of the {} in its affinity mask", core,
              cpu_.affinity.size());
    }
  }
  if (options.place && options.cores.empty()) {
    placement_ = choose_placement(cpu_, numa_nodes(), options.threads, options.numa_node);
  } else {
    placement_.threads = options.threads > 0 ? options.threads : cpu_.usable_cores;
    placement_.cores = options.cores;
    if (options.threads == 0 && !options.cores.empty()) placement_.threads = static_cast<int>(options.cores.size());
    placement_.numa_node = node_of(options.cores, numa_nodes());
    placement_.reason = options.cores.empty() ? "not pinned" : "pinned to the cores that were named";
  }
  // Before the threads begin: they inherit the wish.
  if (placement_.numa_node >= 0) prefer_memory_of(placement_.numa_node);
  // A calling thread that was not told its core stays free: threads that it starts later would inherit the one core. The system
  // finds it the core that the others leave.
  pool_ = std::make_unique<ThreadPool>(placement_.threads, placement_.cores, !options.cores.empty());
  device_.kernels = &table_;
  device_.allocator = &allocator_;
  device_.weights = &weights_;
  device_.exec = {pool_.get(), &scratch_, nullptr};
}

std::vector<int> parse_core_list(const std::string& text) {
  std::vector<int> cores;
  const auto number = [&](size_t& at) {
    size_t end = at;
    int value = 0;
    while (end < text.size() && text[end] >= '0' && text[end] <= '9' && end - at < 6) value = value * 10 + (text[end++] - '0');
    if (end == at) invalid("cores", "not a core list: got '{}', need numbers and ranges such as 0,2,4-6", text);
    at = end;
    return value;
  };
  for (size_t at = 0; at < text.size();) {
    const int first = number(at);
    int last = first;
    if (at < text.size() && text[at] == '-') last = number(++at);
    if (last < first || last - first > 4096) invalid("cores", "not a core range: got {}-{}", first, last);
    for (int core = first; core <= last; ++core) cores.push_back(core);
    if (at < text.size() && text[at++] != ',')
      invalid("cores", "not a core list: got '{}', need numbers and ranges such as 0,2,4-6", text);
  }
  return cores;
}

}  // namespace pagoda
