// info, doctor, bench, pull, completion and man: what they print.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "base/file.h"
#include "cli/step_cost.h"
#include "tests/cli/child.h"
#include "tests/hub/fake_hub.h"
#include "tests/temporary.h"

namespace pagoda::testing {
namespace {

namespace fs = std::filesystem;

const std::string kLlama = PAGODA_SOURCE_DIR "/tests/fixtures/llama";
const std::vector<std::string> kVerbs{"generate",   "chat",       "run",        "complete", "serve",     "run-batch",
                                      "tokenize",   "detokenize", "template",   "logits",   "gradients", "perplexity",
                                      "quantize",   "init",       "pull",       "info",     "doctor",    "latency",
                                      "throughput", "lengths",    "completion", "man"};

TEST(Info, SaysWhatTheModelIs) {
  const Ended ended = run_pagoda({"info", kLlama, "--json"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  const Json info = ended.json();
  EXPECT_EQ(info.at("architecture", "info"), Json("LlamaForCausalLM"));
  // 2 x (2 norms x 32 + q, o 2 x 32 x 32 + k, v 2 x 16 x 32 + 3 x 32 x 44) + embedding and head 2 x 99 x 32 + norm 32
  const int64_t parameters = 2 * (64 + 2048 + 1024 + 4224) + 2 * 99 * 32 + 32;
  EXPECT_EQ(info.at("parameters", "info"), Json(parameters));
  EXPECT_EQ(info.at("bytes_by_dtype", "info").dump(), "{\"float32\":" + std::to_string(4 * parameters) + "}");
  const Json& memory = info.at("memory", "info").at("float32", "info");
  EXPECT_EQ(memory.at("cache_bytes_per_token", "info"), Json(2 * 2 * 2 * 8 * 4));  // layers, keys and values, heads, 8 floats
  EXPECT_EQ(memory.at("weight_bytes", "info"), Json(4 * parameters));
  EXPECT_TRUE(memory.at("fits", "info").as_bool("info"));
  EXPECT_GT(memory.at("cache_tokens_that_fit", "info").as_int("info"), 100000);
  EXPECT_EQ(info.at("shape", "info").at("context_length", "info"), Json(128));
  EXPECT_EQ(info.at("shape", "info").at("vocab_size", "info"), Json(99));
  EXPECT_TRUE(info.at("tokenizer", "info").is_null());
  EXPECT_EQ(info.at("generation_defaults", "info").at("eos_token_ids", "info").dump(), "[55]");
  const Ended text = run_pagoda({"info", kLlama});
  EXPECT_NE(text.out.find("LlamaForCausalLM"), std::string::npos);
  EXPECT_NE(text.out.find("256 B cache a token"), std::string::npos) << text.out;
}

TEST(Info, WorksWithoutWeights) {
  const std::string folder = pagoda::testing::temporary_path("info_bare");
  fs::remove_all(folder);
  fs::create_directories(folder);
  fs::copy_file(kLlama + "/config.json", folder + "/config.json");
  const Ended ended = run_pagoda({"info", folder, "--json"});
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_TRUE(ended.json().at("bytes_by_dtype", "info").is_null());
  write_file_atomic(folder + "/config.json", R"({"architectures": ["LlamaForCausalLLM"], "model_type": "llamaa"})");
  const Ended unknown = run_pagoda({"info", folder});
  EXPECT_EQ(unknown.code, 4) << unknown.err;
  fs::remove_all(folder);
}

TEST(Doctor, SaysWhatIsUsed) {
  const Ended ended = run_pagoda({"doctor", "--json", "--threads", "1"}, "", {{"HF_TOKEN", "hf_secret"}});
  ASSERT_EQ(ended.code, 0) << ended.err;
  const Json report = ended.json();
  EXPECT_GT(report.at("measured", "doctor").at("read_gb_per_s", "doctor").as_double("doctor"), 0.05);
  EXPECT_GT(report.at("measured", "doctor").at("float32_flops", "doctor").as_double("doctor"), 1e8);
  EXPECT_GT(report.at("kernels", "doctor").size(), 20u);
  bool product = false;
  for (const Json& kernel : report.at("kernels", "doctor").as_array("doctor")) {
    product = product ||
              (!kernel.at("kernel", "doctor").is_null() && kernel.at("entry", "doctor") == Json("product, bfloat16, 1 row"));
  }
  EXPECT_TRUE(product);
  EXPECT_TRUE(report.at("hub", "doctor").at("token_set", "doctor").as_bool("doctor"));
  EXPECT_EQ(ended.out.find("hf_secret"), std::string::npos);
  const Ended portable = run_pagoda({"doctor", "--isa", "portable", "--threads", "1"}, "", {{"HF_ENDPOINT", "gopher://x"}});
  EXPECT_EQ(portable.code, 0) << portable.err;
  EXPECT_NE(portable.out.find("in use: portable"), std::string::npos);
  EXPECT_NE(portable.out.find("! hub settings cannot be used"), std::string::npos);
  if (report.at("usable_isas", "doctor").size() > 2) {
    EXPECT_NE(portable.out.find("! portable is used though"), std::string::npos);
  }
}

TEST(Bench, HasTheKeysAndAddsUp) {
  const std::string file = pagoda::testing::temporary_path("bench.json");
  fs::remove(file);
  const Ended ended =
      run_pagoda({"bench", "latency", kLlama, "--input-len", "40", "--output-len", "8", "--batch-size", "3", "--num-iters", "4",
                  "--num-iters-warmup", "1", "--threads", "1", "--json", "--output-json", file});
  ASSERT_EQ(ended.code, 0) << ended.err;
  const Json result = ended.json();
  EXPECT_EQ(Json::parse(read_file(file, 1 << 20), file), result);
  const std::string where = "bench";
  EXPECT_EQ(result.at("latencies", where).size(), 4u);
  double sum = 0, best = 1e9;
  for (const Json& latency : result.at("latencies", where).as_array(where)) {
    sum += latency.as_double(where);
    best = std::min(best, latency.as_double(where));
  }
  EXPECT_NEAR(result.at("avg_latency", where).as_double(where), sum / 4, 1e-9);
  std::string percents;
  for (const JsonMember& member : result.at("percentiles", where).as_object(where)) percents += member.key + " ";
  EXPECT_EQ(percents, "10 25 50 75 90 99 ");
  EXPECT_GE(result.at("percentiles", where).at("10", where).as_double(where), best);
  const double prefill = result.at("prefill_tokens_per_s", where).as_double(where),
               decode = result.at("decode_tokens_per_s", where).as_double(where);
  EXPECT_LE(3 * 40 / prefill + 3 * 7 / decode, best * 1.0001);  // the best of each phase together are at most the best batch
  EXPECT_LE(result.at("mean_decode_tokens_per_s", where).as_double(where), decode);
  const Json& limits = result.at("limits", where);
  EXPECT_NEAR(limits.at("prefill_share", where).as_double(where),
              prefill / limits.at("prefill_limit_tokens_per_s", where).as_double(where), 1e-9);
  EXPECT_GT(limits.at("flops", where).as_double(where), 1e8);
  EXPECT_EQ(limits.at("threads", where), Json(1));
  EXPECT_EQ(limits.at("dtype", where), Json("float32"));
  fs::remove(file);
  const Ended text =
      run_pagoda({"bench", "latency", kLlama, "--output-len", "1", "--num-iters", "1", "--num-iters-warmup", "0"});
  EXPECT_NE(text.out.find("prefill"), std::string::npos) << text.err;
  EXPECT_EQ(text.out.find("decode"), std::string::npos);
  const Ended too_long = run_pagoda({"bench", "latency", kLlama, "--input-len", "128", "--output-len", "2"});
  EXPECT_EQ(too_long.code, 2);
  EXPECT_NE(too_long.err.find("need at most 129 together"), std::string::npos) << too_long.err;
}

TEST(StepCost, CountsByHand) {
  DecoderConfig config;
  config.names.mlp_in = {"gate", "up"};
  config.vocab_size = 100;
  config.hidden_size = 8;
  config.intermediate_size = 12;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 2;
  config.windows = {0, 3};
  const int64_t layer = 8 * 16 + 8 * 8 + 3 * 8 * 12;
  EXPECT_EQ(cli::product_weights(config), 2 * layer);
  // Rows 4 and 5: the first layer sees 5 + 6 keys, the second 3 + 3. Logits of one row.
  const cli::StepCost cost = cli::step_cost(config, cli::weight_bytes(config, DType::kBFloat16), DType::kBFloat16, {{4, 2, 1}});
  EXPECT_EQ(cost.flops, 2.0 * 2 * layer * 2 + 2 * 800 + 4.0 * 8 * (11 + 6));
  // Keys and values: 6 positions of the first layer; 4 of the second (two rows of a window of 3), 2 heads of 2 each.
  EXPECT_EQ(cost.bytes, 2 * (2.0 * layer + 800) + 2 * 2 * 4 * (6 + 4));
  EXPECT_EQ(cli::step_cost(config, cli::weight_bytes(config, DType::kFloat32), DType::kFloat32, {{0, 1, 0}}).bytes,
            4 * (2.0 * layer) + 4 * 2 * 4 * 2);
  // int8: a byte an element, and a scale for each of the key and the value of 2 heads.
  EXPECT_EQ(cli::step_cost(config, cli::weight_bytes(config, DType::kFloat32), DType::kInt8, {{0, 1, 0}}).bytes,
            4 * (2.0 * layer) + 2 * 2 * (2 + 4) * 2);
  cli::MachineRates rates;
  rates.flops_per_s = 100;
  EXPECT_EQ(cli::least_seconds(cost, rates), cost.flops / 100);
  rates.read_bytes_per_s = 1;
  EXPECT_EQ(cli::least_seconds(cost, rates), cost.bytes);
}

class Pull : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = pagoda::testing::temporary_path("cli_pull_" +
                                              std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::remove_all(folder_);
    environment_ = {{"HF_HOME", folder_ + "/home"},   {"HF_TOKEN", ""},
                    {"HF_HUB_OFFLINE", "0"},          {"HF_HUB_CACHE", folder_ + "/cache"},
                    {"HF_ENDPOINT", hub_.url()},      {"http_proxy", ""},
                    {"HF_HUB_DOWNLOAD_TIMEOUT", "30"}};
    auto& repo = hub_.repos["org/model"];
    repo.revisions = {{"main", commit_}};
    repo.commits[commit_] = {{"config.json", {read_file(kLlama + "/config.json", 1 << 20)}},
                             {"generation_config.json", {read_file(kLlama + "/generation_config.json", 1 << 20)}},
                             {"model.safetensors", {read_file(kLlama + "/model.safetensors", 1 << 24), true}},
                             {"README.md", {"read me"}}};
  }
  void TearDown() override { fs::remove_all(folder_); }
  const std::string commit_ = std::string(40, 'a');
  FakeHub hub_;
  std::string folder_;
  Environment environment_;
};

TEST_F(Pull, PrintsTheFolderAndModelsAreFoundByName) {
  const Ended ended = run_pagoda({"pull", "org/model"}, "", environment_);
  ASSERT_EQ(ended.code, 0) << ended.err;
  const std::string folder = folder_ + "/cache/models--org--model/snapshots/" + commit_;
  EXPECT_EQ(ended.out, folder + "\n");
  EXPECT_TRUE(file_exists(folder + "/model.safetensors"));
  EXPECT_FALSE(file_exists(folder + "/README.md"));
  const Ended text = run_pagoda({"generate", "org/model", "--prompt-ids", "[21]"}, "", environment_);
  EXPECT_EQ(text.out, "[56,13,93,25,55]\n") << text.err;
  const Ended json = run_pagoda({"pull", "org/model", "--json", "--offline", "--quiet"}, "", environment_);
  EXPECT_EQ(json.json().get_string("folder", "", "pull"), folder);
  EXPECT_EQ(json.json().get_int("downloaded_bytes", -1, "pull"), 0);
  EXPECT_EQ(json.err, "");
}

TEST_F(Pull, PatternsFoldersAndErrors) {
  const Ended some = run_pagoda({"pull", "org/model", "--include", "*.md", "--include", "*.json", "--exclude", "gen*",
                                 "--cache-dir", folder_ + "/other", "--json"},
                                "", environment_);
  ASSERT_EQ(some.code, 0) << some.err;
  EXPECT_EQ(some.json().at("files", "pull").dump(), R"(["README.md","config.json"])");
  EXPECT_TRUE(directory_exists(folder_ + "/other/models--org--model"));
  EXPECT_EQ(run_pagoda({"pull", "org/none"}, "", environment_).code, 3);
  EXPECT_EQ(run_pagoda({"pull", "org/model", "--offline"}, "", environment_).code, 3);
  EXPECT_EQ(run_pagoda({"pull", "../../etc/passwd"}, "", environment_).code, 2);
  EXPECT_EQ(run_pagoda({"pull", "org/model", "--revision", "../x"}, "", environment_).code, 2);
  EXPECT_EQ(run_pagoda({"pull", "org/model", "--endpoint", "ftp://x"}, "", environment_).code, 2);
  EXPECT_EQ(run_pagoda({"pull", "org/model", "--max-workers", "65"}, "", environment_).code, 2);
  const Ended token = run_pagoda({"pull", "org/model", "--token", "a\nb"}, "", environment_);
  EXPECT_EQ(token.code, 2);
  EXPECT_EQ(token.err.find("a\nb"), std::string::npos);
}

TEST_F(Pull, InterruptedEndsCleanlyAndGoesOn) {
  hub_.faults.stall = 1;  // half of the body comes, then nothing
  Running pull({"pull", "org/model"}, environment_);
  const std::string blobs = folder_ + "/cache/models--org--model/blobs";
  const auto partial = [&] {
    if (!directory_exists(blobs)) return false;
    for (const std::string& name : list_directory(blobs)) {
      if (name.find(".incomplete") != std::string::npos && file_size(blobs + "/" + name) > 0) return true;
    }
    return false;
  };
  for (int i = 0; i < 300 && !partial(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  ASSERT_TRUE(partial());
  ::kill(pull.pid(), SIGINT);
  const auto start = std::chrono::steady_clock::now();
  const Ended ended = pull.end();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  EXPECT_EQ(ended.code, 130) << ended.err;
  EXPECT_EQ(ended.out, "");
  EXPECT_NE(ended.err.find("goes on where this one stopped"), std::string::npos) << ended.err;
  const Ended again = run_pagoda({"pull", "org/model"}, "", environment_);
  EXPECT_EQ(again.code, 0) << again.err;
}

TEST(Completion, NamesEveryVerbAndFlag) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const Ended ended = run_pagoda({"completion", shell});
    ASSERT_EQ(ended.code, 0) << ended.err;
    for (const std::string& verb : kVerbs) EXPECT_NE(ended.out.find(verb), std::string::npos) << shell << " " << verb;
    for (const char* flag : {"max-new-tokens", "num-iters-warmup", "truncate-history", "cache-dir"}) {
      EXPECT_NE(ended.out.find(flag), std::string::npos) << shell << " " << flag;
    }
  }
}

TEST(Completion, BashCompletes) {
  const std::string script = pagoda::testing::temporary_path("completion.bash");
  write_file_atomic(script, run_pagoda({"completion", "bash"}).out);
  // What bash would offer for a line whose last word is unfinished.
  const auto offers = [&](const std::string& words, int count) {
    const std::string out = pagoda::testing::temporary_path("completion.out");
    const std::string command = "bash -c 'source " + script + " && COMP_WORDS=(" + words +
                                ") COMP_CWORD=" + std::to_string(count - 1) + " && _pagoda && echo \"${COMPREPLY[*]}\"' > " +
                                out + " 2>&1";
    EXPECT_EQ(std::system(command.c_str()), 0);
    return read_file(out, 1 << 20);
  };
  EXPECT_EQ(offers("pagoda gen", 2), "generate\n");
  EXPECT_EQ(offers("pagoda be", 2), "bench\n");
  EXPECT_EQ(offers("pagoda bench \"\"", 3), "latency encoder throughput serve lengths -h --help\n");
  EXPECT_EQ(offers("pagoda generate M --max-n", 4), "--max-new-tokens\n");
  EXPECT_EQ(offers("pagoda bench latency M --num-iters-w", 5), "--num-iters-warmup\n");
  EXPECT_EQ(offers("pagoda chat M --isa av", 5), "avx2 avx512 avx512_bf16\n");
  EXPECT_EQ(offers("pagoda info " + kLlama + "/conf", 3), kLlama + "/config.json\n");
}

TEST(Man, NamesEveryVerbAndIsSoundRoff) {
  const Ended ended = run_pagoda({"man"});
  ASSERT_EQ(ended.code, 0);
  EXPECT_EQ(ended.out.rfind(".TH PAGODA 1", 0), 0u);
  for (std::string verb : kVerbs) {
    if (verb == "latency" || verb == "throughput" || verb == "lengths") verb = "bench " + verb;
    if (const size_t dash = verb.find('-'); dash != std::string::npos) verb.insert(dash, "\\");
    EXPECT_NE(ended.out.find(".SS pagoda " + verb), std::string::npos) << verb;
  }
  EXPECT_NE(ended.out.find("\\-\\-max\\-new\\-tokens"), std::string::npos);
  if (std::system("command -v groff > /dev/null 2>&1") != 0) GTEST_SKIP() << "needs groff to check the page";
  const std::string page = pagoda::testing::temporary_path("pagoda.1");
  write_file_atomic(page, ended.out);
  EXPECT_EQ(std::system(("test -z \"$(groff -man -Tutf8 -ww -z " + page + " 2>&1)\"").c_str()), 0);
}

}  // namespace
}  // namespace pagoda::testing
