// pagoda doctor: what this machine has, what Pagoda uses of it, what is missing and how to fix it.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>

#include "base/env.h"
#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "cli/cli.h"
#include "hub/cache.h"
#include "hub/config.h"
#include "ops/machine.h"
#include "pipelines/loaded_model.h"

namespace pagoda::cli {

namespace {

constexpr int64_t kProbeBytes = int64_t{256} << 20;

struct Flags {
  MachineFlags machine;
};

struct Finding {
  std::string what, fix;
};

// A small file of /proc or /sys; empty where it cannot be read.
std::string small_file(const std::string& path) {
  try {
    return read_file(path, 1 << 20);
  } catch (const Error&) {
    return "";
  }
}

// "always", "madvise" or "never": the word in brackets.
std::string huge_pages() {
  const std::string text = small_file("/sys/kernel/mm/transparent_hugepage/enabled");
  const size_t open = text.find('['), close = text.find(']');
  return open == std::string::npos || close == std::string::npos ? "unknown" : text.substr(open + 1, close - open - 1);
}

struct Measured {
  double read_one = 0, read_all = 0, float32 = 0, bfloat16 = 0, int8 = 0;  // bytes and operations a second
};

Measured measure(Runtime& runtime) {
  const int64_t bytes = std::clamp<int64_t>(runtime.cpu().memory_available / 4, int64_t{16} << 20, kProbeBytes);
  Measured measured;
  measured.read_all = measure_read_rate(runtime, bytes);
  measured.float32 = measure_flop_rate(runtime, DType::kFloat32);
  measured.bfloat16 = measure_flop_rate(runtime, DType::kBFloat16);
  measured.int8 = measure_flop_rate(runtime, DType::kInt8);
  RuntimeOptions one;
  one.threads = 1;
  one.isa = runtime.isa();
  Runtime single(one);
  measured.read_one = measure_read_rate(single, bytes);
  return measured;
}

Json instruction_sets(const CpuInfo& cpu) {
  Json result = Json::object();
  result.set("avx2", cpu.avx2).set("avx512", cpu.avx512).set("avx512_vnni", cpu.avx512_vnni).set("avx_vnni", cpu.avx_vnni);
  result.set("avx512_bf16", cpu.avx512_bf16).set("avx512_fp16", cpu.avx512_fp16);
  result.set("amx_tile", cpu.amx_tile).set("amx_bf16", cpu.amx_bf16).set("amx_int8", cpu.amx_int8);
  result.set("amx_permitted", cpu.amx_permitted);
  return result;
}

std::vector<Finding> find_faults(Runtime& runtime, const hub::HubConfig* hub_config, const std::string& hub_error) {
  const CpuInfo& cpu = runtime.cpu();
  std::vector<Finding> findings;
#if defined(__x86_64__)
  if (!cpu.avx2) {
    findings.push_back(
        {"no AVX2: products run with 128-bit vectors, several times slower",
         "run on a processor of 2013 or later, or have the hypervisor pass the processor's flags on (cpu=host)"});
  } else if (!cpu.avx512) {
    findings.push_back(
        {"no AVX-512: AVX2 is used", "nothing to do on this processor; where it has AVX-512, let the hypervisor pass it on"});
  }
#endif
  if (cpu.amx_tile && !cpu.amx_permitted) {
    findings.push_back({"the processor has AMX, and the kernel does not permit it",
                        "use Linux 5.16 or later without a filter on arch_prctl(ARCH_REQ_XCOMP_PERM) (seccomp profile of the "
                        "container)"});
  }
  if (runtime.isa() < best_isa(cpu)) {
    findings.push_back(
        {fmt::format("{} is used though {} is there", isa_name(runtime.isa()), isa_name(best_isa(cpu))), "leave --isa out"});
  }
  const int allowed = static_cast<int>(cpu.affinity.size());
  if (cpu.quota_cores > 0 && cpu.quota_cores < allowed) {
    findings.push_back({fmt::format("the container's quota is {:.1f} cores of {} that may be used", cpu.quota_cores, allowed),
                        "raise cpu.max (docker --cpus, Kubernetes limits), or keep --threads at the quota"});
  }
  if (allowed < cpu.logical_cores) {
    findings.push_back({fmt::format("the affinity mask allows {} of {} logical cores", allowed, cpu.logical_cores),
                        "taskset, cpuset of the container"});
  }
  if (runtime.pool().num_threads() > cpu.usable_cores) {
    findings.push_back(
        {fmt::format("{} threads on {} usable cores: they wait for each other", runtime.pool().num_threads(), cpu.usable_cores),
         "leave --threads out"});
  }
  if (cpu.memory_available < int64_t{1} << 30) {
    findings.push_back({fmt::format("only {} of memory are free", format_bytes(cpu.memory_available)),
                        "end other programs, or raise memory.max of the container"});
  }
  if (huge_pages() == "never") {
    findings.push_back({"transparent huge pages are off: reading weights costs more",
                        "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"});
  }
  if (hub_config == nullptr)
    findings.push_back({"hub settings cannot be used: " + hub_error, "correct the HF_ variable it names"});
  return findings;
}

Json kernels_info(const Runtime& runtime) {
  Json list = Json::array();
  for (const KernelReport& kernel : kernel_report(runtime.kernels())) {
    Json entry = Json::object();
    entry.set("entry", kernel.entry).set("isa", isa_name(kernel.isa));
    entry.set("kernel", kernel.kernel.empty() ? Json() : Json(kernel.kernel));
    list.push_back(std::move(entry));
  }
  return list;
}

Json hub_info(const hub::HubConfig& config) {
  Json result = Json::object(), variables = Json::object();
  for (const char* name : {"HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE",
                           "HF_HUB_DISABLE_SYMLINKS", "SSL_CERT_FILE"}) {
    if (const auto value = env(name)) variables.set(name, *value);
  }
  result.set("endpoint", config.endpoint).set("cache_folder", config.cache_folder);
  result.set("cache_exists", directory_exists(config.cache_folder));
  const auto free = hub::free_bytes(config.cache_folder);
  result.set("cache_free_bytes", free ? Json(*free) : Json());
  result.set("offline", config.offline).set("token_set", !config.token.empty());  // whether, never what
  result.set("variables", std::move(variables));
  return result;
}

std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ", ") + part;
  return text.empty() ? "none" : text;
}

std::string text_of(Runtime& runtime, const Measured& measured, const hub::HubConfig* hub_config,
                    const std::vector<Finding>& findings) {
  const CpuInfo& cpu = runtime.cpu();
  const auto line = [](const std::string& name, const std::string& value) { return fmt::format("{:<27} {}\n", name, value); };
  std::string text =
      line("processor", fmt::format("{} ({}, family {}, model {})", cpu.model, cpu.vendor, cpu.family, cpu.model_number));
  std::vector<std::string> found, usable;
  const Json sets = instruction_sets(cpu);
  for (const JsonMember& member : sets.as_object("doctor")) {
    if (member.value.as_bool("doctor") && member.key != "amx_permitted") found.push_back(member.key);
  }
  for (const Isa isa : supported_isas(cpu)) usable.push_back(isa_name(isa));
  text += line("instructions",
               joined(found) + (cpu.amx_tile ? cpu.amx_permitted ? " (AMX permitted)" : " (AMX not permitted)" : ""));
  text += line("--isa", fmt::format("{}; in use: {}", joined(usable), isa_name(runtime.isa())));
  text += line("cores", fmt::format("{} logical online, {} in the affinity mask on {} physical, quota {}; {} threads in use",
                                    cpu.logical_cores, cpu.affinity.size(), cpu.physical_first.size(),
                                    cpu.quota_cores > 0 ? fmt::format("{:.2f}", cpu.quota_cores) : "none",
                                    runtime.pool().num_threads()));
  const Placement& placement = runtime.placement();
  std::string pinned;
  for (const int core : placement.cores) pinned += (pinned.empty() ? " to " : ",") + std::to_string(core);
  text += line("placement", fmt::format("threads {}{}; memory of {}; {} NUMA nodes", placement.reason, pinned,
                                        placement.numa_node < 0 ? "any node" : "node " + std::to_string(placement.numa_node),
                                        std::max<size_t>(1, numa_nodes().size())));
  text += line("caches", fmt::format("{} and {} a core, {} shared", format_bytes(cpu.l1d_bytes), format_bytes(cpu.l2_bytes),
                                     format_bytes(cpu.l3_bytes)));
  text += line("memory", fmt::format("{}, {} available, container limit {}; huge pages: {}", format_bytes(cpu.memory_bytes),
                                     format_bytes(cpu.memory_available),
                                     cpu.memory_limit > 0 ? format_bytes(cpu.memory_limit) : "none", huge_pages()));
  text += line("read rate", fmt::format("{:.1f} GB/s with one thread, {:.1f} GB/s with {}", measured.read_one * 1e-9,
                                        measured.read_all * 1e-9, runtime.pool().num_threads()));
  if (measured.float32 > 0) {
    std::string rates =
        fmt::format("{:.1f} GFLOP/s float32, {:.1f} GFLOP/s bfloat16", measured.float32 * 1e-9, measured.bfloat16 * 1e-9);
    if (measured.int8 > 0) rates += fmt::format(", {:.1f} GOP/s int8", measured.int8 * 1e-9);
    text += line("arithmetic", rates);
  }
  std::map<Isa, std::vector<std::string>> by_isa;
  for (const KernelReport& kernel : kernel_report(runtime.kernels())) {
    if (kernel.kernel.empty()) {
      by_isa[kernel.isa].push_back(kernel.entry);
    } else {
      text += line(kernel.entry, fmt::format("{} ({})", kernel.kernel, isa_name(kernel.isa)));
    }
  }
  for (const auto& [isa, entries] : by_isa) text += line(std::string("kernels, ") + isa_name(isa), joined(entries));
  if (hub_config != nullptr) {
    const auto free = hub::free_bytes(hub_config->cache_folder);
    text += line("hub", fmt::format("{}{}, token {}", hub_config->endpoint, hub_config->offline ? " (offline)" : "",
                                    hub_config->token.empty() ? "not set" : "set"));
    text += line("cache", fmt::format("{}{}", hub_config->cache_folder, free ? ", " + format_bytes(*free) + " free" : ""));
  }
  if (findings.empty()) return text + "nothing is missing\n";
  for (const Finding& finding : findings) text += fmt::format("! {}\n  fix: {}\n", finding.what, finding.fix);
  return text;
}

int run(const Program& program, const Flags& flags) {
  const EndAtOnce measuring;  // for seconds, and nothing is left behind
  Runtime runtime(flags.machine.load_options().runtime);
  const Measured measured = measure(runtime);
  std::unique_ptr<hub::HubConfig> hub_config;
  std::string hub_error;
  try {
    hub_config = std::make_unique<hub::HubConfig>(hub::hub_config_from_environment());
  } catch (const Error& error) {
    hub_error = error.message();  // a wrong HF_ variable is a finding, not an end
  }
  const std::vector<Finding> findings = find_faults(runtime, hub_config.get(), hub_error);
  if (!program.json) {
    write_out(text_of(runtime, measured, hub_config.get(), findings));
    return 0;
  }
  const CpuInfo& cpu = runtime.cpu();
  Json result = Json::object(), usable = Json::array(), cores = Json::object(), caches = Json::object(),
       memory = Json::object(), rates = Json::object(), missing = Json::array();
  for (const Isa isa : supported_isas(cpu)) usable.push_back(isa_name(isa));
  cores.set("logical", cpu.logical_cores).set("affinity", static_cast<int64_t>(cpu.affinity.size()));
  cores.set("physical", static_cast<int64_t>(cpu.physical_first.size())).set("usable", cpu.usable_cores);
  cores.set("quota", cpu.quota_cores > 0 ? Json(cpu.quota_cores) : Json()).set("threads", runtime.pool().num_threads());
  caches.set("l1d_bytes", cpu.l1d_bytes).set("l2_bytes", cpu.l2_bytes).set("l3_bytes", cpu.l3_bytes);
  memory.set("bytes", cpu.memory_bytes).set("available_bytes", cpu.memory_available);
  memory.set("limit_bytes", cpu.memory_limit > 0 ? Json(cpu.memory_limit) : Json()).set("huge_pages", huge_pages());
  rates.set("read_gb_per_s_one_thread", measured.read_one * 1e-9).set("read_gb_per_s", measured.read_all * 1e-9);
  rates.set("float32_flops", measured.float32).set("bfloat16_flops", measured.bfloat16).set("int8_ops", measured.int8);
  for (const Finding& finding : findings) {
    Json entry = Json::object();
    entry.set("what", finding.what).set("fix", finding.fix);
    missing.push_back(std::move(entry));
  }
  result.set("machine", cpu.model).set("vendor", cpu.vendor).set("instructions", instruction_sets(cpu));
  result.set("usable_isas", std::move(usable)).set("isa", isa_name(runtime.isa()));
  result.set("cores", std::move(cores)).set("caches", std::move(caches)).set("memory", std::move(memory));
  result.set("measured", std::move(rates)).set("kernels", kernels_info(runtime));
  result.set("hub", hub_config ? hub_info(*hub_config) : Json()).set("missing", std::move(missing));
  write_json(result);
  return 0;
}

}  // namespace

void add_doctor(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const Verb verb = add_verb(program, "doctor", "Say what this machine has, how fast it is, what is missing and how to fix it",
                             {"pagoda doctor", "pagoda doctor --threads 1 --isa avx2 --json"});
  add_placement_flags(verb, flags->machine);
  verb->add_option("--isa", flags->machine.isa, "Instruction set")
      ->type_name("auto|reference|portable|avx2|avx512|avx512_bf16|amx")
      ->capture_default_str();
  verb->callback([&program, flags] { program.run = [&program, flags] { return run(program, *flags); }; });
}

}  // namespace pagoda::cli
