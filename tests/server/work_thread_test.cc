// Work is done in order, by another thread, and to the end.
#include "server/work_thread.h"

#include <gtest/gtest.h>

#include <vector>

namespace pagoda::server {
namespace {

TEST(WorkThread, DoesAllInOrderElsewhere) {
  std::vector<int> done;
  std::thread::id by;
  {
    WorkThread worker;
    for (int i = 0; i < 100; ++i) {
      worker.post([&, i] {
        done.push_back(i);
        by = std::this_thread::get_id();
      });
    }
    worker.post([&] { worker.post([&] { done.push_back(100); }); });
  }
  ASSERT_EQ(done.size(), 101U);
  for (int i = 0; i < 101; ++i) EXPECT_EQ(done[static_cast<size_t>(i)], i);
  EXPECT_NE(by, std::this_thread::get_id());
}

}  // namespace
}  // namespace pagoda::server
