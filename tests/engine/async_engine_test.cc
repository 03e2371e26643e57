// The engine on its own thread: many callers, cancellations, refusals, the end.
#include "engine/async_engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <new>

#include "base/file.h"

namespace pagoda {
namespace {

class AsyncEngineTest : public ::testing::Test {
 protected:
  AsyncEngineTest() {
    const std::string path = PAGODA_SOURCE_DIR "/tests/fixtures/llama";
    const auto folder = ModelFolder::open(path);
    model_ = make_model(folder->config(), path);
    model_->load(runtime_.device(), *folder);
    model_->prepare_for_inference(runtime_.device(), DType::kFloat32);
    engine_ = std::make_unique<Engine>(runtime_, *model_, nullptr);
  }
  static Request request(int32_t token, int64_t length) {
    Request request;
    request.prompt_ids = {token, 6, 7};
    request.params.max_new_tokens = length;
    request.params.ignore_eos = true;
    return request;
  }
  static RuntimeOptions one_thread() {
    RuntimeOptions options;
    options.threads = 1;
    return options;
  }
  Runtime runtime_{one_thread()};
  std::unique_ptr<Model> model_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(AsyncEngineTest, ManyCallersEachGetTheirOwn) {
  std::vector<std::vector<int32_t>> alone(8), together(64);
  for (int32_t i = 0; i < 8; ++i) {
    engine_->add(request(i, 12));
    while (engine_->has_work()) {
      for (const Event& event : engine_->step()) {
        alone[static_cast<size_t>(i)].insert(alone[static_cast<size_t>(i)].end(), event.token_ids.begin(),
                                             event.token_ids.end());
      }
    }
  }
  AsyncEngine async(*engine_, 0);
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&, caller] {
      for (int i = caller; i < 64; i += 4) {
        std::vector<int32_t>& ids = together[static_cast<size_t>(i)];
        EXPECT_TRUE(async.submit(request(i % 8, 12), [&ids](const Event& event) {
          ids.insert(ids.end(), event.token_ids.begin(), event.token_ids.end());
        }));
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  async.drain();
  for (size_t i = 0; i < 64; ++i) EXPECT_EQ(together[i], alone[i % 8]) << i;
  EXPECT_EQ(async.num_open(), 0);
  EXPECT_TRUE(async.healthy());
}

// Who is told of the end may still hold the engine, and take back what it submitted.
TEST_F(AsyncEngineTest, AStoppedEngineIsStillThere) {
  AsyncEngine async(*engine_, 0);
  std::promise<Event> told;
  const auto ticket = async.submit(request(5, 1 << 20), [&told](const Event& event) {
    if (event.request_done) told.set_value(event);
  });
  ASSERT_TRUE(ticket);
  async.stop();
  EXPECT_EQ(told.get_future().get().error->kind(), ErrorKind::kDevice);
  EXPECT_EQ(async.num_open(), 0);
  async.abort(*ticket);
  EXPECT_FALSE(async.submit(request(5, 1), [](const Event&) { FAIL() << "told after the end"; }));
  async.stop();
  EXPECT_FALSE(engine_->has_work());
}

// The engine says when it took a request up, and how many tokens each step computed.
TEST_F(AsyncEngineTest, NotesTimesAndSizes) {
  const auto begin = std::chrono::steady_clock::now();
  AsyncEngine async(*engine_, 0);
  std::vector<Event> events;
  ASSERT_TRUE(async.submit(request(5, 3), [&events](const Event& event) { events.push_back(event); }));
  async.drain();
  ASSERT_EQ(events.size(), 3u);
  EXPECT_GE(events[0].scheduled_at, begin);
  EXPECT_LE(events[0].scheduled_at, std::chrono::steady_clock::now());
  EXPECT_EQ(events[2].scheduled_at, events[0].scheduled_at);
  const StepSizes sizes = engine_->stats().step_sizes;
  EXPECT_EQ(sizes.tokens, 3 + 1 + 1);  // a prompt, and two tokens after the first
  EXPECT_EQ(sizes.counts[0], 2);
  EXPECT_EQ(sizes.counts[1], 1);
}

TEST_F(AsyncEngineTest, AfterTheLastAbortNothingRuns) {
  AsyncEngine async(*engine_, 0);
  std::atomic<int> events{0};
  std::promise<void> started, aborted;
  const auto ticket = async.submit(request(5, 100), [&](const Event&) {
    if (events.fetch_add(1) > 0) return;
    started.set_value();
    aborted.get_future().wait();
  });
  started.get_future().wait();
  async.abort(*ticket);
  aborted.set_value();
  async.drain();
  // Each map is made in a turn of the engine's loop, the second after the end of the first's.
  async.cache_map();
  async.cache_map();
  EXPECT_EQ(async.stats().num_running, 0);
}

TEST_F(AsyncEngineTest, AbortsAndRefusals) {
  AsyncEngine async(*engine_, 2);
  std::atomic<int> events{0};
  std::promise<void> started, aborted;
  // The engine waits at the first event until the abort was given, however slow this thread is.
  const auto ticket = async.submit(request(5, 100), [&](const Event&) {
    if (events.fetch_add(1) > 0) return;
    started.set_value();
    aborted.get_future().wait();
  });
  ASSERT_TRUE(ticket);
  started.get_future().wait();
  async.abort(*ticket);
  async.abort(*ticket);
  async.abort(999);
  aborted.set_value();
  async.drain();
  EXPECT_EQ(events.load(), 1);
  std::promise<Error> refused;
  ASSERT_TRUE(async.submit(request(-1, 4), [&](const Event& event) { refused.set_value(*event.error); }));
  EXPECT_EQ(refused.get_future().get().kind(), ErrorKind::kInvalidInput);
  async.drain();
}

TEST_F(AsyncEngineTest, TheCacheMapComesAtAnyTime) {
  AsyncEngine async(*engine_, 0);
  ASSERT_NE(async.cache_map(), nullptr);  // idle
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(async.submit(request(5, 60), [](const Event&) {}));
  std::vector<std::thread> askers;
  for (int i = 0; i < 3; ++i) {
    askers.emplace_back([&] {
      for (int k = 0; k < 20; ++k) {
        const std::shared_ptr<const CacheMap> map = async.cache_map();
        const auto held = std::count_if(map->references.begin(), map->references.end(), [](int32_t n) { return n > 0; });
        EXPECT_EQ(held, map->stats.num_allocated_blocks);
        for (size_t page = 0; page < map->owners.size(); ++page) {
          const bool owned = map->owners[page] != CacheMap::kFree && map->owners[page] != CacheMap::kCached;
          ASSERT_EQ(owned, map->references[page] > 0) << page;
        }
      }
    });
  }
  for (std::thread& asker : askers) asker.join();
  async.drain();
  EXPECT_EQ(async.cache_map()->stats.num_allocated_blocks, 0);
}

TEST_F(AsyncEngineTest, AFullHouseRefuses) {
  AsyncEngine async(*engine_, 2);
  std::promise<void> gate;
  std::shared_future<void> open = gate.get_future().share();
  ASSERT_TRUE(async.submit(request(5, 2), [open](const Event&) { open.wait(); }));
  ASSERT_TRUE(async.submit(request(6, 2), [](const Event&) {}));
  EXPECT_FALSE(async.submit(request(7, 2), [](const Event&) {}));
  gate.set_value();
  async.drain();
  EXPECT_TRUE(async.submit(request(7, 2), [](const Event&) {}));
}

TEST_F(AsyncEngineTest, ASinkThatThrowsEndsItsOwnRequestAlone) {
  AsyncEngine async(*engine_, 0);
  std::atomic<int> told{0}, refused{0};
  std::vector<int32_t> ids;
  async.submit(request(5, 60), [&](const Event&) {
    told.fetch_add(1);
    throw std::bad_alloc();
  });
  async.submit(request(-1, 60), [&](const Event&) {  // no such token
    refused.fetch_add(1);
    throw std::bad_alloc();
  });
  async.submit(request(6, 12),
               [&](const Event& event) { ids.insert(ids.end(), event.token_ids.begin(), event.token_ids.end()); });
  async.drain();
  EXPECT_EQ(told.load(), 1);
  EXPECT_EQ(refused.load(), 1);
  EXPECT_EQ(ids.size(), 12u);
  EXPECT_TRUE(async.healthy());
  EXPECT_FALSE(engine_->has_work());
  EXPECT_EQ(engine_->pool().num_free(), engine_->pool().num_blocks());
}

TEST_F(AsyncEngineTest, TheEndTellsThoseWhoWait) {
  std::atomic<int> ended{0};
  {
    AsyncEngine async(*engine_, 0);
    for (int i = 0; i < 20; ++i) {
      async.submit(request(5, 120), [&](const Event& event) {
        if (event.request_done) ended.fetch_add(1);
      });
    }
  }
  EXPECT_EQ(ended.load(), 20);
  EXPECT_FALSE(engine_->has_work());
  EXPECT_EQ(engine_->pool().num_free(), engine_->pool().num_blocks());
}

}  // namespace
}  // namespace pagoda
