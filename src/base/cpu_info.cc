// cpuid, XCR0, the AMX permission call, /sys topology and cgroup limits.
#include "base/cpu_info.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string_view>

#include "base/error.h"
#include "base/file.h"
#include "base/placement.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#endif

namespace pagoda {

namespace {

std::string read_small(const std::string& path) {
  try {
    // Files of /proc and /sys say that they are empty: read them by stream size, not by stat.
    FILE* file = std::fopen(path.c_str(), "r");
    if (file == nullptr) return "";
    char buffer[16384];
    const size_t got = std::fread(buffer, 1, sizeof buffer, file);
    std::fclose(file);
    return std::string(buffer, got);
  } catch (...) {
    return "";
  }
}

int64_t meminfo_bytes(const std::string& text, std::string_view key) {
  const size_t at = text.find(key);
  return at == std::string::npos ? 0 : std::strtoll(text.c_str() + at + key.size(), nullptr, 10) * 1024;
}

int64_t parse_size(const std::string& text) {
  char* end = nullptr;
  const int64_t value = std::strtoll(text.c_str(), &end, 10);
  if (end != nullptr && (*end == 'K' || *end == 'k')) return value << 10;
  if (end != nullptr && *end == 'M') return value << 20;
  return value;
}

#if defined(__x86_64__)
void detect_instructions(CpuInfo& cpu) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(0, &a, &b, &c, &d) == 0) return;
  char vendor[13] = {};
  std::memcpy(vendor, &b, 4);
  std::memcpy(vendor + 4, &d, 4);
  std::memcpy(vendor + 8, &c, 4);
  cpu.vendor = vendor;
  __get_cpuid(1, &a, &b, &c, &d);
  cpu.family = static_cast<int>((a >> 8) & 0xF);
  cpu.model_number = static_cast<int>((a >> 4) & 0xF);
  if (cpu.family == 0xF) cpu.family += static_cast<int>((a >> 20) & 0xFF);
  if (cpu.family >= 6) cpu.model_number += static_cast<int>(((a >> 16) & 0xF) << 4);
  const bool osxsave = (c & (1u << 27)) != 0, fma = (c & (1u << 12)) != 0, f16c = (c & (1u << 29)) != 0;
  uint64_t xcr0 = 0;
  if (osxsave) {
    unsigned low = 0, high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    xcr0 = (uint64_t{high} << 32) | low;
  }
  const bool ymm = (xcr0 & 0x6) == 0x6, zmm = (xcr0 & 0xE6) == 0xE6, tiles = (xcr0 & 0x60000) == 0x60000;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) != 0) {
    cpu.avx2 = ymm && fma && f16c && (b & (1u << 5)) != 0;
    const unsigned avx512_bits = (1u << 16) | (1u << 17) | (1u << 28) | (1u << 30) | (1u << 31);
    cpu.avx512 = zmm && cpu.avx2 && (b & avx512_bits) == avx512_bits;
    cpu.avx512_vnni = cpu.avx512 && (c & (1u << 11)) != 0;
    cpu.avx512_fp16 = cpu.avx512 && (d & (1u << 23)) != 0;
    cpu.amx_bf16 = tiles && (d & (1u << 22)) != 0;
    cpu.amx_tile = tiles && (d & (1u << 24)) != 0;
    cpu.amx_int8 = tiles && (d & (1u << 25)) != 0;
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) {
      cpu.avx512_bf16 = cpu.avx512 && (a & (1u << 5)) != 0;
      cpu.avx_vnni = cpu.avx2 && (a & (1u << 4)) != 0;
    }
  }
  if (cpu.amx_tile) {
    constexpr long kArchReqXcompPerm = 0x1023, kXfeatureXtiledata = 18;
    cpu.amx_permitted = ::syscall(SYS_arch_prctl, kArchReqXcompPerm, kXfeatureXtiledata) == 0;
  }
  char brand[49] = {};
  for (unsigned leaf = 0; leaf < 3; ++leaf) {
    if (__get_cpuid(0x80000002 + leaf, &a, &b, &c, &d) == 0) break;
    const unsigned words[4] = {a, b, c, d};
    std::memcpy(brand + 16 * leaf, words, 16);
  }
  cpu.model = brand;
  while (!cpu.model.empty() && cpu.model.back() == ' ') cpu.model.pop_back();
}
#else
void detect_instructions(CpuInfo&) {}
#endif

void detect_caches(CpuInfo& cpu, const std::string& root) {
  for (int index = 0; index < 6; ++index) {
    const std::string folder = root + "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index);
    const std::string level = read_small(folder + "/level"), type = read_small(folder + "/type");
    const int64_t size = parse_size(read_small(folder + "/size"));
    if (size <= 0 || type.rfind("Instruction", 0) == 0) continue;
    if (level[0] == '1') cpu.l1d_bytes = size;
    if (level[0] == '2') cpu.l2_bytes = size;
    if (level[0] == '3') cpu.l3_bytes = size;
  }
}

// The file's line "NAME:\tvalue", or empty.
std::string status_value(const std::string& text, std::string_view name) {
  const size_t at = text.find(name);
  if (at == std::string::npos) return "";
  const size_t begin = at + name.size();
  return text.substr(begin, text.find('\n', begin) - begin);
}

void detect_cores(CpuInfo& cpu, const std::string& root) {
  cpu.logical_cores = static_cast<int>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
  if (!root.empty()) {
    const std::vector<int> online = parse_cpu_list(read_small(root + "/sys/devices/system/cpu/online"));
    if (!online.empty()) cpu.logical_cores = static_cast<int>(online.size());
    const std::string allowed = status_value(read_small(root + "/proc/self/status"), "Cpus_allowed_list:");
    cpu.affinity = parse_cpu_list(allowed);
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  if (cpu.affinity.empty() && ::sched_getaffinity(0, sizeof set, &set) == 0) {
    for (int core = 0; core < CPU_SETSIZE; ++core) {
      if (CPU_ISSET(core, &set)) cpu.affinity.push_back(core);
    }
  }
  if (cpu.affinity.empty()) {
    for (int core = 0; core < cpu.logical_cores; ++core) cpu.affinity.push_back(core);
  }
  std::set<std::pair<std::string, std::string>> seen;
  for (const int core : cpu.affinity) {
    const std::string folder = root + "/sys/devices/system/cpu/cpu" + std::to_string(core) + "/topology";
    const std::string id = read_small(folder + "/core_id"), package = read_small(folder + "/physical_package_id");
    if (id.empty() || seen.emplace(package, id).second) cpu.physical_first.push_back(core);
  }
}

// What a control group leaves. Pages of files that were read count as used there, and are given back where memory is short.
void take_group(CpuInfo& cpu, const std::string& folder, const char* most, const char* used, const char* given_back) {
  const std::string limit = read_small(folder + most);
  if (limit.empty() || limit.rfind("max", 0) == 0) return;
  const int64_t bytes = std::strtoll(limit.c_str(), nullptr, 10);
  if (bytes <= 0 || bytes >= int64_t{1} << 60) return;  // the first kind's "none"
  const std::string stat = "\n" + read_small(folder + "/memory.stat"), key = std::string("\n") + given_back + " ";
  const size_t at = stat.find(key);
  const int64_t free_again = at == std::string::npos ? 0 : std::strtoll(stat.c_str() + at + key.size(), nullptr, 10);
  const int64_t held = std::strtoll(read_small(folder + used).c_str(), nullptr, 10) - free_again;
  cpu.memory_limit = cpu.memory_limit > 0 ? std::min(cpu.memory_limit, bytes) : bytes;
  cpu.memory_available = std::min(cpu.memory_available, std::max<int64_t>(0, bytes - std::max<int64_t>(0, held)));
}

// This process's control groups by /proc/self/cgroup; in a container the topmost is its own.
struct GroupPaths {
  std::string second = "/", first_memory = "/", first_cpu = "/";
  explicit GroupPaths(const std::string& root) {
    const std::string lines = read_small(root + "/proc/self/cgroup");
    for (size_t at = 0; at < lines.size();) {
      const size_t end = std::min(lines.find('\n', at), lines.size());
      const std::string line = lines.substr(at, end - at);  // "0::/path", "4:cpu,memory:/path"
      const size_t name = line.find(':'), path = line.find(':', name + 1);
      at = end + 1;
      if (path == std::string::npos) continue;
      const std::string controllers = "," + line.substr(name + 1, path - name - 1) + ",";
      if (controllers == ",,") second = line.substr(path + 1);
      if (controllers.find(",memory,") != std::string::npos) first_memory = line.substr(path + 1);
      if (controllers.find(",cpu,") != std::string::npos) first_cpu = line.substr(path + 1);
    }
  }
  // The group and those above it.
  template <class Take>
  static void each(std::string path, const Take& take) {
    for (; !path.empty() && path != "/"; path = path.substr(0, path.rfind('/'))) take(path);
    take("");
  }
};

// Of all of them the least.
void take_memory_groups(CpuInfo& cpu, const std::string& root) {
  const GroupPaths paths(root);
  const std::string groups = root + "/sys/fs/cgroup";
  GroupPaths::each(paths.second, [&](const std::string& path) {
    take_group(cpu, groups + path, "/memory.max", "/memory.current", "inactive_file");
  });
  GroupPaths::each(paths.first_memory, [&](const std::string& path) {
    take_group(cpu, groups + "/memory" + path, "/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_inactive_file");
  });
}

void take_quota(CpuInfo& cpu, const std::string& used_text, const std::string& period_text) {
  const double used = std::strtod(used_text.c_str(), nullptr), period = std::strtod(period_text.c_str(), nullptr);
  if (used <= 0 || period <= 0) return;  // "max", -1
  cpu.quota_cores = cpu.quota_cores > 0 ? std::min(cpu.quota_cores, used / period) : used / period;
}

void detect_quota(CpuInfo& cpu, const std::string& root) {
  const GroupPaths paths(root);
  const std::string groups = root + "/sys/fs/cgroup";
  GroupPaths::each(paths.second, [&](const std::string& path) {
    const std::string quota = read_small(groups + path + "/cpu.max");  // "150000 100000", "max 100000"
    const size_t space = quota.find(' ');
    if (space != std::string::npos) take_quota(cpu, quota.substr(0, space), quota.substr(space));
  });
  GroupPaths::each(paths.first_cpu, [&](const std::string& path) {
    const std::string group = groups + "/cpu" + path;
    take_quota(cpu, read_small(group + "/cpu.cfs_quota_us"), read_small(group + "/cpu.cfs_period_us"));
  });
  cpu.usable_cores = static_cast<int>(cpu.physical_first.size());
  if (cpu.quota_cores > 0) cpu.usable_cores = std::min(cpu.usable_cores, static_cast<int>(std::ceil(cpu.quota_cores)));
  cpu.usable_cores = std::max(1, cpu.usable_cores);
}

void detect_memory(CpuInfo& cpu, const std::string& root) {
  const std::string meminfo = read_small(root + "/proc/meminfo");
  cpu.memory_bytes = meminfo_bytes(meminfo, "MemTotal:");
  cpu.memory_available = meminfo_bytes(meminfo, "MemAvailable:");
  take_memory_groups(cpu, root);
}

}  // namespace

CpuInfo detect_cpu(const std::string& root) {
  CpuInfo cpu;
  detect_instructions(cpu);
  detect_caches(cpu, root);
  detect_cores(cpu, root);
  detect_quota(cpu, root);
  detect_memory(cpu, root);
  return cpu;
}

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kReference: return "reference";
    case Isa::kPortable: return "portable";
    case Isa::kAvx2: return "avx2";
    case Isa::kAvx512: return "avx512";
    case Isa::kAvx512Bf16: return "avx512_bf16";
    case Isa::kAmx: return "amx";
  }
  return "reference";
}

Isa parse_isa(const std::string& name) {
  for (const Isa isa : {Isa::kReference, Isa::kPortable, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16, Isa::kAmx}) {
    if (name == isa_name(isa)) return isa;
  }
  invalid("isa", "unknown instruction set: got '{}', need reference, portable, avx2, avx512, avx512_bf16 or amx", name);
}

bool isa_supported(Isa isa, const CpuInfo& cpu) {
  switch (isa) {
    case Isa::kReference:
    case Isa::kPortable: return true;
    case Isa::kAvx2: return cpu.avx2;
    case Isa::kAvx512: return cpu.avx512;
    case Isa::kAvx512Bf16: return cpu.avx512_bf16 && cpu.avx512_vnni;  // int8 products need the second
    case Isa::kAmx: return cpu.amx() && cpu.avx512_vnni;
  }
  return false;
}

std::vector<Isa> supported_isas(const CpuInfo& cpu) {
  std::vector<Isa> isas;
  for (const Isa isa : {Isa::kReference, Isa::kPortable, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16, Isa::kAmx}) {
    if (isa_supported(isa, cpu)) isas.push_back(isa);
  }
  return isas;
}

Isa best_isa(const CpuInfo& cpu) { return supported_isas(cpu).back(); }

}  // namespace pagoda
