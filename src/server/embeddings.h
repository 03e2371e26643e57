// What /v1/embeddings is asked.
#pragma once

#include <cstdint>
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

// vLLM's --pooler-config: {"pooling_type": "LAST" | "MEAN" | "CLS", "use_activation": true, "dimensions": 256}; "": the last
// hidden state, scaled to length 1, as vLLM has it for decoders. Throws kInvalidInput.
PoolingParams parse_pooler_config(const std::string& text);

struct PoolingResult;
// The answer as text at once: a thousand vectors as a tree of JSON values would take fifty times their size.
std::string embeddings_body(const PoolingResult& result, const std::string& id, const std::string& model, bool base64,
                            int64_t created);

}  // namespace pagoda::server
