// Names become values.
#include "api/options.h"

#include <algorithm>

#include "base/error.h"
#include "base/utf8.h"

namespace pagoda::api {

namespace {

constexpr int kMostThreads = 4096;

std::optional<DType> kv_cache_dtype(const std::string& name) {
  if (name == "auto") return std::nullopt;
  if (name == "float32") return DType::kFloat32;
  if (name == "bfloat16") return DType::kBFloat16;
  if (name == "int8") return DType::kInt8;
  invalid("kv_cache_dtype", "got '{}', need auto, float32, bfloat16 or int8", utf8_cut(name, 32));
}

int64_t at_least(int64_t value, int64_t least, std::string_view where) {
  if (value < least) invalid(where, "got {}, need at least {}", value, least);
  return value;
}

}  // namespace

LoadOptions load_options(const ModelOptions& options) {
  LoadOptions load;
  if (options.threads < 0 || options.threads > kMostThreads)
    invalid("threads", "got {}, need 0 to {}", options.threads, kMostThreads);
  load.runtime.threads = options.threads;
  load.runtime.place = options.cores == "auto";
  if (options.cores != "auto" && options.cores != "none") load.runtime.cores = parse_core_list(options.cores);
  if (options.isa != "auto") load.runtime.isa = parse_isa(options.isa);
  choose_dtype(options.dtype, DType::kFloat32);  // a wrong name is told before anything is loaded
  load.dtype = options.dtype;
  load.tokenizer = options.tokenizer;
  load.compiled = options.compiled;
  load.notice = options.notice;
  return load;
}

pagoda::EngineOptions engine_options(const EngineOptions& options) {
  pagoda::EngineOptions engine;
  engine.max_model_len = at_least(options.max_model_len, 0, "max_model_len");
  engine.kv_cache_bytes = at_least(options.kv_cache_memory, 0, "kv_cache_memory");
  engine.kv_cache_dtype = kv_cache_dtype(options.kv_cache_dtype);
  engine.max_num_seqs = at_least(options.max_num_seqs, 1, "max_num_seqs");
  const int64_t tokens = at_least(options.max_num_batched_tokens, 0, "max_num_batched_tokens");
  engine.max_num_batched_tokens = tokens > 0 ? at_least(tokens, engine.max_num_seqs, "max_num_batched_tokens")
                                             : std::max<int64_t>(2048, engine.max_num_seqs);
  engine.enable_prefix_caching = options.enable_prefix_caching;
  return engine;
}

}  // namespace pagoda::api
