// What this processor and container offer: instruction sets, caches, cores, quotas.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pagoda {

struct CpuInfo {
  std::string vendor;  // "AuthenticAMD", "GenuineIntel", ...
  std::string model;   // brand string
  int family = 0, model_number = 0;
  // Each flag is true only if the operating system also saves the registers it needs (XCR0).
  bool avx2 = false;    // with FMA and F16C, which every AVX2 processor in use has
  bool avx512 = false;  // F, BW, CD, DQ, VL
  bool avx512_vnni = false;
  bool avx_vnni = false;
  bool avx512_bf16 = false;
  bool avx512_fp16 = false;
  bool amx_tile = false, amx_bf16 = false, amx_int8 = false;
  bool amx_permitted = false;  // the kernel granted tile state to this process (arch_prctl, asked once)
  int64_t l1d_bytes = 32 << 10, l2_bytes = 1 << 20, l3_bytes = 16 << 20;  // of one core, of one core, shared
  int logical_cores = 1;                                                  // online
  int usable_cores = 1;                                                   // after affinity mask and cgroup quota (rounded up)
  double quota_cores = 0;                                                 // cgroup cpu.max; 0 = none
  std::vector<int> affinity;                                              // logical cores this process may run on
  std::vector<int> physical_first;  // of `affinity`: one logical core for each physical core
  int64_t memory_bytes = 0;         // of the machine
  int64_t memory_limit = 0;         // of its control groups the least; 0 = none
  int64_t memory_available = 0;     // now: the least of MemAvailable and what its control groups leave

  bool amx() const { return amx_tile && amx_bf16 && amx_int8 && amx_permitted && avx512_bf16; }
};

// Reads it afresh; costs well under a millisecond. `root` replaces "/" for /proc and /sys: simulated machines in tests.
CpuInfo detect_cpu(const std::string& root = "");

// Instruction sets that can be chosen with --isa, lowest first.
enum class Isa { kReference, kPortable, kAvx2, kAvx512, kAvx512Bf16, kAmx };
const char* isa_name(Isa isa);           // "reference", "portable", "avx2", "avx512", "avx512_bf16", "amx"
Isa parse_isa(const std::string& name);  // throws kInvalidInput naming the choices
bool isa_supported(Isa isa, const CpuInfo& cpu);
Isa best_isa(const CpuInfo& cpu);
std::vector<Isa> supported_isas(const CpuInfo& cpu);  // lowest first

}  // namespace pagoda
