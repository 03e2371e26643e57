// The law of lengths; bench throughput on a small model; bench serve against a server without one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <sstream>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "cli/bench_common.h"
#include "cli/bench_lengths.h"
#include "cli/bench_requests.h"
#include "cli/step_cost.h"
#include "tests/cli/child.h"
#include "tests/cli/fake_openai.h"
#include "tests/temporary.h"

namespace pagoda::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kLlama = PAGODA_SOURCE_DIR "/tests/fixtures/llama";
const std::string kWhere = "bench";

std::vector<Json> json_lines(const std::string& text) {
  std::vector<Json> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(Json::parse(line, "line"));
  return lines;
}

// ---- lengths

TEST(Lengths, AreTheCommittedOnes) {
  for (const auto& [name, law] :
       {std::pair{"sharegpt-lengths", cli::kShareGptLengths}, {"alpaca-lengths", cli::kAlpacaLengths}}) {
    const std::string path = std::string(PAGODA_SOURCE_DIR "/benchmarks/lengths/") + name + ".jsonl";
    const std::vector<Json> committed = json_lines(read_file(path, 1 << 20));
    const std::vector<cli::Lengths> drawn = cli::draw_lengths(law, 200, 0, 2048);
    ASSERT_EQ(committed.size(), drawn.size());
    double inputs = 0, outputs = 0;
    for (size_t i = 0; i < drawn.size(); ++i) {
      EXPECT_EQ(committed[i].at("input_len", kWhere), Json(drawn[i].input_len)) << name << " " << i;
      EXPECT_EQ(committed[i].at("output_len", kWhere), Json(drawn[i].output_len)) << name << " " << i;
      inputs += static_cast<double>(drawn[i].input_len) / 200;
      outputs += static_cast<double>(drawn[i].output_len) / 200;
    }
    EXPECT_NEAR(inputs / law.mean_input, 1, 0.01) << name;
    EXPECT_NEAR(outputs / law.mean_output, 1, 0.01) << name;
  }
}

TEST(Lengths, AreLogNormalWithSigmaOneBetweenTheBounds) {
  const std::vector<cli::Lengths> drawn = cli::draw_lengths(cli::kShareGptLengths, 2000, 3, 1 << 20);
  double squares = 0, products = 0, mean_in = 0, mean_out = 0;
  int64_t longest = 0, shortest = 1 << 20;
  for (const cli::Lengths& each : drawn) {
    mean_in += std::log(static_cast<double>(each.input_len)) / 2000;
    mean_out += std::log(static_cast<double>(each.output_len)) / 2000;
    longest = std::max(longest, each.output_len);
    shortest = std::min(shortest, each.input_len);
  }
  for (const cli::Lengths& each : drawn) {
    const double in = std::log(static_cast<double>(each.input_len)) - mean_in,
                 out = std::log(static_cast<double>(each.output_len)) - mean_out;
    squares += in * in / 2000;
    products += in * out / 2000;
  }
  EXPECT_NEAR(std::sqrt(squares), 1, 0.02);
  EXPECT_NEAR(products, 0, 0.08);  // the two are independent
  EXPECT_EQ(longest, 1024);
  EXPECT_GE(shortest, 4);
  const std::vector<cli::Lengths> other = cli::draw_lengths(cli::kShareGptLengths, 2000, 4, 1 << 20);
  EXPECT_NE(other[0].input_len * 4096 + other[1].input_len, drawn[0].input_len * 4096 + drawn[1].input_len);
}

TEST(Lengths, KeepTheirMeanInAShortContext) {
  double mean = 0;
  for (const cli::Lengths& each : cli::draw_lengths(cli::kAlpacaLengths, 500, 0, 256)) {
    EXPECT_LE(each.input_len, 128);
    EXPECT_LE(each.output_len, 128);
    mean += static_cast<double>(each.output_len) / 500;
  }
  EXPECT_NEAR(mean, 58, 0.5);
  EXPECT_THROW(cli::draw_lengths(cli::kAlpacaLengths, 500, 0, 100), Error);
  // Nothing is cut off: mu is that of the plain law.
  EXPECT_NEAR(cli::solve_mu(100, 1e-9, 1e12), std::log(100.0) - 0.5, 1e-6);
}

TEST(Lengths, TheVerbPrintsWhatTheBenchmarksRun) {
  const Ended ended = run_pagoda({"bench", "lengths", "--dataset-name", "alpaca-lengths", "--num-prompts", "7", "--seed", "2",
                                  "--vocab-size", "99", "--random-prefix-len", "3", "--max-model-len", "300"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  cli::DatasetFlags flags;
  flags.dataset_name = "alpaca-lengths";
  flags.num_prompts = 7;
  flags.seed = 2;
  flags.random_prefix_len = 3;
  const std::vector<cli::BenchRequest> requests = cli::make_requests(flags, {99, 300, nullptr});
  const std::vector<Json> lines = json_lines(ended.out);
  ASSERT_EQ(lines.size(), 7u);
  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(lines[i].at("prompt_token_ids", kWhere), cli::ids_json(requests[i].prompt_ids));
    EXPECT_EQ(lines[i].at("input_len", kWhere), Json(requests[i].input_len()));
    EXPECT_EQ(lines[i].at("output_len", kWhere), Json(requests[i].output_len));
    // The same prefix, then ids of its own.
    EXPECT_EQ(std::vector<int32_t>(requests[i].prompt_ids.begin(), requests[i].prompt_ids.begin() + 3),
              std::vector<int32_t>(requests[0].prompt_ids.begin(), requests[0].prompt_ids.begin() + 3));
    if (i > 0) {
      EXPECT_NE(requests[i].prompt_ids, requests[0].prompt_ids);
    }
  }
}

TEST(Requests, RandomLengthsStayInTheirRange) {
  cli::DatasetFlags flags;
  flags.num_prompts = 300;
  flags.random_input_len = 20;
  flags.random_output_len = 1;
  flags.random_range_ratio = 0.5;
  std::set<int64_t> inputs;
  for (const cli::BenchRequest& request : cli::make_requests(flags, {1000, 0, nullptr})) {
    inputs.insert(request.input_len());
    EXPECT_GE(request.output_len, 1);
    EXPECT_LE(request.output_len, 2);
  }
  EXPECT_EQ(*inputs.begin(), 10);
  EXPECT_EQ(*inputs.rbegin(), 30);
  EXPECT_EQ(inputs.size(), 21u);
  EXPECT_THROW(cli::make_requests(flags, {1000, 25, nullptr}), Error);
}

TEST(Requests, ComeOutOfFiles) {
  const std::string custom = pagoda::testing::temporary_path("custom.jsonl"),
                    sharegpt = pagoda::testing::temporary_path("sharegpt.json");
  write_file_atomic(custom, "{\"prompt\": \"one\"}\n\n{\"prompt\": [1, 2, 3], \"output_tokens\": 9}\n");
  write_file_atomic(
      sharegpt,
      R"([{"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]}, {"conversations": []}])");
  cli::DatasetFlags flags;
  flags.dataset_name = "custom";
  flags.dataset_path = custom;
  flags.num_prompts = 5;
  std::multiset<int64_t> outputs;
  for (const cli::BenchRequest& request : cli::make_requests(flags, {100, 0, nullptr})) outputs.insert(request.output_len);
  EXPECT_EQ(outputs.count(256) + outputs.count(9), 5u);
  EXPECT_GE(outputs.count(9), 2u);
  flags.dataset_name = "sharegpt";
  flags.dataset_path = sharegpt;
  EXPECT_THROW(cli::make_requests(flags, {100, 0, nullptr}), Error);  // nobody can count its answers
  flags.sharegpt_output_len = 12;
  const std::vector<cli::BenchRequest> chats = cli::make_requests(flags, {100, 0, nullptr});
  EXPECT_EQ(chats[4].prompt, "hi");
  EXPECT_EQ(chats[4].output_len, 12);
  write_file_atomic(sharegpt, "{}");
  EXPECT_THROW(cli::make_requests(flags, {100, 0, nullptr}), Error);
  write_file_atomic(custom, "{\"text\": 1}\n");
  flags.dataset_name = "custom";
  flags.dataset_path = custom;
  EXPECT_THROW(cli::make_requests(flags, {100, 0, nullptr}), Error);
  flags.dataset_path = "";
  EXPECT_THROW(cli::make_requests(flags, {100, 0, nullptr}), Error);
  fs::remove(custom);
  fs::remove(sharegpt);
}

TEST(Statistics, AreNumpys) {
  const std::vector<double> values{4, 1, 3, 2};
  EXPECT_EQ(cli::percentile(values, 50), 2.5);
  EXPECT_EQ(cli::percentile(values, 100), 4);
  EXPECT_NEAR(cli::percentile(values, 99), 3.97, 1e-12);
  EXPECT_EQ(cli::mean(values), 2.5);
  EXPECT_NEAR(cli::standard_deviation(values), std::sqrt(1.25), 1e-12);
  EXPECT_EQ(cli::percentile({}, 50) + cli::mean({}) + cli::standard_deviation({}), 0);
}

// ---- throughput

Json throughput(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"bench", "throughput", kLlama, "--threads", "1", "--json"});
  const Ended ended = run_pagoda(arguments);
  EXPECT_EQ(ended.code, 0) << ended.err;
  return ended.code == 0 ? ended.json() : Json();
}

TEST(BenchThroughput, CountsEveryTokenOnceAndLeaksNothingSlow) {
  const std::string file = pagoda::testing::temporary_path("throughput.json");
  const Json result =
      throughput({"--num-prompts", "20", "--random-input-len", "17", "--random-output-len", "23", "--output-json", file});
  EXPECT_EQ(Json::parse(read_file(file, 1 << 20), file), result);
  fs::remove(file);
  EXPECT_EQ(result.at("num_requests", kWhere), Json(20));
  EXPECT_EQ(result.at("total_num_prompt_tokens", kWhere), Json(20 * 17));
  EXPECT_EQ(result.at("total_num_output_tokens", kWhere), Json(20 * 23));
  EXPECT_EQ(result.at("total_num_tokens", kWhere), Json(20 * 40));
  const double seconds = result.at("elapsed_time", kWhere).as_double(kWhere);
  EXPECT_NEAR(result.at("tokens_per_second", kWhere).as_double(kWhere), 800 / seconds, 1e-6 / seconds);
  EXPECT_NEAR(result.at("requests_per_second", kWhere).as_double(kWhere), 20 / seconds, 1e-6 / seconds);
  const Json& cache = result.at("cache", kWhere);
  EXPECT_EQ(cache.at("leaked_blocks", kWhere), Json(0));
  EXPECT_EQ(cache.at("blocks_saved_share", kWhere), Json(0));
  EXPECT_FALSE(cache.contains("blocks_saved_share_possible"));
  // Lengths 17 to 39 after 23 steps but the last, which frees all: 28 on average, in 2 or 3 blocks.
  EXPECT_EQ(cache.at("peak_blocks", kWhere), Json(60));
  EXPECT_NEAR(cache.at("mean_length", kWhere).as_double(kWhere), (17 + 38) / 2.0, 1e-9);
  double held = 0;
  for (int length = 17; length <= 38; ++length)
    held += static_cast<double>(length) / static_cast<double>((length + 15) / 16 * 16) / 22;
  EXPECT_NEAR(cache.at("held_token_share", kWhere).as_double(kWhere), held, 1e-9);
  const Json& limits = result.at("limits", kWhere);
  EXPECT_NEAR(limits.at("share", kWhere).as_double(kWhere), limits.at("seconds", kWhere).as_double(kWhere) / seconds, 1e-9);
  EXPECT_GT(limits.at("share", kWhere).as_double(kWhere), 0);
  EXPECT_GT(result.at("scheduler_time_share", kWhere).as_double(kWhere), 0);
}

TEST(BenchThroughput, TinyCachesPreemptAndStillFinishSlow) {
  // 12 pages of 16 tokens: 2 layers x keys and values x 2 heads x 8 floats.
  const Json result = throughput({"--num-prompts", "12", "--random-input-len", "20", "--random-output-len", "40",
                                  "--kv-cache-memory", std::to_string(12 * 16 * 256)});
  EXPECT_EQ(result.at("total_num_output_tokens", kWhere), Json(12 * 40));
  EXPECT_GT(result.at("num_preemptions", kWhere).as_int(kWhere), 0);
  EXPECT_EQ(result.at("cache", kWhere).at("leaked_blocks", kWhere), Json(0));
  EXPECT_LE(result.at("cache", kWhere).at("peak_blocks", kWhere).as_int(kWhere), 12);
}

TEST(BenchThroughput, SharesAsMuchAsTheTokensAllowSlow) {
  for (const std::vector<std::string>& how : {std::vector<std::string>{"--n", "4"},
                                              {"--beam-width", "4"},
                                              {"--random-prefix-len", "40", "--enable-prefix-caching"}}) {
    std::vector<std::string> arguments{"--num-prompts", "10", "--random-input-len", "24", "--random-output-len", "30"};
    arguments.insert(arguments.end(), how.begin(), how.end());
    const Json result = throughput(arguments);
    const Json& cache = result.at("cache", kWhere);
    const double saved = cache.at("blocks_saved_share", kWhere).as_double(kWhere),
                 possible = cache.at("blocks_saved_share_possible", kWhere).as_double(kWhere);
    EXPECT_GT(saved, 0.15) << how[0];
    EXPECT_GE(saved, 0.98 * possible) << how[0];
    EXPECT_LE(saved, possible + 1e-12) << how[0];
    EXPECT_EQ(cache.at("leaked_blocks", kWhere), Json(0));
    const int answers = how[0] == "--random-prefix-len" ? 1 : 4;
    EXPECT_EQ(result.at("total_num_output_tokens", kWhere), Json(10 * 30 * answers));
    EXPECT_EQ(result.at("num_cached_prompt_tokens", kWhere).as_int(kWhere) > 0, answers == 1);
  }
}

TEST(BenchThroughput, SaysWhatIsWrong) {
  const auto error = [](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"bench", "throughput", kLlama});
    const Ended ended = run_pagoda(arguments);
    EXPECT_EQ(ended.code, 2) << ended.out;
    return ended.err;
  };
  EXPECT_THAT(error({"--random-input-len", "100", "--random-output-len", "29"}), HasSubstr("need at most 128 together"));
  EXPECT_THAT(error({"--n", "2", "--beam-width", "2"}), HasSubstr("give one of them"));
  EXPECT_THAT(error({"--kv-cache-memory", "lots"}), HasSubstr("--kv-cache-memory"));
  EXPECT_THAT(error({"--dataset-name", "sharegpt"}), HasSubstr("--dataset-path"));
  EXPECT_THAT(error({"--dataset-name", "sharegpt-lengths"}), HasSubstr("context is too short"));
}

// ---- serve

class BenchServe : public ::testing::Test {
 protected:
  Ended run(std::vector<std::string> arguments, const Environment& environment = {{"OPENAI_API_KEY", ""}}) {
    arguments.insert(arguments.begin(),
                     {"bench", "serve", "--port", server_.port(), "--random-input-len", "6", "--random-output-len", "4"});
    return run_pagoda(arguments, "", environment);
  }
  FakeOpenAi server_;
};

TEST_F(BenchServe, HasTheKeysOfVllm) {
  const std::string folder = pagoda::testing::temporary_path("bench_serve");
  fs::remove_all(folder);
  fs::create_directories(folder);
  const Ended ended = run({"--num-prompts", "40", "--ignore-eos", "--json", "--save-detailed", "--result-dir", folder,
                           "--result-filename", "r.json", "--plot", folder + "/p.svg", "--percentile-metrics",
                           "ttft,tpot,itl,e2el", "--metric-percentiles", "50,99.9", "--goodput", "e2el:600000", "ttft:600000"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  const Json result = ended.json();
  EXPECT_EQ(result.at("completed", kWhere), Json(40));
  EXPECT_EQ(result.at("failed", kWhere), Json(0));
  EXPECT_EQ(result.at("model_id", kWhere), Json("fake"));
  EXPECT_EQ(result.at("request_rate", kWhere), Json("inf"));
  EXPECT_EQ(result.at("total_output_tokens", kWhere), Json(160));
  EXPECT_EQ(result.at("total_input_tokens", kWhere), Json(200));  // as the server counts
  const double seconds = result.at("duration", kWhere).as_double(kWhere);
  EXPECT_NEAR(result.at("total_token_throughput", kWhere).as_double(kWhere), 360 / seconds, 1e-6 / seconds);
  EXPECT_NEAR(result.at("request_goodput", kWhere).as_double(kWhere), 40 / seconds, 1e-6 / seconds);
  for (const char* metric : {"ttft", "tpot", "itl", "e2el"}) {
    for (const char* figure : {"mean_", "median_", "std_", "p50_", "p99.9_"}) {
      EXPECT_GE(result.at(figure + std::string(metric) + "_ms", kWhere).as_double(kWhere), 0);
    }
  }
  EXPECT_LE(result.at("median_ttft_ms", kWhere).as_double(kWhere), result.at("median_e2el_ms", kWhere).as_double(kWhere));
  EXPECT_GT(result.at("client_cpu_seconds", kWhere).as_double(kWhere), 0);
  const Json saved = Json::parse(read_file(folder + "/r.json", 1 << 24), "r.json");
  EXPECT_EQ(saved.at("itls", kWhere).size(), 40u);
  EXPECT_EQ(saved.at("itls", kWhere).as_array(kWhere)[7].size(), 3u);
  EXPECT_EQ(saved.at("generated_texts", kWhere).as_array(kWhere)[7], Json(" w0 w1 w2 w3"));
  EXPECT_THAT(read_file(folder + "/p.svg", 1 << 24), HasSubstr("Inter-token Latency"));
  const std::vector<Json> bodies = server_.bodies();
  ASSERT_EQ(bodies.size(), 41u);  // one to see that all is well
  EXPECT_EQ(bodies[3].at("prompt", kWhere).size(), 6u);
  EXPECT_EQ(bodies[3].at("ignore_eos", kWhere), Json(true));
  EXPECT_EQ(bodies[3].at("max_tokens", kWhere), Json(4));
  std::set<std::string> prompts;
  for (const Json& body : bodies) prompts.insert(body.at("prompt", kWhere).dump());
  EXPECT_EQ(prompts.size(), 40u);
  fs::remove_all(folder);
}

TEST_F(BenchServe, CountsWhatFails) {
  server_.fail_every = 5;  // the first is not: it is tried before
  const Ended ended = run({"--num-prompts", "24", "--max-concurrency", "3"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_THAT(ended.out, ::testing::ContainsRegex("Successful requests: +19"));
  EXPECT_THAT(ended.out, ::testing::ContainsRegex("Failed requests: +5"));
  EXPECT_THAT(ended.out, ::testing::ContainsRegex("Peak concurrent requests: +3"));
  EXPECT_THAT(ended.err, HasSubstr("[bench] 5 of 24 requests failed, the first: [server] status 503: too busy"));
  server_.fail_every = 0;
  server_.cut = true;
  const Ended cut = run({"--num-prompts", "2", "--num-warmups", "0", "--json"});
  EXPECT_EQ(cut.json().at("failed", kWhere), Json(2));
  EXPECT_THAT(cut.err, ::testing::ContainsRegex("^error: .bench. 2 of 2 requests failed, the first: .*without .DONE."));
  EXPECT_EQ(cut.code, 6);  // the network's, with the figures told all the same
}

TEST_F(BenchServe, ChatsAndKeys) {
  const std::string custom = pagoda::testing::temporary_path("bench_chat.jsonl");
  write_file_atomic(custom, "{\"prompt\": \"Say it.\"}\n");
  server_.key = "secret";
  const std::vector<std::string> chat{
      "--backend",     "openai-chat", "--dataset-name", "custom",       "--dataset-path", custom, "--custom-output-len", "2",
      "--num-prompts", "3",           "--json",         "--extra-body", R"({"top_k": 4})"};
  const Ended ended = run(chat, {{"OPENAI_API_KEY", "secret"}});
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(ended.json().at("total_output_tokens", kWhere), Json(6));
  const Json body = server_.bodies().back();
  EXPECT_EQ(body.at("messages", kWhere).dump(), R"([{"role":"user","content":"Say it."}])");
  EXPECT_EQ(body.at("top_k", kWhere), Json(4));
  const Ended wrong = run(chat, {{"OPENAI_API_KEY", "other"}});
  EXPECT_EQ(wrong.code, 2);
  EXPECT_THAT(wrong.err, HasSubstr("status 401: no such key"));
  EXPECT_THAT(wrong.err, Not(HasSubstr("other")));
  EXPECT_THAT(run({"--backend", "openai-chat", "--num-prompts", "1"}, {{"OPENAI_API_KEY", "secret"}}).err,
              HasSubstr("--tokenizer"));
  fs::remove(custom);
}

// Once the limits are measured it would say that it warms up.
TEST(BenchLatency, CtrlCEndsTheMeasuring) {
  OnTerminal terminal({"bench", "latency", kLlama, "--threads", "1", "--input-len", "8", "--output-len", "8"});
  ASSERT_TRUE(terminal.wait_for("measuring the machine")) << terminal.seen();
  terminal.type("\x03");
  EXPECT_EQ(terminal.end(), 130);
  EXPECT_THAT(terminal.seen(), Not(HasSubstr("warmup")));
}

TEST_F(BenchServe, ArrivalsKeepTheirRate) {
  const Ended ended = run({"--num-prompts", "60", "--request-rate", "200", "--burstiness", "0.5", "--json"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  // 59 gaps of 5 ms on average; the seed is fixed, and a slow machine only makes it longer.
  EXPECT_GT(ended.json().at("duration", kWhere).as_double(kWhere), 0.15);
  EXPECT_EQ(ended.json().at("completed", kWhere), Json(60));
}

TEST_F(BenchServe, InterruptedItTellsWhatItHas) {
  server_.stall = true;
  Running running({"bench", "serve", "--port", server_.port(), "--num-prompts", "3", "--num-warmups", "0", "--json"},
                  {{"OPENAI_API_KEY", ""}});
  for (int i = 0; i < 1000 && server_.num_open() < 3; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  ASSERT_EQ(server_.num_open(), 3u);
  ::kill(running.pid(), SIGINT);
  const Ended ended = running.end();
  EXPECT_EQ(ended.code, 130);
  EXPECT_EQ(ended.json().at("completed", kWhere), Json(0));
  EXPECT_EQ(ended.json().at("failed", kWhere), Json(0));
  EXPECT_EQ(ended.json().at("max_concurrent_requests", kWhere), Json(3));
}

TEST_F(BenchServe, WrongFlagsAreToldBeforeAnyRequest) {
  for (const std::vector<std::string>& bad : {std::vector<std::string>{"--request-rate", "0"},
                                              {"--goodput", "speed:3"},
                                              {"--goodput", "ttft"},
                                              {"--percentile-metrics", "x"},
                                              {"--metric-percentiles", "101"},
                                              {"--extra-body", "[1]"},
                                              {"--header", "novalue"},
                                              {"--url", "ftp://x"}}) {
    const Ended ended = run(bad);
    EXPECT_EQ(ended.code, 2) << bad[0] << " " << ended.err;
    EXPECT_THAT(ended.err, HasSubstr(bad[0] == "--url" ? "url" : bad[0]));
  }
  EXPECT_TRUE(server_.bodies().empty());
  EXPECT_EQ(run_pagoda({"bench", "serve", "--port", "1", "--num-prompts", "1"}).code, 6);
}

TEST(BenchEncoder, EveryCellIsTimedAndCounted) {
  const std::string bert = PAGODA_SOURCE_DIR "/tests/fixtures/encoders/bert";
  const std::string csv = temporary_path("bench_encoder.csv"), plot = temporary_path("bench_encoder.svg");
  const Ended ended =
      run_pagoda({"bench",    "encoder", bert, "--lengths", "8",           "32",    "--batch-sizes",      "1", "3",
                  "--ragged", "4",       "7",  "5",         "--num-iters", "4",     "--num-iters-warmup", "1", "--threads",
                  "1",        "--csv",   csv,  "--plot",    plot,          "--json"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  const Json::Array cells = ended.json().at("cells", "").as_array("");
  ASSERT_EQ(cells.size(), 5u);
  for (const Json& cell : cells) {
    EXPECT_EQ(cell.at("count", "").as_int(""), 4);
    EXPECT_GE(cell.at("p99_ms", "").as_double(""), cell.at("p50_ms", "").as_double(""));
    EXPECT_GE(cell.at("p50_ms", "").as_double(""), cell.at("best_ms", "").as_double(""));
    EXPECT_GT(cell.at("limit_ms", "").as_double(""), 0);
  }
  EXPECT_EQ(cells[3].at("length", "").as_int(""), 32);
  EXPECT_EQ(cells[3].at("batch_size", "").as_int(""), 3);
  EXPECT_EQ(cells[4].at("lengths", "").dump(), "[4,7,5]");
  const std::string table = read_file(csv, 1 << 16);
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 6);
  EXPECT_EQ(table.rfind("length,batch_size,count,mean_ms,p50_ms", 0), 0u);
  EXPECT_NE(table.find("\n4+7+5,3,4,"), std::string::npos) << table;
  EXPECT_EQ(read_file(plot, 1 << 20).rfind("<svg", 0), 0u);
  // A cell ends with its time: one run at least is timed.
  const Ended short_ended = run_pagoda(
      {"bench", "encoder", bert, "--lengths", "8", "--batch-sizes", "1", "--max-seconds", "0.001", "--threads", "1", "--json"});
  ASSERT_EQ(short_ended.code, 0) << short_ended.err;
  const int64_t count = short_ended.json().at("cells", "").as_array("")[0].at("count", "").as_int("");
  EXPECT_GE(count, 1);
  EXPECT_LT(count, 1000);
  EXPECT_EQ(run_pagoda({"bench", "encoder", bert, "--lengths", "500"}).code, 2);
  EXPECT_EQ(run_pagoda({"bench", "encoder", PAGODA_SOURCE_DIR "/tests/fixtures/llama"}).code, 4);
}

// By hand: one layer of width 4 and inner width 8 has 4 * 16 + 2 * 32 = 128 weights.
TEST(EncoderCost, CountsProductsAttentionAndWeights) {
  EncoderConfig config;
  config.hidden_size = config.embedding_size = 4;
  config.intermediate_size = 8;
  config.names.blocks = {"a"};
  config.layers = {0, 0};  // shared
  config.head = Head::kTokenClassification;
  config.num_labels = 3;
  const cli::StepCost cost = cli::encoder_cost(config, DType::kBFloat16, {5, 2});
  EXPECT_EQ(cost.flops, 2 * 7 * (2 * 128 + 12) + 2 * 4 * 4 * (25 + 4));
  EXPECT_EQ(cost.bytes, 2 * (128 + 12));
  config.head = Head::kNone;
  config.names.pooler = "pooler";
  EXPECT_EQ(cli::encoder_cost(config, DType::kFloat32, {5, 2}).flops, 2 * 7 * 2 * 128 + 2 * 2 * 16 + 2 * 4 * 4 * (25 + 4));
  EXPECT_EQ(cli::encoder_cost(config, DType::kFloat32, {5, 2}).bytes, 4 * (128 + 16));
}

}  // namespace
}  // namespace pagoda::testing
