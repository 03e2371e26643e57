// /v1/embeddings, whatever makes the vectors: what is asked for, and the answer.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/json.h"
#include "engine/pooling_params.h"
#include "server/generation_request.h"

namespace pagoda::server {

class HttpResponse;
class Serving;
struct PoolingResult;

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

// What of a request depends on the model.
struct EmbeddingRules {
  const Json& config;  // config.json: what its vectors may be cut to
  int64_t vocab_size, hidden_size, max_model_len;
  Sides sides = Sides::kBoth;
  bool by_priority = false;
  bool has_cache = true;  // that a salt parts
};

EmbeddingBody read_embedding(const Serving& serving, const EmbeddingRules& rules, Fields& fields);

// vLLM's --pooler-config: {"pooling_type": "LAST" | "MEAN" | "CLS", "use_activation": true, "dimensions": 256}; "": as the
// model has it, scaled to length 1. Throws kInvalidInput.
PoolingParams parse_pooler_config(const std::string& text);

constexpr int64_t kBytesOfNumber = 13;  // of a vector as text, with its comma
// [0.5,-1.25], or base64 of float32. A list of such vectors as a tree of JSON values would take fifty times their size.
void append_vector(std::string& out, std::span<const float> vector, bool base64);

// The answer as text at once.
std::string embeddings_body(const PoolingResult& result, const std::string& id, const std::string& model, bool base64,
                            int64_t created);
// Room for an answer of so many numbers; false: there is none now, which is answered with 503. Throws kInvalidInput where there
// never is.
bool hold_vectors(Serving& serving, int64_t numbers, HttpResponse& response);

}  // namespace pagoda::server
