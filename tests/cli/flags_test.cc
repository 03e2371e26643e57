// Wrong flags, wrong names, help: exit codes and the one form of errors.
#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "tests/cli/child.h"
#include "tests/temporary.h"

namespace pagoda::testing {
namespace {

const std::string kLlama = PAGODA_SOURCE_DIR "/tests/fixtures/llama";
const std::vector<std::string> kVerbs{"generate", "chat",       "run",      "complete", "serve",      "run-batch",
                                      "tokenize", "detokenize", "template", "logits",   "gradients",  "init",
                                      "pull",     "info",       "doctor",   "bench",    "completion", "man"};

void expect_error(const Ended& ended, int code, const std::string& text) {
  EXPECT_EQ(ended.code, code) << ended.err;
  EXPECT_EQ(ended.err.rfind("error: [", 0), 0u) << ended.err;
  EXPECT_NE(ended.err.find(text), std::string::npos) << ended.err;
  EXPECT_EQ(std::count(ended.err.begin(), ended.err.end(), '\n'), 1) << ended.err;
  EXPECT_EQ(ended.out, "");
}

TEST(Flags, WithoutVerbShowsTheVerbsInOrder) {
  const Ended ended = run_pagoda({});
  EXPECT_EQ(ended.code, 2);
  EXPECT_EQ(ended.out, "");
  size_t at = 0;
  for (const std::string& verb : kVerbs) {
    const size_t found = ended.err.find("\n  " + verb + " ", at);
    EXPECT_NE(found, std::string::npos) << verb << " in\n" << ended.err;
    if (found != std::string::npos) at = found;
  }
  const Ended help = run_pagoda({"--help"});
  EXPECT_EQ(help.code, 0);
  EXPECT_EQ(help.out, ended.err);
  EXPECT_EQ(run_pagoda({"--version"}).out.rfind("pagoda ", 0), 0u);
}

TEST(Flags, EveryVerbHasExamplesJsonAndQuiet) {
  for (std::string verb : kVerbs) {
    std::vector<std::string> arguments{verb};
    if (verb == "bench") arguments.push_back("latency");
    arguments.push_back("--help");
    const Ended ended = run_pagoda(arguments);
    EXPECT_EQ(ended.code, 0) << verb;
    for (const char* part : {"Examples:\n  $ ", "--json", "--quiet"}) {
      EXPECT_NE(ended.out.find(part), std::string::npos) << verb << ": " << part;
    }
  }
}

TEST(Flags, HelpThatIsNamedListsTheFlag) {
  expect_error(run_pagoda({"bench", "latency", kLlama, "--input-len", "0"}), 2, "(see pagoda bench latency --help)");
  expect_error(run_pagoda({"train", "clm", kLlama, "--max-steps", "x"}), 2, "(see pagoda train clm --help)");
  expect_error(run_pagoda({"evaluate", "clm", kLlama, "--block-size", "0"}), 2, "(see pagoda evaluate clm --help)");
  expect_error(run_pagoda({"generate"}), 2, "(see pagoda generate --help)");
}

TEST(Flags, ValuesAreReadAsArgparseReadsThem) {
  const auto tokens = [](std::vector<std::string> more) {
    std::vector<std::string> all{"generate", kLlama, "--prompt-ids", "[1, 2]", "--ignore-eos", "--json"};
    all.insert(all.end(), more.begin(), more.end());
    const Ended ended = run_pagoda(all);
    EXPECT_EQ(ended.code, 0) << ended.err;
    return ended.json().at("outputs", "o").as_array("o").at(0).at("token_ids", "o").size();
  };
  EXPECT_EQ(tokens({"--max-new-tokens", "010"}), 10u);
  EXPECT_EQ(tokens({"--max-new-tokens", "5", "--max-new-tokens", "+03"}), 3u);
  EXPECT_EQ(tokens({"--max-new-tokens", "2", "--seed", "0", "--seed", "00"}), 2u);
  expect_error(run_pagoda({"generate", kLlama, "--temperature", "1,5"}), 2,
               "error: [--temperature] got 1,5, need a number (see pagoda generate --help)");
  expect_error(run_pagoda({"generate", kLlama, "--max-new-tokens", "1.5"}), 2,
               "error: [--max-new-tokens] got 1.5, need an integer (see pagoda generate --help)");
  expect_error(run_pagoda({"quantize", kLlama, "--to", "int2", "--out", "/nowhere/at/all"}), 2,
               "error: [--to] got int2, need one of int8, int4 (see pagoda quantize --help)");
  expect_error(run_pagoda({"evaluate", "clm", kLlama, "--model-name-or-path", kLlama}), 2, "(see pagoda evaluate clm --help)");
}

TEST(Flags, OneNameOfTheModelIsEnough) {
  const Ended help = run_pagoda({"evaluate", "clm", "--help"});
  EXPECT_EQ(help.out.find("REQUIRED"), std::string::npos) << help.out;
  expect_error(run_pagoda({"evaluate", "clm"}), 2,
               "MODEL (or --model-name-or-path) is required (see pagoda evaluate clm --help)");
  expect_error(run_pagoda({"evaluate", "clm", "/no/model", "--validation-file", "x"}), 3, "/no/model");
}

TEST(Flags, HuggingFacesSpelling) {
  const std::vector<std::string> dashes{"generate",         kLlama, "--prompt-ids", "[1, 2]",
                                        "--max-new-tokens", "2",    "--ignore-eos", "--json"};
  const Ended plain = run_pagoda(dashes);
  ASSERT_EQ(plain.code, 0) << plain.err;
  std::vector<std::string> underscores{
      "generate", kLlama, "--prompt_ids=[1, 2]", "--max_new_tokens", "2", "--ignore_eos", "True", "--json", "true"};
  const Ended same = run_pagoda(underscores);
  EXPECT_EQ(same.code, 0) << same.err;
  EXPECT_EQ(same.out, plain.out);
  expect_error(run_pagoda({"generate", kLlama, "--max_new_tokenz", "2"}), 2, "did you mean '--max-new-tokens'?");
}

TEST(Flags, UnknownVerbNamesTheNearest) {
  expect_error(run_pagoda({"generat"}), 2, "did you mean 'generate'?");
  expect_error(run_pagoda({"tokenise", "x"}), 2, "did you mean 'tokenize'?");
  const Ended far = run_pagoda({"xyzzyxyzzy"});
  expect_error(far, 2, "unknown verb: got 'xyzzyxyzzy', need one of generate, chat");
  EXPECT_EQ(far.err.find("did you mean"), std::string::npos);
  expect_error(run_pagoda({"train", "foo"}), 2, "unknown verb after train: got 'foo', need one of clm, mlm, sft");
  expect_error(run_pagoda({"train"}), 2, "unknown verb after train: got none, need one of clm");
  expect_error(run_pagoda({"evaluate", "text-clasification"}), 2, "did you mean 'text-classification'?");
}

TEST(Flags, WrongFlagsAreInvalidInput) {
  expect_error(run_pagoda({"generate", kLlama, "--no-such-flag"}), 2, "--no-such-flag");
  expect_error(run_pagoda({"generate"}), 2, "MODEL");
  expect_error(run_pagoda({"generate", kLlama, "--prompt", "a", "--prompt-ids", "[1]"}), 2, "--prompt");
  expect_error(run_pagoda({"generate", kLlama, "--prompt-ids", "[1]", "--isa", "sse9"}), 2, "sse9");
  expect_error(run_pagoda({"generate", kLlama, "--prompt-ids", "[1]", "--dtype", "int3"}), 2, "int3");
  expect_error(run_pagoda({"generate", kLlama, "--prompt-ids", "[1]", "--threads", "0"}), 2, "--threads");
  expect_error(run_pagoda({"generate", kLlama, "--prompt-ids", "[1]", "--cores", "zero"}), 2, "[cores]");
  expect_error(run_pagoda({"generate", kLlama, "--prompt-ids", "[1]", "--top-p", "7"}), 2, "top_p");
  expect_error(run_pagoda({"generate", kLlama, "--prompt-ids", "[1]", "--bad-words-ids", "{"}), 2, "[--bad-words-ids]");
  expect_error(run_pagoda({"bench", "latency", kLlama, "--batch-size", "0"}), 2, "--batch-size");
  expect_error(run_pagoda({"generate", "a/b@c d", "--prompt-ids", "[1]"}), 2, "got 'c d'");
  expect_error(run_pagoda({"bench"}), 2, "unknown verb after bench: got none, need one of latency");
  expect_error(run_pagoda({"completion", "tcsh"}), 2, "need bash, zsh or fish");
}

TEST(Flags, UnknownFlagNamesTheNearest) {
  expect_error(run_pagoda({"generate", kLlama, "--temprature", "0.5"}), 2,
               "unknown flag: got '--temprature', did you mean '--temperature'? (see pagoda generate --help)");
  expect_error(run_pagoda({"serve", kLlama, "--max-num-seq=4"}), 2, "did you mean '--max-num-seqs'?");
  expect_error(run_pagoda({"bench", "latency", kLlama, "--batch-sise", "1"}), 2,
               "did you mean '--batch-size'? (see pagoda bench latency --help)");
  const Ended far = run_pagoda({"generate", kLlama, "--xyzzyxyzzy"});
  expect_error(far, 2, "unknown flag: got '--xyzzyxyzzy'");
  EXPECT_EQ(far.err.find("did you mean"), std::string::npos) << far.err;
  expect_error(run_pagoda({"info", kLlama, "surplus"}), 2, "surplus");
}

TEST(Flags, NumbersThatDoNotFitAreRefused) {
  const std::string many = "99999999999999999999999";
  expect_error(run_pagoda({"serve", kLlama, "--max-model-len", many}), 2, "[--max-model-len] got " + many);
  expect_error(run_pagoda({"serve", kLlama, "--max-body-bytes", many}), 2, "[--max-body-bytes]");
  expect_error(run_pagoda({"generate", kLlama, "--prompt-ids", "[1]", "--seed", many}), 2, "[--seed]");
  expect_error(run_pagoda({"generate", kLlama, "--prompt-ids", "[1]", "--temperature", "1e999"}), 2, "[--temperature]");
  expect_error(run_pagoda({"serve", kLlama, "--header-timeout", "1e300"}), 2, "--header-timeout");
  expect_error(run_pagoda({"serve", kLlama, "--shutdown-timeout", "9223372036854775807"}), 2, "--shutdown-timeout");
  EXPECT_EQ(run_pagoda({"generate", kLlama, "--prompt-ids", "[1]", "--temperature", "1e-999", "--max-new-tokens", "1"}).code,
            0);
}

TEST(Flags, BoundsAreToldShortly) {
  expect_error(run_pagoda({"generate", kLlama, "--seed", "-1"}), 2,
               "error: [--seed] got -1, need 0 or more (see pagoda generate --help)");
  expect_error(run_pagoda({"serve", kLlama, "--max-inputs", "0"}), 2, "[--max-inputs] got 0, need more than 0 (");
  expect_error(run_pagoda({"serve", kLlama, "--port", "70000"}), 2, "[--port] got 70000, need 0 to 65535 (");
  expect_error(run_pagoda({"serve", kLlama, "--memory-utilization", "2"}), 2, "got 2, need 0.01 to 0.95 (");
  expect_error(run_pagoda({"serve", kLlama, "--max-model-len", "x"}), 2,
               "[--max-model-len] got x, need a number of tokens (4096, 4k, 4K) or auto (");
  // As vLLM reads them: 1k is 1000.
  expect_error(run_pagoda({"serve", kLlama, "--port", "0", "--max-model-len", "1k"}), 2,
               "--max-model-len: got 1000, need 1 to");
  expect_error(run_pagoda({"serve", kLlama, "--port", "0", "--max-model-len", "1K"}), 2,
               "--max-model-len: got 1024, need 1 to");
  expect_error(run_pagoda({"serve", kLlama, "--max-model-len", "auto", "--root-path", "a b"}), 2, "[--root-path]");
}

TEST(Flags, LogitBiasNamesItsKey) {
  expect_error(run_pagoda({"generate", kLlama, "--prompt-ids", "[1]", "--logit-bias", R"({"a": 1})"}), 2,
               "[--logit-bias] no token id: got 'a', need digits");
}

TEST(Flags, ARevisionIsOfTheHubAlone) {
  expect_error(run_pagoda({"generate", kLlama, "--revision", "main"}), 2, "[--revision] got a local MODEL");
  expect_error(run_pagoda({"info", "org/name@main", "--revision", "v1"}), 2, "[--revision] MODEL names one already");
  expect_error(run_pagoda({"serve", "org/name", "--port", "0", "--revision", "c d"}), 2, "got 'c d'");
  for (const char* verb :
       {"generate", "chat", "run", "serve", "run-batch", "tokenize", "template", "logits", "gradients", "info"}) {
    const Ended help = run_pagoda({verb, "--help"});
    EXPECT_NE(help.out.find("--revision"), std::string::npos) << verb;
    EXPECT_NE(help.out.find("ORG/NAME@REVISION"), std::string::npos) << verb;
  }
}

TEST(Flags, VllmsFlagsOfServe) {
  const std::vector<std::string> flags{"--enable-prefix-caching",
                                       "--block-size",
                                       "16",
                                       "--seed",
                                       "3",
                                       "--max-model-len",
                                       "auto",
                                       "--default-chat-template-kwargs",
                                       R"({"a": 1})",
                                       "--allowed-headers",
                                       R"(["*"])"};
  std::vector<std::string> all{"serve", kLlama, "--root-path", "a b"};  // what is refused last
  all.insert(all.end(), flags.begin(), flags.end());
  expect_error(run_pagoda(all), 2, "[--root-path]");
  expect_error(run_pagoda({"serve", kLlama, "--block-size", "32"}), 2, "[--block-size] got 32, need 16");
  expect_error(run_pagoda({"serve", kLlama, "--override-generation-config", "[1]"}), 2, "--override-generation-config");
}

TEST(Flags, WithoutEffectAreRefused) {
  expect_error(run_pagoda({"chat", kLlama, "--api-key", "k"}), 2, "[--api-key]");
  expect_error(run_pagoda({"chat", kLlama, "--header", "a=b"}), 2, "[--header]");
  expect_error(run_pagoda({"chat", kLlama, "--insecure"}), 2, "[--insecure]");
  expect_error(run_pagoda({"chat", "--url", "http://127.0.0.1:1", "--threads", "2"}), 2, "[--threads]");
  expect_error(run_pagoda({"chat", "--url", "http://127.0.0.1:1", "--dtype", "float32"}), 2, "[--dtype]");
}

TEST(Flags, OfServeAreCheckedAtStart) {
  expect_error(run_pagoda({"serve", kLlama, "--port", "0", "--root-path", "a b"}), 2, "[--root-path]");
  expect_error(run_pagoda({"serve", kLlama, "--port", "0", "--max-model-len", "129"}), 2,
               "--max-model-len: got 129, need 1 to 128 (the model's context)");
  expect_error(run_pagoda({"serve", kLlama, "--port", "0", "--kv-cache-memory", "1000TB"}), 5, "--kv-cache-memory: got");
}

TEST(Flags, ExitCodesByKind) {
  expect_error(run_pagoda({"generate", "/no/such/folder", "--prompt-ids", "[1]"}), 3, "no such file or folder");
  expect_error(run_pagoda({"generate", kLlama, "--prompt", "text"}), 3, "no tokenizer");
  expect_error(run_pagoda({"generate", kLlama, "--prompt-file", "/no/such/file"}), 3, "/no/such/file");
  expect_error(run_pagoda({"pull", "org/model", "--endpoint", "nonsense"}), 2, "[--endpoint] bad hub address: got 'nonsense'");
  expect_error(run_pagoda({"logits", kLlama, "--ids", "/no/such/file", "--out", pagoda::testing::temporary_path("x")}), 3,
               "/no/such/file");
  expect_error(run_pagoda({"chat", kLlama}), 3, "no chat template");
}

TEST(Flags, HostileIds) {
  expect_error(run_pagoda({"generate", kLlama, "--prompt-ids", "[99]"}), 2, "got 99, need 0 to 98");
  expect_error(run_pagoda({"generate", kLlama, "--prompt-ids", "[-1]"}), 2, "got -1");
  expect_error(run_pagoda({"generate", kLlama, "--prompt-ids", "[9223372036854775807]"}), 2, "got 9223372036854775807");
  expect_error(run_pagoda({"generate", kLlama, "--prompt-ids", "[1e400]"}), 2, "--prompt-ids");
  expect_error(run_pagoda({"generate", kLlama, "--prompt-ids", "[]"}), 2, "empty list");
  expect_error(run_pagoda({"generate", kLlama, "--prompt-ids", "{\"a\":1}"}), 2, "need list");
  expect_error(run_pagoda({"generate", kLlama, "--prompt-ids", "[\"1\"]"}), 2, "need integer");
  expect_error(run_pagoda({"generate", kLlama, "--prompt-ids", std::string(100000, '[')}), 2, "--prompt-ids");
  std::string many = "[0";
  for (int i = 0; i < 200; ++i) many += ",1";
  expect_error(run_pagoda({"generate", kLlama, "--prompt-ids", many + "]"}), 2, "need at most 128");
  expect_error(run_pagoda({"generate", kLlama}, "\xff\xfe"), 2, "not UTF-8");
}

const std::string kBert = PAGODA_SOURCE_DIR "/tests/fixtures/encoders/bert";

TEST(Flags, AnEncoderDoesNotChatAndKeepsNoCache) {
  expect_error(run_pagoda({"chat", kBert}), 4, "is an encoder");
  const Ended info = run_pagoda({"info", kBert, "--json"});
  ASSERT_EQ(info.code, 0) << info.err;
  EXPECT_EQ(info.json().at("memory", "").at("float32", "").find("cache_bytes_per_token"), nullptr);
  EXPECT_NE(info.json().at("memory", "").at("float32", "").find("weight_bytes"), nullptr);
  EXPECT_EQ(run_pagoda({"info", kBert}).out.find("cache"), std::string::npos);
  EXPECT_NE(run_pagoda({"info", kLlama}).out.find("cache"), std::string::npos);
}

// Numbers in brackets are a list, as CLI11 reads it; texts keep theirs.
TEST(Flags, ListsOfNumbersMayStandInBrackets) {
  const Ended bench = run_pagoda(
      {"bench", "encoder", kBert, "--lengths", "[8,16]", "--batch-sizes", "1", "--num-iters", "1", "--threads", "1", "--json"});
  ASSERT_EQ(bench.code, 0) << bench.err;
  for (const char* length : {"8", "16"}) EXPECT_NE(bench.out.find(length), std::string::npos) << bench.out;
}

// Verbs that know nothing but JSON lines need no flag for them, and take the one that they needed.
TEST(Flags, JsonLinesAreTheDefault) {
  const std::string file = PAGODA_SOURCE_DIR "/tests/fixtures/tokenizers/tiny.tiktoken";
  const auto same = [](const std::vector<std::string>& command, const std::string& line) {
    const Ended plain = run_pagoda(command, line);
    EXPECT_EQ(plain.code, 0) << plain.err;
    for (const char* flag : {"--jsonl", "--json"}) {
      std::vector<std::string> flagged = command;
      flagged.push_back(flag);
      EXPECT_EQ(run_pagoda(flagged, line).out, plain.out) << flag;
    }
    EXPECT_NE(run_pagoda({command[0], "--help"}).out.find("this is so without it too"), std::string::npos);
    return plain.out;
  };
  const std::string ids = same({"tokenize", file, "--pattern", "\\S+|\\s"}, "\"one two\"\n");
  EXPECT_EQ(same({"detokenize", file, "--pattern", "\\S+|\\s"}, ids), "\"one two\"\n");
  const std::string jinja = temporary_path("flags_lines.jinja");
  write_file_atomic(jinja, "{{ x }}!");
  EXPECT_EQ(same({"template", "--file", jinja}, "{\"x\": \"y\"}\n"), "\"y!\"\n");
}

// Who names the folder above a model's is told where the model is.
TEST(Flags, AFolderAboveAModelNamesIt) {
  const std::string folder = temporary_path("flags_above");
  const auto copy = [&](const std::string& to, const std::vector<std::string>& names) {
    std::filesystem::create_directories(folder + "/" + to);
    for (const std::string& name : names) std::filesystem::copy(kLlama + "/" + name, folder + "/" + to + "/" + name);
  };
  copy("1_Dense", {"model.safetensors"});  // a module of sentence-transformers: weights, but no model
  write_file_atomic(folder + "/1_Dense/config.json", "{\"in_features\": 8}");
  copy("bare", {"config.json"});
  const std::vector<std::string> chat{"chat", folder};
  const Ended none = run_pagoda(chat);
  expect_error(none, 3, "not a model folder");
  EXPECT_EQ(none.err.find("below it"), std::string::npos) << none.err;
  copy("whole", {"config.json", "model.safetensors"});
  expect_error(run_pagoda(chat), 3, "; a folder below it holds a model: " + folder + "/whole\n");
  copy("", {"config.json"});
  expect_error(run_pagoda({"generate", folder, "--prompt-ids", "[1]"}), 3, "no weights");
  expect_error(run_pagoda({"generate", folder, "--prompt-ids", "[1]"}), 3, "holds a model: " + folder + "/whole\n");
  expect_error(run_pagoda({"tokenize", folder}, "\"a\"\n"), 3, "holds a model: " + folder + "/whole\n");
  copy("again", {"config.json", "model.safetensors"});
  expect_error(run_pagoda(chat), 3, "holds a model: " + folder + "/again, " + folder + "/whole\n");
  copy("", {"model.safetensors"});  // with all that there should be nobody is led astray
  EXPECT_EQ(run_pagoda({"generate", folder, "--prompt-ids", "[1]", "--max-new-tokens", "1"}).code, 0);
  const Ended whole = run_pagoda(chat);
  expect_error(whole, 3, "no chat template");
  EXPECT_EQ(whole.err.find("below it"), std::string::npos) << whole.err;
}

// More threads than can run are almost always a mistake: they are not begun, and it is said.
TEST(Flags, ThreadsAreNoMoreThanCanRun) {
  const auto generate = [](std::vector<std::string> more) {
    std::vector<std::string> all{"generate", kLlama, "--prompt-ids", "[1, 2]", "--max-new-tokens", "3", "--ignore-eos"};
    all.insert(all.end(), more.begin(), more.end());
    return run_pagoda(all);
  };
  const Ended many = generate({"--threads", "4096"}), one = generate({"--threads", "1"});
  EXPECT_EQ(many.code, 0) << many.err;
  EXPECT_EQ(many.out, one.out);
  EXPECT_EQ(many.err.rfind("warning: [--threads] got 4096, and ", 0), 0u) << many.err;
  EXPECT_EQ(one.err.find("--threads"), std::string::npos) << one.err;
  EXPECT_EQ(generate({"--threads", "4096", "--quiet"}).err, "");
}

TEST(Flags, PatternsAreOfTiktokenFiles) {
  const std::string folder = temporary_path("flags_tiktoken"), text = "\"one two\"\n";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const std::string file = PAGODA_SOURCE_DIR "/tests/fixtures/tokenizers/tiny.tiktoken";
  std::filesystem::copy(file, folder + "/tiny.tiktoken");
  const Ended of_file = run_pagoda({"tokenize", file, "--jsonl", "--pattern", "\\S+|\\s"}, text);
  const Ended of_folder = run_pagoda({"tokenize", folder, "--jsonl", "--pattern", "\\S+|\\s"}, text);
  EXPECT_EQ(of_folder.code, of_file.code) << of_folder.err;
  EXPECT_EQ(of_folder.out, of_file.out);
  EXPECT_EQ(of_folder.err.find("has its own"), std::string::npos) << of_folder.err;
  expect_error(run_pagoda({"tokenize", kLlama, "--jsonl", "--pattern", "a"}, text), 2, "which has its own");
}

TEST(Flags, ABrokenTemplateIsTheVerbsError) {
  const std::string file = temporary_path("flags_broken.jinja");
  write_file_atomic(file, "{% if %}");
  expect_error(run_pagoda({"template", "--file", file, "--jsonl"}, "{}\n"), 2, "line 1");
  write_file_atomic(file, "{{ x.y.z }}");  // a line that fails says so in its place
  const Ended ended = run_pagoda({"template", "--file", file, "--jsonl"}, "{}\n{\"x\": {\"y\": {\"z\": 1}}}\n");
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_NE(ended.out.find("{\"error\""), std::string::npos);
  EXPECT_NE(ended.out.find("\"1\""), std::string::npos);
}

}  // namespace
}  // namespace pagoda::testing
