// What a server serves, as the server sees it.
#pragma once

#include <cstdint>
#include <vector>

#include "server/route.h"

namespace pagoda {
struct EngineStats;
}

namespace pagoda::server {

class ModelTexts;

class ServedModel {
 public:
  virtual ~ServedModel() = default;
  // Its own, beside those that every server has; they look at this object.
  virtual std::vector<Route> routes() = 0;
  virtual ModelTexts& texts() = 0;  // how texts become its tokens
  virtual EngineStats stats() const = 0;
  virtual bool healthy() const = 0;
  virtual int64_t num_open() const = 0;  // requests
  // Of those in the background, which no connection waits for.
  virtual int64_t num_background() const { return 0; }
  // Nobody watches any more; waits for no answer.
  virtual void close() {}
};

// Those of all kinds of models, each once: what is told to wait while it is not known what will be served.
std::vector<RouteInfo> routes_of_all_kinds();

}  // namespace pagoda::server
