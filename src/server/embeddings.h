// What /v1/embeddings is asked.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/json.h"
#include "engine/pooler.h"
#include "server/generation_request.h"

namespace pagoda::server {

struct EmbeddingBody {
  const Json* input = nullptr;
  PoolingParams pooling;
  bool base64 = false;
  bool add_special_tokens = true;
  Truncation truncation;
  int64_t priority = 0;
  std::string cache_salt, request_id;
  std::string prompt_name;  // of a folder of sentence-transformers; empty: its default
};

// vLLM's --pooler-config: {"pooling_type": "LAST" | "MEAN" | "CLS", "use_activation": true, "dimensions": 256}; "": as the
// model has it, scaled to length 1. Throws kInvalidInput.
PoolingParams parse_pooler_config(const std::string& text);

constexpr int64_t kBytesOfNumber = 13;  // of a vector as text, with its comma
// [0.5,-1.25], or base64 of float32. A list of such vectors as a tree of JSON values would take fifty times their size.
void append_vector(std::string& out, std::span<const float> vector, bool base64);

struct PoolingResult;
// The answer as text at once.
std::string embeddings_body(const PoolingResult& result, const std::string& id, const std::string& model, bool base64,
                            int64_t created);

}  // namespace pagoda::server
