// The shell of every server: keys, pages of other origins, dispatch, errors as JSON, the document, health and metrics, whatever
// model it serves.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "server/access.h"
#include "server/http_server.h"
#include "server/serving.h"

namespace pagoda {
class Json;
}

namespace pagoda::server {

class ServedModel;
struct Call;
struct Route;

struct AppOptions : ServingOptions, AccessOptions {
  std::string model;      // as it was given
  std::string root_path;  // a prefix that a proxy leaves before every path
};

// Answers requests from the first moment: 503 until it serves a model.
class App {
 public:
  explicit App(AppOptions options);
  ~App();
  App(const App&) = delete;
  App& operator=(const App&) = delete;

  // What the routes of a model share with this server; lives as long as this.
  Serving& serving() { return serving_; }
  // From now on there are answers. Called once.
  void serve(std::unique_ptr<ServedModel> model);
  void handle(HttpRequest request, std::shared_ptr<HttpResponse> response);
  // No new requests, and nobody watches any more; waits for no answer.
  void close();
  int64_t num_open() const;
  // Of those in the background, which no connection waits for. They can be asked for after close() too.
  int64_t num_background() const;
  std::vector<std::string> route_names() const;  // "GET /health", ...: those that are known now

 private:
  struct Entry;  // a route, and the names of its fields
  using Table = std::vector<Entry>;
  struct Match {
    const Entry* entry;   // null: none
    std::string allowed;  // methods of the path
  };
  const Table& table(bool ready) const { return ready ? serving_table_ : loading_table_; }
  static Match find(const Table& table, const HttpRequest& request);
  std::vector<Route> own_routes();
  void answer(const Entry& entry, const Call& call) const;
  Json openapi() const;
  Json model_card(const std::string& name) const;
  void health(HttpResponse& response) const;
  void models(const Call& call) const;
  void one_model(const Call& call) const;

  const std::string model_path_, root_path_;
  const int64_t started_;
  const Access access_;
  Serving serving_;
  Table loading_table_, serving_table_;  // before and after ready_
  std::unique_ptr<ServedModel> model_;   // null until ready_
  std::atomic<bool> ready_{false}, closing_{false};
};

}  // namespace pagoda::server
