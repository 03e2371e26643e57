// pagoda compile and placement as programs: files, notices, exit codes.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <thread>

#include "base/file.h"
#include "tests/cli/child.h"
#include "tests/temporary.h"

namespace pagoda::testing {
namespace {

namespace fs = std::filesystem;

const std::string kLlama = PAGODA_SOURCE_DIR "/tests/fixtures/llama";

std::string copy_of_llama(const std::string& name) {
  const std::string path = temporary_path(name);
  fs::copy(kLlama, path, fs::copy_options::recursive | fs::copy_options::overwrite_existing);
  return path;
}

Ended generate(const std::string& model, std::vector<std::string> more = {}) {
  std::vector<std::string> command{"generate",      model, "--prompt-ids", "[1, 5, 9]", "--max-new-tokens", "6", "--json",
                                   "--temperature", "0",   "--threads",    "1"};
  command.insert(command.end(), more.begin(), more.end());
  return run_pagoda(command);
}

TEST(Compile, IsFoundNamedAndRefused) {
  const std::string model = copy_of_llama("cli_compile");
  const Ended before = generate(model);
  ASSERT_EQ(before.code, 0) << before.err;
  const Ended made = run_pagoda({"compile", model, "--threads", "1", "--json"});
  ASSERT_EQ(made.code, 0) << made.err;
  const std::string file = made.json().at("out", "").as_string("");
  EXPECT_TRUE(file_exists(file));
  EXPECT_EQ(file_size(file), made.json().at("bytes", "").as_int(""));
  const Ended after = generate(model);
  EXPECT_EQ(after.out, before.out);
  EXPECT_EQ(after.err, "");
  EXPECT_EQ(generate(model, {"--compiled", "none"}).out, before.out);
  // Another arithmetic: the same text form of result, packed anew, and a line that says why.
  const Ended other = generate(model, {"--dtype", "bfloat16", "--compiled", file});
  EXPECT_EQ(other.code, 0) << other.err;
  EXPECT_NE(other.err.find("dtype: it is for \"float32\""), std::string::npos) << other.err;
  EXPECT_EQ(generate(model, {"--dtype", "bfloat16", "--compiled", file, "--quiet"}).err, "");
  const std::string bytes = read_file(file, 1 << 24);
  write_file_atomic(file, bytes.substr(0, bytes.size() / 2));
  const Ended damaged = generate(model, {"--compiled", file});
  EXPECT_EQ(damaged.code, 2);
  EXPECT_NE(damaged.err.find("damaged"), std::string::npos) << damaged.err;
  EXPECT_EQ(generate(model).out, before.out);  // where nobody named it, it is told and not used
  EXPECT_EQ(generate(model, {"--compiled", model + "/none.pagoda"}).code, 3);
  EXPECT_EQ(run_pagoda({"compile", model, "--out", model}).code, 2);
  // What the model is read from is not written over.
  const std::string weights = model + "/model.safetensors", ids = model + "/ids.jsonl";
  write_file_atomic(ids, R"({"input_ids": [1, 2], "labels": [1, 2]})");
  const std::string whole = read_file(weights, 1 << 26);
  for (const char* verb : {"compile", "logits", "gradients"}) {
    std::vector<std::string> over{verb, model, "--out", weights, "--threads", "1"};
    if (std::string(verb) != "compile") over.insert(over.end(), {"--ids", ids});
    const Ended refused = run_pagoda(over);
    EXPECT_EQ(refused.code, 2) << verb;
    EXPECT_NE(refused.err.find("[--out]"), std::string::npos) << refused.err;
  }
  EXPECT_EQ(read_file(weights, 1 << 26), whole);
  // Nor anything else in its folder, nor what is read besides; an earlier output is, and a link leads to what is written.
  write_file_atomic(model + "/merges.txt", "words");
  for (const std::string& out : {model + "/merges.txt", model + "/config.json", ids}) {
    for (const char* verb : {"logits", "gradients"}) {
      const Ended refused = run_pagoda({verb, model, "--ids", ids, "--out", out, "--threads", "1"});
      EXPECT_EQ(refused.code, 2) << verb << " " << out << refused.err;
    }
  }
  const std::string link = temporary_path("cli_compile_link");
  fs::remove(link);
  fs::create_symlink(model + "/logits.safetensors", link);
  for (int i = 0; i < 2; ++i) {
    const Ended written = run_pagoda({"logits", model, "--ids", ids, "--out", link, "--threads", "1"});
    EXPECT_EQ(written.code, 0) << written.err;
  }
  EXPECT_TRUE(fs::is_symlink(link));
  EXPECT_TRUE(file_exists(model + "/logits.safetensors"));
  EXPECT_EQ(run_pagoda({"gradients", model, "--compiled", file}).code, 2);
}

// An adapter's own folder is read from too.
TEST(Compile, AnAdapterIsNotWrittenOver) {
  const std::string adapter = temporary_path("cli_compile_adapter");
  fs::remove_all(adapter);
  fs::copy(PAGODA_SOURCE_DIR "/tests/fixtures/adapters/dora", adapter);
  const std::string config = adapter + "/adapter_config.json", ids = temporary_path("cli_compile_ids.jsonl");
  Json json = Json::parse(read_file(config, 1 << 20), config);
  write_file_atomic(config, json.set("base_model_name_or_path", kLlama).dump());
  write_file_atomic(ids, R"({"input_ids": [1, 2]})");
  for (const std::string& out : {adapter + "/adapter_model.safetensors", config}) {
    const std::string before = read_file(out, 1 << 26);
    const Ended refused = run_pagoda({"logits", adapter, "--ids", ids, "--out", out, "--threads", "1"});
    EXPECT_EQ(refused.code, 2) << refused.err;
    EXPECT_NE(refused.err.find("[--out]"), std::string::npos) << refused.err;
    EXPECT_EQ(read_file(out, 1 << 26), before);
  }
}

// Into a pipe that holds a page: the program stands in the middle of the file when the signal comes.
TEST(Compile, CtrlCEndsItAndLeavesNothing) {
  const std::string model = copy_of_llama("cli_compile_signal"), pipe = model + "/pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const int reader = ::open(pipe.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
  ASSERT_GE(reader, 0);
  ASSERT_GE(::fcntl(reader, F_SETPIPE_SZ, 4096), 0);
  Running compile({"compile", model, "--out", pipe, "--threads", "1"});
  pollfd begun{reader, POLLIN, 0};
  ASSERT_EQ(::poll(&begun, 1, 60'000), 1);
  ::kill(compile.pid(), SIGINT);
  int64_t bytes = 0;
  std::atomic<bool> over{false};
  std::thread drain([&] {
    char piece[4096];
    for (pollfd more{reader, POLLIN, 0}; ::poll(&more, 1, 10) == 1 || !over;)
      bytes += std::max<ssize_t>(0, ::read(reader, piece, sizeof piece));
  });
  const Ended ended = compile.end();
  over = true;
  drain.join();
  ::close(reader);
  EXPECT_EQ(ended.code, 130) << ended.err;
  EXPECT_EQ(ended.out, "");
  // The same file, whole.
  const Ended whole = run_pagoda({"compile", model, "--threads", "1", "--json"});
  EXPECT_LT(bytes, whole.json().at("bytes", "").as_int("")) << whole.err;
}

TEST(Placement, FlagsOfCoresAndNodes) {
  const std::string text = generate(kLlama).out;
  EXPECT_EQ(generate(kLlama, {"--cores", "none"}).out, text);
  EXPECT_EQ(generate(kLlama, {"--cores", "auto"}).out, text);
  const Ended both = generate(kLlama, {"--cores", "none", "--numa-node", "0"});
  EXPECT_EQ(both.code, 2);
  EXPECT_NE(both.err.find("[--numa-node]"), std::string::npos) << both.err;
  EXPECT_EQ(generate(kLlama, {"--numa-node", "900"}).code, 2);
  EXPECT_EQ(generate(kLlama, {"--cores", "60000"}).code, 2);
  const Ended doctor = run_pagoda({"doctor", "--threads", "1"});
  EXPECT_NE(doctor.out.find("placement"), std::string::npos) << doctor.out;
}

}  // namespace
}  // namespace pagoda::testing
