// What the routes of a server share, whatever is served: the model's names, limits, the account of memory, the counts.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/pooling_params.h"
#include "server/memory_ledger.h"
#include "server/metrics.h"
#include "server/request_limits.h"

namespace pagoda::server {

class Fields;

struct ServingOptions {
  std::vector<std::string> served_model_names;  // one at least; the first is the one that answers carry
  int64_t max_open = 1024;                      // requests that run or wait; more are told to come back (503)
  bool trust_request_chat_template = false;     // requests may bring templates, which are programs
  PoolingParams pooling;                        // of embeddings, where the request does not say
  RequestLimits limits;
  // What open requests and their answers take counts here. A server has one with its connections (HttpOptions::memory).
  MemoryLedger memory = MemoryLedger::unbounded();
};

class Serving {
 public:
  explicit Serving(ServingOptions options);

  const ServingOptions& options() const { return options_; }
  const RequestLimits& limits() const { return options_.limits; }
  const std::string& model_name() const { return options_.served_model_names[0]; }
  bool serves(std::string_view name) const;
  // "The model `name` does not exist: need ..."
  std::string no_such_model(std::string_view name) const;
  // Takes "model". Throws kNotFound for a name that is not served.
  void check_model(Fields& fields) const;
  Metrics& metrics() { return metrics_; }

 private:
  const ServingOptions options_;
  Metrics metrics_;
};

}  // namespace pagoda::server
