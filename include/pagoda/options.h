// How a model is loaded, and how a language model runs its requests. Defaults are those of `pagoda generate`, but that nothing
// is pinned.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace pagoda::api {

// Of every model.
struct ModelOptions {
  // Arithmetic: "float32", "bfloat16", or "auto": bfloat16 where the checkpoint is, else float32.
  std::string dtype = "auto";
  int threads = 0;  // 0: one a physical core that this process may use
  // Cores to pin the model's threads to, such as "0,2,4-6". "none": pin nothing. "auto": a core a thread of one NUMA node,
  // where there is a choice. The caller's threads stay as they are.
  std::string cores = "none";
  // "reference", "portable", "avx2", "avx512", "avx512_bf16", "amx", or "auto": the best that this machine has.
  std::string isa = "auto";
  std::string tokenizer{};  // folder or ORG/NAME of another tokenizer, with its chat template; "": the model's
  // File of `pagoda compile`, mapped instead of packing weights; "": the one beside the model, where it fits; "none".
  std::string compiled{};
  // Told warnings while open() waits, on another thread: weights that the model does not use, say. Must not throw.
  std::function<void(const std::string& text)> notice{};
};

// Of language models: the engine that runs requests together.
struct EngineOptions {
  int64_t max_model_len = 0;    // tokens of prompt and answer together; 0: what the model was made for, and the cache holds
  int64_t kv_cache_memory = 0;  // bytes; 0: 60 % of what is free, at most what 2^20 tokens need. Taken as it is used
  std::string kv_cache_dtype = "auto";  // "float32", "bfloat16", "int8", or "auto": as products
  int64_t max_num_seqs = 256;           // sequences that run at once; others wait
  int64_t max_num_batched_tokens = 0;   // of one step; 0: 2048, or max_num_seqs where that is more
  bool enable_prefix_caching = true;    // requests with equal beginnings share pages

  // Chats.
  std::string chat_template{};     // a Jinja template that stands for the model's own; "": the model's
  std::string tool_call_parser{};  // "hermes", "llama3_json", "mistral"; "": as the model's template tells
  std::string reasoning_parser{};  // "deepseek_r1", "qwen3": thoughts are told apart; "": they are part of the answer
};

}  // namespace pagoda::api
