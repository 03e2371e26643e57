// Streams, clients that go away, and many connections.
#include "tests/server/http_stream.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

namespace pagoda::server {
namespace {

using namespace std::chrono_literals;
using testing::Answer;
using testing::Client;
using testing::eventually;
using testing::Signal;

TEST_F(Stream, ComesInChunksAsItIsWritten) {
  start(any_port());
  Client client(port());
  client.send(kGet);
  const auto answer = response();
  answer->begin(200, "text/event-stream", {{"Cache-Control", "no-cache"}});
  EXPECT_TRUE(client.wait_for("Transfer-Encoding: chunked\r\n"));
  for (int i = 0; i < 5; ++i) {
    const std::string event = "data: " + std::to_string(i) + "\n\n";
    EXPECT_TRUE(answer->write(event));
    EXPECT_TRUE(client.wait_for(event)) << i;
  }
  EXPECT_TRUE(answer->write(""));  // ends nothing
  answer->finish();
  EXPECT_FALSE(answer->write("x"));
  const Answer got = client.read_answer();
  EXPECT_TRUE(got.whole);
  EXPECT_EQ(got.body, "data: 0\n\ndata: 1\n\ndata: 2\n\ndata: 3\n\ndata: 4\n\n");
  EXPECT_EQ(got.header("content-type"), "text/event-stream");
  EXPECT_EQ(got.header("cache-control"), "no-cache");
  // The connection serves on.
  client.send(kGet);
  response()->send(200, "text/plain", "next", {});
  EXPECT_EQ(client.read_answer().body, "next");
}

// What makes a stream's text runs on a thread of the server's, in order, and not for a client that is gone.
TEST_F(Stream, WorkIsDoneOnTheServersThreads) {
  HttpOptions options = any_port();
  options.threads = 4;
  start(options);
  Client client(port());
  client.send(kGet);
  const auto answer = response();
  answer->begin(200, "text/plain", {});
  std::atomic<int> wrong{0};
  const auto caller = std::this_thread::get_id();
  std::string expected;
  for (int i = 0; i < 200; ++i) {
    expected += std::to_string(i) + ",";
    answer->post([&, i, answer] {
      wrong += std::this_thread::get_id() == caller ? 1 : 0;
      answer->write(std::to_string(i) + ",");
      if (i == 199) answer->finish();
    });
  }
  EXPECT_EQ(client.read_answer().body, expected);
  EXPECT_EQ(wrong, 0);
  std::atomic<int> late{0};
  {
    Client leaver(port());
    leaver.send(kGet);
    auto other = response();
    Signal gone;
    other->on_disconnect([&] { gone.set(); });
    leaver.close();
    EXPECT_TRUE(gone.wait());
    other->post([&, other] { ++late; });
  }
  EXPECT_EQ(server_->stop(1s), 0);
  EXPECT_EQ(late, 0);
}

TEST_F(Stream, WithHttp10ItEndsWithTheConnection) {
  start(any_port());
  Client client(port());
  client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  const auto answer = response();
  answer->begin(200, "text/plain", {});
  answer->write("one ");
  answer->write("two");
  answer->finish();
  const Answer got = client.read_answer();
  EXPECT_EQ(got.headers.count("transfer-encoding"), 0U);
  EXPECT_EQ(got.header("connection"), "close");
  EXPECT_EQ(got.body, "one two");
  EXPECT_TRUE(got.whole);
}

TEST_F(Stream, ToHeadItHasNoBody) {
  HttpOptions options = any_port();
  options.sse_ping = 20ms;
  start(options);
  Client client(port());
  client.send("HEAD /s HTTP/1.1\r\nHost: h\r\n\r\n");
  auto answer = response();
  answer->begin(200, "text/event-stream", {});
  EXPECT_TRUE(answer->write("data: x\n\n"));
  std::this_thread::sleep_for(60ms);
  answer->finish();
  EXPECT_EQ(client.read_answer(true).status, 200);
  client.send(kGet);
  response()->send(200, "text/plain", "next", {});
  EXPECT_EQ(client.read_answer().body, "next");
}

TEST_F(Stream, ManyThreadsMayWrite) {
  start(any_port());
  Client client(port());
  client.send(kGet);
  const auto answer = response();
  answer->begin(200, "text/plain", {});
  std::vector<std::thread> writers;
  for (int t = 0; t < 4; ++t) {
    writers.emplace_back([&, t] {
      for (int i = 0; i < 1000; ++i) answer->write(std::string(1, static_cast<char>('a' + t)));
    });
  }
  for (std::thread& writer : writers) writer.join();
  answer->finish();
  const Answer got = client.read_answer();
  EXPECT_TRUE(got.whole);
  for (const char c : {'a', 'b', 'c', 'd'}) EXPECT_EQ(std::count(got.body.begin(), got.body.end(), c), 1000);
}

TEST_F(Stream, ASilentEventStreamGetsPings) {
  HttpOptions options = any_port();
  options.sse_ping = 50ms;
  start(options);
  Client client(port());
  client.send(kGet);
  const auto answer = response();
  answer->begin(200, "text/event-stream; charset=utf-8", {});
  EXPECT_TRUE(client.wait_for(": ping\n\n"));
  answer->write("data: half");
  // No ping may fall into an event.
  EXPECT_TRUE(client.wait_for("data: half"));
  std::this_thread::sleep_for(150ms);
  answer->write(" an event\n\n");
  EXPECT_TRUE(client.wait_for(" an event\n\n"));
  client.buffer().clear();
  EXPECT_TRUE(client.wait_for(": ping\n\n"));
  client.buffer().clear();
  answer->finish();
  EXPECT_TRUE(client.wait_for("0\r\n\r\n"));
}

TEST_F(Stream, PingsDoNotSplitAnEvent) {
  HttpOptions options = any_port();
  options.sse_ping = 20ms;
  start(options);
  Client client(port());
  client.send(kGet);
  const auto answer = response();
  answer->begin(200, "text/event-stream", {});
  answer->write("data: a");
  std::this_thread::sleep_for(100ms);
  answer->write("b\n\n");
  answer->finish();
  const std::string body = client.read_answer().body;
  EXPECT_NE(body.find("data: ab\n\n"), std::string::npos) << body;
}

TEST_F(Stream, OthersGetNoPings) {
  HttpOptions options = any_port();
  options.sse_ping = 20ms;
  start(options);
  Client client(port());
  client.send(kGet);
  auto answer = response();
  answer->begin(200, "application/json", {});
  std::this_thread::sleep_for(100ms);
  answer->write("{}");
  answer->finish();
  EXPECT_EQ(client.read_answer().body, "{}");
  // Nor does one that was not silent.
  client.send(kGet);
  answer = response();
  answer->begin(200, "text/event-stream", {});
  answer->finish();
  EXPECT_EQ(client.read_answer().body, "");
}

TEST_F(Stream, PendingBytesAreCountedAndAStalledReaderIsCut) {
  HttpOptions options = any_port();
  options.write_timeout = 1500ms;  // long enough to look, also where the machine is busy
  start(options);
  Client client(port(), 4096);
  client.send(kGet);
  const auto answer = response();
  Signal gone;
  answer->on_disconnect([&] { gone.set(); });
  answer->begin(200, "text/plain", {});
  EXPECT_TRUE(eventually([&] { return answer->pending_bytes() == 0; }));
  // More than the system's buffers hold.
  for (int i = 0; i < 16; ++i) EXPECT_TRUE(answer->write(std::string(1 << 20, 'x')));
  EXPECT_GT(answer->pending_bytes(), 1 << 20);
  EXPECT_TRUE(gone.wait());
  EXPECT_EQ(answer->pending_bytes(), 0);
  EXPECT_FALSE(answer->write("x"));
  EXPECT_TRUE(eventually([&] { return server_->connections() == 0; }));
}

// Who works long within its call can ask; it is told only when it returns.
TEST_F(Stream, AHandlerCanAskWhetherItsClientHasGone) {
  std::atomic<bool> begun{false}, seen{false}, ended{false};
  HttpServer server(any_port(), [&](const HttpRequest&, const std::shared_ptr<HttpResponse>& response) {
    seen = !response->gone();
    begun = true;
    for (int i = 0; i < 20000 && !response->gone(); ++i) std::this_thread::sleep_for(1ms);
    ended = response->gone();
  });
  Client client(server.port());
  client.send(kGet);
  EXPECT_TRUE(eventually([&] { return begun.load(); }));
  EXPECT_TRUE(seen);
  client.close();
  EXPECT_TRUE(eventually([&] { return ended.load(); }));
}

// Room that was taken for an answer is its size's once it is there, and free when the client has it, or has gone.
TEST_F(Stream, WhatAnswersTakeCountsUntilTheyAreSent) {
  HttpOptions options = any_port();
  start(options);
  constexpr int64_t kSize = int64_t{16} << 20;
  Client client(port(), 4096);
  client.send(kGet);
  auto answer = response();
  MemoryLedger::Lease room(options.memory);
  ASSERT_TRUE(room.resize(2 * kSize));
  answer->keep(std::move(room));
  EXPECT_EQ(options.memory.held(), 2 * kSize - MemoryLedger::kFreeBytes);
  answer->send(200, "text/plain", std::string(kSize, 'x'), {});
  answer.reset();
  std::this_thread::sleep_for(100ms);
  EXPECT_GT(options.memory.held(), kSize / 4);  // more than the system's buffers hold
  EXPECT_LE(options.memory.held(), kSize);
  EXPECT_EQ(client.read_answer().body.size(), static_cast<size_t>(kSize));
  EXPECT_TRUE(eventually([&] { return options.memory.held() == 0; }));
  Client leaver(port());
  leaver.send(kGet);
  const auto other = response();
  MemoryLedger::Lease more(options.memory);
  ASSERT_TRUE(more.resize(kSize));
  other->keep(std::move(more));
  leaver.close();
  EXPECT_TRUE(eventually([&] { return options.memory.held() == 0; }));
}

// Answers that wait for clients who do not read are bounded together, however they were made.
TEST_F(Stream, AnswersWithoutRoomAre503AndStreamsEnd) {
  HttpOptions options = any_port();
  options.memory = MemoryLedger(12 << 20);
  start(options);
  Client slow(port(), 4096), other(port()), streaming(port(), 4096);
  slow.send(kGet);
  response()->send(200, "text/plain", std::string(11 << 20, 'x'), {});
  EXPECT_TRUE(eventually([&] { return options.memory.held() > 0; }));
  std::this_thread::sleep_for(100ms);
  other.send(kGet);
  response()->send(200, "text/plain", std::string(11 << 20, 'x'), {{"x-more", "1"}});
  const testing::Answer refused = other.read_answer();
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.header("retry-after"), "1");
  EXPECT_EQ(refused.header("x-more"), "1");
  other.send(kGet);
  response()->send(200, "text/plain", "little", {});
  EXPECT_EQ(other.read_answer().body, "little");
  streaming.send(kGet);
  const auto stream = response();
  Signal gone;
  stream->on_disconnect([&] { gone.set(); });
  stream->begin(200, "text/plain", {});
  bool written = true;
  for (int i = 0; i < 64 && written; ++i) written = stream->write(std::string(1 << 20, 'x'));
  EXPECT_FALSE(written);
  EXPECT_TRUE(gone.wait());
  slow.close();
  EXPECT_TRUE(eventually([&] { return options.memory.held() == 0; }));
}

// Who reads, but next to nothing, would hold a large answer for hours.
TEST_F(Stream, AReaderBelowTheLeastRateIsCut) {
  HttpOptions options = any_port();
  options.write_timeout = 500ms;
  start(options);
  Client client(port(), 4096);
  client.send(kGet);
  const auto answer = response();
  answer->send(200, "text/plain", std::string(16 << 20, 'x'), {});
  char piece[1024];  // 20 kB a second at most
  bool cut = false;
  for (int i = 0; i < 200 && !cut; ++i) {
    cut = ::recv(client.fd(), piece, sizeof piece, 0) <= 0 || server_->connections() == 0;
    std::this_thread::sleep_for(50ms);
  }
  EXPECT_TRUE(cut);
}

TEST_F(Stream, ASlowReaderThatReadsIsNotCut) {
  HttpOptions options = any_port();
  options.write_timeout = 400ms;
  start(options);
  Client client(port(), 64 << 10);
  client.send(kGet);
  const auto answer = response();
  answer->begin(200, "text/plain", {});
  EXPECT_TRUE(answer->write(std::string(8 << 20, 'x')));
  answer->finish();
  const auto begin = std::chrono::steady_clock::now();
  size_t got = 0;
  while (std::chrono::steady_clock::now() - begin < 900ms) {
    client.receive();
    got += client.buffer().size();
    client.buffer().clear();
    std::this_thread::sleep_for(5ms);
  }
  while (got < (8 << 20) && client.receive()) {
    got += client.buffer().size();
    client.buffer().clear();
  }
  EXPECT_GE(got, 8U << 20);
  EXPECT_TRUE(eventually([&] { return answer->pending_bytes() == 0; }));
}

TEST_F(Stream, DisconnectIsNoticedBeforeTheAnswer) {
  std::atomic<int> status{0};
  start(any_port(), [&](const HttpRequest&, int code, int64_t, double) { status = code; });
  for (const bool hard : {false, true}) {
    Client client(port());
    client.send(kGet);
    const auto answer = response();
    Signal gone;
    answer->on_disconnect([&] { gone.set(); });
    hard ? client.reset() : client.close();
    EXPECT_TRUE(gone.wait()) << hard;
    // Once, and what is said afterwards goes nowhere.
    answer->send(200, "text/plain", "x", {});
    answer->finish();
    EXPECT_TRUE(eventually([&] { return server_->connections() == 0; }));
    EXPECT_EQ(gone.count(), 1);
    EXPECT_EQ(status, 499);
    // Who asks late is told at once.
    Signal late;
    answer->on_disconnect([&] { late.set(); });
    EXPECT_EQ(late.count(), 1);
  }
}

TEST_F(Stream, DisconnectIsNoticedInAStream) {
  start(any_port());
  Client client(port());
  client.send(kGet);
  const auto answer = response();
  Signal gone;
  answer->on_disconnect([&] { gone.set(); });
  answer->begin(200, "text/event-stream", {});
  answer->write("data: 1\n\n");
  EXPECT_TRUE(client.wait_for("data: 1"));
  client.close();
  EXPECT_TRUE(gone.wait());
  EXPECT_TRUE(eventually([&] { return !answer->write("data: 2\n\n"); }));
}

TEST_F(Stream, NoDisconnectOnceFinished) {
  start(any_port());
  Client client(port());
  client.send(kGet);
  const auto answer = response();
  Signal gone;
  const auto held = std::make_shared<int>(1);
  answer->on_disconnect([&gone, held] { gone.set(); });
  answer->send(200, "text/plain", "x", {});
  EXPECT_EQ(held.use_count(), 1);  // what it holds is let go
  EXPECT_EQ(client.read_answer().body, "x");
  client.close();
  EXPECT_TRUE(eventually([&] { return server_->connections() == 0; }));
  EXPECT_EQ(gone.count(), 0);
}

TEST_F(Stream, ADroppedStreamIsCut) {
  start(any_port());
  Client client(port());
  client.send(kGet);
  auto answer = response();
  answer->begin(200, "text/event-stream", {});
  answer->write("data: 1\n\n");
  answer.reset();
  const Answer got = client.read_answer();
  EXPECT_EQ(got.status, 200);
  EXPECT_EQ(got.body, "data: 1\n\n");
  EXPECT_FALSE(got.whole);
  EXPECT_TRUE(client.closed());
  // With HTTP/1.0 a plain end would look whole.
  Client old(port());
  old.send("GET / HTTP/1.0\r\n\r\n");
  answer = response();
  answer->begin(200, "text/plain", {});
  answer->write("part");
  EXPECT_TRUE(old.wait_for("part"));
  answer.reset();
  EXPECT_TRUE(old.closed());
  EXPECT_TRUE(old.was_reset());
}

TEST_F(Stream, AnswersOutliveTheirServer) {
  start(any_port());
  Client client(port());
  client.send(kGet);
  const auto answer = response();
  answer->begin(200, "text/plain", {});
  server_.reset();
  EXPECT_FALSE(answer->write("x"));
  answer->finish();
  Signal gone;
  answer->on_disconnect([&] { gone.set(); });
  EXPECT_EQ(gone.count(), 1);
}

TEST_F(Stream, TwoThousandStreamsOnTwoThreads) {
  std::mutex mutex;
  std::vector<std::shared_ptr<HttpResponse>> all;
  std::atomic<int> gone{0};
  HttpServer server(any_port(), [&](const HttpRequest&, std::shared_ptr<HttpResponse> response) {
    response->on_disconnect([&] { ++gone; });
    response->begin(200, "text/event-stream", {});
    const std::lock_guard lock(mutex);
    all.push_back(std::move(response));
  });
  constexpr size_t kStreams = 2000;
  std::vector<std::unique_ptr<Client>> clients;
  for (size_t i = 0; i < kStreams; ++i) {
    clients.push_back(std::make_unique<Client>(server.port()));
    if (!clients.back()->connected()) GTEST_SKIP() << "the system allows too few open files";
    clients.back()->send(kGet);
  }
  EXPECT_TRUE(eventually([&] {
    const std::lock_guard lock(mutex);
    return all.size() == kStreams;
  }));
  EXPECT_EQ(server.connections(), static_cast<int64_t>(kStreams));
  // A third of the clients leaves in the midst of it.
  for (size_t i = 0; i < kStreams; i += 3) clients[i]->close();
  for (int step = 0; step < 20; ++step) {
    for (const auto& response : all) response->write("data: " + std::to_string(step) + "\n\n");
  }
  for (const auto& response : all) response->finish();
  size_t whole = 0;
  for (size_t i = 0; i < kStreams; ++i) {
    if (i % 3 == 0) continue;
    const Answer answer = clients[i]->read_answer();
    whole += answer.whole && answer.body.find("data: 19\n\n") != std::string::npos ? 1 : 0;
  }
  EXPECT_EQ(whole, kStreams - (kStreams + 2) / 3);
  EXPECT_LE(gone, static_cast<int>((kStreams + 2) / 3));
  clients.clear();
  EXPECT_TRUE(eventually([&] { return server.connections() == 0; }));
}

}  // namespace
}  // namespace pagoda::server
