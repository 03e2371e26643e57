// quantize and perplexity as programs: what they print, and a .gguf file in MODEL's place.
#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "tests/cli/child.h"
#include "tests/temporary.h"

namespace pagoda::testing {
namespace {

const std::string kFixtures = PAGODA_SOURCE_DIR "/tests/fixtures/";
const std::string kGguf = kFixtures + "gguf/llama_q8_0.gguf";

TEST(Quantize, SaysWhatItDidAndDidNot) {
  const std::string out = pagoda::testing::temporary_path("cli_quantize");
  std::filesystem::remove_all(out);
  const Ended ended =
      run_pagoda({"quantize", kFixtures + "llama", "--to", "int4", "--group-size", "32", "--out", out, "--json"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(ended.json().at("quantized", "").size(), 14u);
  EXPECT_EQ(ended.json().at("in_int8", "").size(), 2u);
  EXPECT_EQ(run_pagoda({"logits", out, "--ids", "-", "--out", out + "/logits.safetensors"}, "[1, 2, 3]\n").code, 0);
  const Ended again = run_pagoda({"quantize", kFixtures + "llama", "--to", "int8", "--out", out});
  EXPECT_EQ(again.code, 2);
  EXPECT_NE(again.err.find("--force"), std::string::npos) << again.err;
  EXPECT_EQ(run_pagoda({"quantize", kFixtures + "llama", "--to", "int4", "--group-size", "12", "--out", out}).code, 2);
  EXPECT_EQ(run_pagoda({"quantize", kFixtures + "llama", "--to", "int3", "--out", out}).code, 2);
  EXPECT_EQ(run_pagoda({"quantize", kFixtures + "llama", "--to", "int8", "--asymmetric", "--out", out, "--force"}).code, 2);
}

TEST(Quantize, SaysWhereAsymmetricFoldersDoNotLoad) {
  const std::string out = temporary_path("cli_asymmetric");
  std::vector<std::string> command{"quantize", kFixtures + "llama", "--to", "int4", "--group-size", "32", "--out", out,
                                   "--force"};
  const Ended symmetric = run_pagoda(command);
  ASSERT_EQ(symmetric.code, 0) << symmetric.err;
  EXPECT_EQ(symmetric.err.find("transformers"), std::string::npos) << symmetric.err;
  command.push_back("--asymmetric");
  const Ended asymmetric = run_pagoda(command);
  ASSERT_EQ(asymmetric.code, 0) << asymmetric.err;
  EXPECT_NE(asymmetric.err.find("does not load packed zero points"), std::string::npos) << asymmetric.err;
}

// A compiled file holds the weights of the model that it was made of.
TEST(Quantize, LeavesCompiledFilesBehind) {
  const std::string model = temporary_path("cli_quantize_compiled"), out = model + "_out";
  std::filesystem::copy(kFixtures + "llama", model,
                        std::filesystem::copy_options::recursive | std::filesystem::copy_options::overwrite_existing);
  write_file_atomic(model + "/model.amx.float32.pagoda", "old");
  write_file_atomic(model + "/notes.txt", "kept");
  const Ended ended = run_pagoda({"quantize", model, "--to", "int8", "--out", out, "--force", "--quiet"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_TRUE(file_exists(out + "/notes.txt"));
  EXPECT_FALSE(file_exists(out + "/model.amx.float32.pagoda"));
}

TEST(Quantize, FlagsOfCalibrationNeedIt) {
  for (const char* flag : {"--damp", "--max-length", "--calibration-tokens"}) {
    const Ended ended = run_pagoda({"quantize", kGguf, "--to", "int8", "--out", "/nowhere/at/all", flag, "1"});
    EXPECT_EQ(ended.code, 2) << flag;
    EXPECT_NE(ended.err.find("--calibrate"), std::string::npos) << ended.err;
  }
}

TEST(Quantize, AnEncoderIsEvaluatedAsItWas) {
  const std::string out = pagoda::testing::temporary_path("cli_quantize_encoder"), rows = out + ".jsonl";
  const std::string bert = out + "_plain", config = out + ".json";
  for (const std::string& folder : {out, bert}) std::filesystem::remove_all(folder);
  write_file_atomic(config, R"({"architectures": ["BertForMaskedLM"], "model_type": "bert", "vocab_size": 100,
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "max_position_embeddings": 16, "initializer_range": 0.1})");
  ASSERT_EQ(run_pagoda({"init", config, "--out", bert, "--dtype", "float32", "--quiet"}).code, 0);
  ASSERT_EQ(run_pagoda({"quantize", bert, "--to", "int8", "--out", out, "--quiet"}).code, 0);
  write_file_atomic(rows, R"({"input_ids": [5, 17, 9, 40, 41, 77], "labels": [-100, 11, -100, 40, 3, -100]})");
  double losses[2];
  for (const std::string& model : {bert, out}) {
    const Ended ended = run_pagoda({"evaluate", "mlm", model, "--validation-file", rows, "--json", "--quiet"});
    ASSERT_EQ(ended.code, 0) << ended.err;
    losses[model == out ? 1 : 0] = ended.json().at("eval_loss", "").as_double("");
  }
  EXPECT_NEAR(losses[1], losses[0], 0.01 * losses[0]);
  EXPECT_NE(losses[1], losses[0]);
  EXPECT_EQ(run_pagoda({"train", "mlm", out, "--train-file", rows, "--output-dir", out + "_trained"}).code, 4);
}

TEST(Perplexity, AnEncoderHasNone) {
  const Ended ended = run_pagoda({"perplexity", PAGODA_SOURCE_DIR "/tests/fixtures/encoders/bert", "-"}, "some text");
  EXPECT_EQ(ended.code, 4);
  EXPECT_NE(ended.err.find("encoder"), std::string::npos) << ended.err;
}

TEST(Perplexity, OfAGgufFile) {
  const Ended ended =
      run_pagoda({"perplexity", kGguf, "-", "--json", "--stride", "16", "--max-length", "32"}, std::string(100, 'a'));
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(ended.json().at("text_tokens", "").as_int(""), 102);  // start, the space before the first word, letters
  EXPECT_GT(ended.json().at("perplexity", "").as_double(""), 1);
  const Ended piped =
      run_pagoda({"perplexity", kGguf, "/dev/stdin", "--json", "--stride", "16", "--max-length", "32"}, std::string(100, 'a'));
  EXPECT_EQ(piped.out, ended.out) << piped.err;
  EXPECT_EQ(run_pagoda({"perplexity", kGguf, "/nowhere.txt"}).code, 3);
  EXPECT_EQ(run_pagoda({"perplexity", kGguf, "/dev/zero"}).code, 2);  // it has no end
  EXPECT_EQ(run_pagoda({"perplexity", kGguf, "-", "--stride", "64", "--max-length", "32"}, "abc").code, 2);
}

TEST(Gguf, IsAModelForTheVerbs) {
  const Ended info = run_pagoda({"info", kGguf, "--json"});
  ASSERT_EQ(info.code, 0) << info.err;
  EXPECT_NE(info.json().at("bytes_by_dtype", "").find("Q8_0"), nullptr);
  EXPECT_NE(info.json().at("memory", "").at("bfloat16", "").at("weight_formats", "").find("int8 in groups of 32"), nullptr);
  EXPECT_EQ(info.json().at("tokenizer", "").at("kind", "").as_string(""), "gguf");
  EXPECT_EQ(info.json().at("chat_templates", "").dump(), R"(["default"])");
  EXPECT_EQ(run_pagoda({"tokenize", kGguf, "--jsonl"}, "\"ab\"\n").out, "[1,3,68,69]\n");
  EXPECT_EQ(run_pagoda({"template", kGguf, "--jsonl"}, "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}\n").out,
            "\"[user]Hi</s>\"\n");
  const Ended generated = run_pagoda({"generate", kGguf, "--prompt", "ab", "--max-new-tokens", "4", "--json"});
  EXPECT_EQ(generated.code, 0) << generated.err;
  const Ended wrong = run_pagoda({"info", kFixtures + "gguf/blocks.safetensors"});
  EXPECT_EQ(wrong.code, 2);
  EXPECT_NE(wrong.err.find("need a model folder or a .gguf file"), std::string::npos) << wrong.err;
}

}  // namespace
}  // namespace pagoda::testing
