// Which requests have a thread, and which wait for their turn.
#include "tests/server/http_fixture.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

namespace pagoda::server {
namespace {

using namespace std::chrono_literals;
using testing::Client;
using testing::eventually;

// Handlers of requests with bodies may take long: a thread is left for those without, which say whether the server lives.
TEST_F(Http, BodiesLeaveAThread) {
  HttpOptions options = any_port();
  options.threads = 3;
  std::mutex mutex;
  std::condition_variable changed;
  bool asked = false;
  std::atomic<int> in_time{0};
  start(options, [&](const HttpRequest& request, const std::shared_ptr<HttpResponse>& response) {
    std::unique_lock lock(mutex);
    if (request.body.empty()) {
      asked = true;
      changed.notify_all();
    } else if (changed.wait_for(lock, 20s, [&] { return asked; })) {
      ++in_time;
    }
    lock.unlock();
    echo(request, response);
  });
  const std::string large(2 << 20, 'x');
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(std::make_unique<Client>(port()));
    ASSERT_TRUE(clients.back()->send(post(i % 2 == 0 ? "small" : large)));
  }
  Client probe(port());
  EXPECT_EQ(probe.ask(get("/health")).status, 200);
  for (const auto& client : clients) EXPECT_EQ(client->read_answer().status, 200);
  EXPECT_EQ(in_time, 8);
}

// With four threads: one for large bodies, from what is no longer cut into tokens at once on, two for small ones, one for none.
TEST_F(Http, SmallBodiesGoSideBySideAndPastLargeOnes) {
  HttpOptions options = any_port();
  options.threads = 4;
  std::mutex mutex;
  std::condition_variable changed;
  int small = 0, large = 0, most_large = 0;
  std::atomic<int> in_time{0};
  start(options, [&](const HttpRequest& request, const std::shared_ptr<HttpResponse>& response) {
    std::unique_lock lock(mutex);
    const bool is_large = request.body.size() > 100;
    if (is_large) {
      most_large = std::max(most_large, ++large);
    } else {
      ++small;
    }
    changed.notify_all();
    if (changed.wait_for(lock, 20s, [&] { return small >= 2; })) ++in_time;
    if (is_large) --large;
    lock.unlock();
    echo(request, response);
  });
  std::vector<std::unique_ptr<Client>> clients;
  for (const size_t size : {size_t{65} << 10, size_t{65} << 10, size_t{65} << 10, size_t{5}, size_t{5}}) {
    clients.push_back(std::make_unique<Client>(port()));
    ASSERT_TRUE(clients.back()->send(post(std::string(size, 'x'))));
  }
  for (const auto& client : clients) EXPECT_EQ(client->read_answer().status, 200);
  EXPECT_EQ(in_time, 5);
  EXPECT_EQ(most_large, 1);
}

// A client that goes while it waits for its turn is forgotten, and the others have theirs.
TEST_F(Http, WhoGoesWhileWaitingIsForgotten) {
  HttpOptions options = any_port();
  options.threads = 3;
  std::mutex mutex;
  std::condition_variable changed;
  bool open = false;
  std::atomic<int> handled{0};
  start(options, [&](const HttpRequest& request, const std::shared_ptr<HttpResponse>& response) {
    if (!request.body.empty()) {
      std::unique_lock lock(mutex);
      ++handled;
      changed.notify_all();
      changed.wait(lock, [&] { return open; });
    }
    echo(request, response);
  });
  Client first(port()), last(port());
  ASSERT_TRUE(first.send(post("first")));
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return handled == 1; });
  }
  {
    Client gone(port());
    ASSERT_TRUE(gone.send(post("gone")));
    ASSERT_TRUE(eventually([&] { return server_->connections() == 3; }));
    Client probe(port());
    EXPECT_EQ(probe.ask(get("/x")).status, 200);  // all threads are past what came before
  }
  ASSERT_TRUE(last.send(post("last")));
  ASSERT_TRUE(eventually([&] { return server_->connections() == 2; }));
  {
    const std::lock_guard lock(mutex);
    open = true;
  }
  changed.notify_all();
  EXPECT_EQ(first.read_answer().status, 200);
  EXPECT_EQ(last.read_answer().status, 200);
  EXPECT_EQ(handled, 2);
}

}  // namespace
}  // namespace pagoda::server
