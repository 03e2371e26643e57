// pagoda serve as a child: what its flags do.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <thread>

#include "tests/cli/child.h"

namespace pagoda::testing {
namespace {

const std::string kFixture = PAGODA_SOURCE_DIR "/tests/fixtures/llama";
const std::string kStories = PAGODA_SOURCE_DIR "/models/stories/llama";

// A connection to the socket, asked for every millisecond; -1 if nobody listens within so many, a minute.
int connect_to(const std::string& socket_path, int attempts = 60000) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, socket_path.c_str(), sizeof address.sun_path - 1);
  for (int attempt = 0; attempt < attempts; ++attempt) {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
    ::close(fd);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return -1;
}

// The whole answer to `request`, which must end its connection; "" if nobody listens.
std::string ask(const std::string& socket_path, const std::string& request, int attempts = 60000) {
  const int fd = connect_to(socket_path, attempts);
  if (fd < 0) return "";
  (void)!::write(fd, request.data(), request.size());
  std::string answer;
  char piece[4096];
  for (ssize_t got = 0; (got = ::read(fd, piece, sizeof piece)) > 0;) answer.append(piece, static_cast<size_t>(got));
  ::close(fd);
  return answer;
}

std::string preflight(const std::string& origin) {
  return "OPTIONS /v1/completions HTTP/1.1\r\nHost: h\r\nOrigin: " + origin +
         "\r\nAccess-Control-Request-Method: POST\r\nConnection: close\r\n\r\n";
}

TEST(Serve, AllowedOriginsMayCall) {
  const std::string path = ::testing::TempDir() + "pagoda_serve_" + std::to_string(::getpid());
  Running serve({"serve", kFixture, "--uds", path, "--threads", "1", "--kv-cache-memory", "16MiB", "--allowed-origins",
                 R"(["https://a.example", "https://b.example"])"});
  const std::string allowed = ask(path, preflight("https://b.example")), other = ask(path, preflight("https://c.example"));
  ::kill(serve.pid(), SIGTERM);
  const Ended ended = serve.end();
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_NE(allowed.find("access-control-allow-origin: https://b.example"), std::string::npos) << allowed;
  EXPECT_EQ(other.find("access-control-allow-origin"), std::string::npos) << other;
}

// An encoder has a length, and no sequences, cache or chats.
TEST(Serve, AnEncoderTakesItsLengthAndRefusesWhatItHasNotGot) {
  const std::string path = ::testing::TempDir() + "pagoda_encoder_" + std::to_string(::getpid());
  const std::string model = PAGODA_SOURCE_DIR "/tests/fixtures/encoders/bert";
  Running serve({"serve", model, "--uds", path, "--threads", "1", "--max-model-len", "16"});
  std::string answer;
  for (int i = 0; i < 6000 && answer.find("max_model_len") == std::string::npos; ++i) {
    answer = ask(path, "GET /v1/models HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ::kill(serve.pid(), SIGTERM);
  const Ended ended = serve.end();
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_NE(answer.find("\"max_model_len\":16"), std::string::npos) << answer;
  EXPECT_NE(ended.err.find("texts of at most 16 tokens"), std::string::npos) << ended.err;
  for (const std::vector<std::string>& flags : {std::vector<std::string>{"--max-model-len", "1000"},
                                                {"--max-num-seqs", "3"},
                                                {"--kv-cache-memory", "1MiB"},
                                                {"--enable-auto-tool-choice"},
                                                {"--generation-config", "vllm"},
                                                {"--no-enable-prefix-caching"}}) {
    std::vector<std::string> arguments = {"serve", model, "--uds", path, "--threads", "1"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    Running refused(arguments);
    const Ended end = refused.end();
    EXPECT_EQ(end.code, 2) << flags[0] << end.err;
    const std::string name = flags[0] == "--no-enable-prefix-caching" ? "--enable-prefix-caching" : flags[0];
    EXPECT_NE(end.err.find("[" + name + "]"), std::string::npos) << end.err;
  }
}

// What contradicts itself is not served in part.
TEST(Serve, FlagsThatContradictAreRefused) {
  const std::string path = ::testing::TempDir() + "pagoda_refused_" + std::to_string(::getpid());
  for (const std::vector<std::string>& flags : {std::vector<std::string>{"--uds", path, "--port", "8000"},
                                                {"--uds", path, "--host", "0.0.0.0"},
                                                {"--served-model-name", "", "--uds", path},
                                                {"--served-model-name", "a", "--served-model-name", "a", "--uds", path}}) {
    std::vector<std::string> arguments = {"serve", kFixture, "--threads", "1", "--kv-cache-memory", "16MiB"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    Running serve(arguments);
    const Ended ended = serve.end();
    EXPECT_EQ(ended.code, 2) << ended.err;
    EXPECT_NE(ended.err.find("[" + flags[flags[0] == "--uds" ? 2 : 0] + "]"), std::string::npos) << ended.err;
  }
}

// Responses in the background are finished before the end, and can be asked for until then.
TEST(Serve, BackgroundResponsesAreFinishedFirst) {
  const std::string path = ::testing::TempDir() + "pagoda_background_" + std::to_string(::getpid());
  Running serve({"serve", kStories, "--uds", path, "--threads", "1", "--kv-cache-memory", "32MiB"});
  const auto http = [&](const std::string& method, const std::string& route, const std::string& body, int attempts = 60000) {
    return ask(path,
               method + " " + route + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: " +
                   std::to_string(body.size()) + "\r\n\r\n" + body,
               attempts);
  };
  std::string answer;
  for (int i = 0; i < 6000 && answer.find("\"id\":\"resp_") == std::string::npos; ++i) {
    answer =
        http("POST", "/v1/responses", R"({"input": "x", "background": true, "max_output_tokens": 400, "ignore_eos": true})");
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  const size_t at = answer.find("resp_");
  ASSERT_NE(at, std::string::npos) << answer;
  const std::string id = answer.substr(at, answer.find('"', at) - at);
  ::kill(serve.pid(), SIGTERM);
  std::string last;
  for (std::string next; !(next = http("GET", "/v1/responses/" + id, "", 200)).empty();) {
    last = next;
    if (last.find("\"status\":\"in_progress\"") == std::string::npos) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  const Ended ended = serve.end();
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_NE(last.find("HTTP/1.1 200"), std::string::npos) << last;
}

// The port is open before the model is there: whether the signal comes while it loads or just after, the end is an orderly one.
TEST(Serve, SignalsEndALoadingServer) {
  const std::string path = ::testing::TempDir() + "pagoda_loading_" + std::to_string(::getpid());
  for (const int signal : {SIGTERM, SIGINT}) {
    Running serve({"serve", kFixture, "--uds", path, "--threads", "1", "--kv-cache-memory", "16MiB"});
    const int connection = connect_to(path);
    ASSERT_GE(connection, 0);
    ::kill(serve.pid(), signal);
    const Ended ended = serve.end();
    ::close(connection);
    EXPECT_EQ(ended.code, 0) << ended.err;
    const bool loading = ended.err.find("stopped while loading") != std::string::npos;
    EXPECT_TRUE(loading || ended.err.find("shutting down") != std::string::npos) << ended.err;
    EXPECT_NE(::access(path.c_str(), F_OK), 0) << "the socket was left";
    ::unlink(path.c_str());
  }
}

}  // namespace
}  // namespace pagoda::testing
