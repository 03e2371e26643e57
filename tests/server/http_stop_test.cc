// The end of a server: streams that may finish, and those that take too long.
#include "tests/server/http_stream.h"

#include <atomic>
#include <thread>

namespace pagoda::server {
namespace {

using namespace std::chrono_literals;
using testing::Answer;
using testing::Client;
using testing::eventually;
using testing::Signal;

TEST_F(Stream, StopLetsStreamsFinish) {
  start(any_port());
  Client client(port()), idle(port()), half(port());
  idle.send(kGet);
  response()->send(200, "text/plain", "x", {});
  EXPECT_EQ(idle.read_answer().body, "x");
  // A request whose head is read, and known to be: unread, it could only be closed.
  half.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(half.read_answer().status, 100);
  client.send(kGet);
  const auto answer = response();
  answer->begin(200, "text/plain", {});
  answer->write("begun ");
  EXPECT_TRUE(client.wait_for("begun"));
  std::atomic<int64_t> cut{-1};
  std::thread stopper([&] { cut = server_->stop(10s); });
  EXPECT_TRUE(idle.closed());  // nothing under way there
  EXPECT_EQ(half.read_answer().status, 503);
  Client late(port());
  EXPECT_TRUE(!late.connected() || late.closed());
  EXPECT_EQ(cut, -1);
  EXPECT_TRUE(answer->write("done"));
  answer->finish();
  const Answer got = client.read_answer();
  EXPECT_EQ(got.body, "begun done");
  EXPECT_TRUE(got.whole);
  EXPECT_TRUE(client.closed());
  stopper.join();
  EXPECT_EQ(cut, 0);
  EXPECT_EQ(server_->connections(), 0);
  EXPECT_EQ(server_->stop(1s), 0);
}

TEST_F(Stream, StopCutsWhatTakesTooLong) {
  start(any_port());
  Client client(port()), waiting(port());
  client.send(kGet);
  const auto answer = response();
  waiting.send(kGet);
  const auto unanswered = response();
  Signal gone;
  answer->on_disconnect([&] { gone.set(); });
  unanswered->on_disconnect([&] { gone.set(); });
  answer->begin(200, "text/plain", {});
  answer->write("begun");
  EXPECT_TRUE(client.wait_for("begun"));
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(server_->stop(100ms), 2);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 100ms);
  EXPECT_EQ(gone.count(), 2);
  EXPECT_FALSE(client.read_answer().whole);
  EXPECT_TRUE(waiting.closed());
}

TEST_F(Stream, AnAnswerDuringStopSaysThatTheConnectionCloses) {
  start(any_port());
  Client client(port());
  client.send(std::string(kGet) + kGet);
  const auto answer = response();
  std::thread stopper([&] { EXPECT_EQ(server_->stop(10s), 0); });
  // Only once nobody listens any more has the server begun to stop.
  EXPECT_TRUE(eventually([&] {
    const Client probe(port());
    return !probe.connected();
  }));
  std::this_thread::sleep_for(20ms);
  answer->send(200, "text/plain", "last", {});
  const Answer got = client.read_answer();
  EXPECT_EQ(got.body, "last");
  EXPECT_EQ(got.header("connection"), "close");
  EXPECT_TRUE(client.closed());
  stopper.join();
  EXPECT_EQ(asked_.count(), 1);  // the request behind it was not taken
}

}  // namespace
}  // namespace pagoda::server
