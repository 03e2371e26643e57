// Folders of sentence-transformers: pooling, layers behind it, prompts, and what is refused.

#include <filesystem>

#include "tests/pipelines/pipeline_fixture.h"

namespace pagoda {
namespace {

TEST(Sentences, PoolingAsSentenceTransformersHasIt) {
  const float rows[] = {1, 2, 3, -4, 5, 9};  // [3, 2]
  const auto pooled = [&](const char* mode, int64_t from = 0) {
    return pool_rows(rows, 3, 2, {parse_row_pooling(mode, "test")}, from);
  };
  EXPECT_EQ(pooled("cls"), (std::vector<double>{1, 2}));
  EXPECT_EQ(pooled("lasttoken"), (std::vector<double>{5, 9}));
  EXPECT_EQ(pooled("max"), (std::vector<double>{5, 9}));
  EXPECT_DOUBLE_EQ(pooled("mean")[0], 3);
  EXPECT_DOUBLE_EQ(pooled("mean_sqrt_len_tokens")[0], 9 / std::sqrt(3.0));
  EXPECT_DOUBLE_EQ(pooled("weightedmean")[1], (2 - 8 + 27) / 6.0);
  // Without a prompt of one row; positions stay.
  EXPECT_EQ(pooled("cls", 1), (std::vector<double>{3, -4}));
  EXPECT_EQ(pooled("max", 1), (std::vector<double>{5, 9}));
  EXPECT_DOUBLE_EQ(pooled("mean", 1)[0], 4);
  EXPECT_DOUBLE_EQ(pooled("weightedmean", 1)[1], (-8 + 27) / 5.0);
  const std::vector<double> unit = normalize_layer()->apply(pooled("mean"));
  EXPECT_NEAR(unit[0] * unit[0] + unit[1] * unit[1], 1, 1e-12);
  EXPECT_EQ(pool_rows(rows, 3, 2, {RowPooling::kCls, RowPooling::kLastToken}), (std::vector<double>{1, 2, 5, 9}));
}

// encoders/bert with what tests/fixtures/sentences/NAME has beside a model.
std::string sentence_folder(const std::string& name) {
  const std::string folder = pagoda::testing::temporary_path("sentences_" + name);
  std::filesystem::remove_all(folder);
  std::filesystem::copy(PAGODA_SOURCE_DIR "/tests/fixtures/sentences/" + name, folder,
                        std::filesystem::copy_options::recursive);
  for (const char* file : {"tokenizer.json", "tokenizer_config.json", "model.safetensors", "config.json"}) {
    write_file_atomic(folder + "/" + file, read_file(kFixtures + "bert/" + file, 1 << 24));
  }
  return folder;
}

// Pooling modes as a list, Dense, LayerNorm, Dropout, Normalize anywhere, truncate_dim, prompts: sentence-transformers 6.2.0.
TEST(Sentences, FoldersGiveTheVectorsOfSentenceTransformers) {
  for (const std::string name : {"modes", "dense", "layers", "normalized_inside", "prompts"}) {
    const std::string folder = sentence_folder(name);
    const Json expected = Json::parse(read_file(folder + "/cases.json", 1 << 20), name);
    const auto pipeline = Pipeline::open("feature-extraction", folder, one_thread());
    for (const Json& each : expected.at("cases", name).as_array(name)) {
      Json parameters = each.at("parameters", name);
      parameters.set("pooling", "auto");
      const Json got = pipeline->run(expected.at("texts", name), parameters);
      expect_near(got, each.at("vectors", name), name + " " + parameters.dump());
    }
  }
}

TEST(Sentences, WhatIsNotKnownIsRefused) {
  const auto error = [](const std::string& name, const std::string& file, const std::string& text) -> std::string {
    const std::string folder = sentence_folder(name);
    write_file_atomic(folder + "/" + file, text);
    try {
      SequenceModel::open(folder, one_thread(), Head::kNone);
    } catch (const Error& caught) {
      return caught.message();
    }
    return "no error";
  };
  const auto has = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  EXPECT_TRUE(has(error("modes", "1_Pooling/config.json", R"({"pooling_mode": ["cls", "attention"]})"), "got 'attention'"));
  EXPECT_TRUE(has(error("modes", "1_Pooling/config.json", R"({"pooling_mode_new_tokens": true})"), "pooling_mode_new_tokens"));
  EXPECT_TRUE(has(error("modes", "1_Pooling/config.json", R"({"pooling_mode": []})"), "got 0 modes"));
  EXPECT_TRUE(has(error("dense", "2_Dense/config.json", R"({"in_features": 24, "out_features": 10,
      "activation_function": "my.Own"})"),
                  "got 'my.Own'"));
  EXPECT_TRUE(has(error("dense", "2_Dense/config.json", R"({"in_features": 24, "out_features": 11})"), "linear.weight"));
  EXPECT_TRUE(has(error("dense", "2_Dense/config.json", R"({"in_features": 24, "out_features": 10,
      "module_input_name": "token_embeddings"})"),
                  "token_embeddings"));
  EXPECT_TRUE(has(error("prompts", "config_sentence_transformers.json", R"({"default_prompt_name": "query"})"), "got 'query'"));
  // A quantised weight: it has no floats to read.
  std::string header = R"({"linear.weight":{"dtype":"F8_E4M3","shape":[10,24],"data_offsets":[0,240]},
      "linear.weight_scale":{"dtype":"F32","shape":[1],"data_offsets":[240,244]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const std::string length{static_cast<char>(header.size() & 0xFF), static_cast<char>(header.size() >> 8), 0, 0, 0, 0, 0, 0};
  const std::string folder = sentence_folder("dense");
  write_file_atomic(folder + "/2_Dense/model.safetensors", length + header + std::string(244, '\0'));
  write_file_atomic(folder + "/2_Dense/config.json", R"({"in_features": 24, "out_features": 10, "bias": false,
      "quantization_config": {"quant_method": "fp8"}})");
  try {
    SequenceModel::open(folder, one_thread(), Head::kNone);
    FAIL();
  } catch (const Error& caught) {
    EXPECT_EQ(caught.kind(), ErrorKind::kUnsupported) << caught.message();
    EXPECT_TRUE(has(caught.message(), "linear.weight")) << caught.message();
  }
  EXPECT_EQ(error("dense", "1_Pooling/config.json", R"({"pooling_mode": "cls"})"), "no error");
  EXPECT_TRUE(has(error("dense", "1_Pooling/config.json", R"({"pooling_mode": ["cls", "max"]})"),
                  "got a vector of 48 values, need 24"));
  const auto prompts = Pipeline::open("feature-extraction", sentence_folder("prompts"), one_thread());
  EXPECT_THROW(prompts->run("Paris", Json::parse(R"({"pooling": "auto", "prompt_name": "other"})", "")), Error);
  EXPECT_THROW(prompts->run("Paris", Json::parse(R"({"prompt_name": "query"})", "")), Error);
}

// A GGUF of BERT pools as it says, with its own tokenizer.
TEST(Sentences, AGgufOfBertIsTheFolderItWasMadeOf) {
  const auto file =
      Pipeline::open("feature-extraction", PAGODA_SOURCE_DIR "/tests/fixtures/gguf/encoders/bert_f32.gguf", one_thread());
  const auto folder = Pipeline::make("feature-extraction", model_of("bert", Head::kNone));
  EXPECT_EQ(file->model().sentence().pooling, std::vector<RowPooling>{RowPooling::kCls});
  for (const char* text : {"Paris is the capital", "", "Angela lives in Berlin, and XYZZY."}) {
    expect_near(file->run(text), folder->run(text), text);
    expect_near(file->run(text, Json::parse(R"({"pooling": "auto"})", "")),
                folder->run(text, Json::parse(R"({"pooling": "cls"})", "")), text);
  }
}

TEST(Sentences, AnOlderFolderHasItsTransformerInside) {
  const std::string folder = pagoda::testing::temporary_path("older_sentences"), inner = folder + "/0_Transformer";
  make_directories(inner);
  make_directories(folder + "/1_Pooling");
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "model.safetensors", "config.json"}) {
    write_file_atomic(inner + "/" + name, read_file(kFixtures + "distilbert/" + name, 1 << 24));
  }
  const auto write_modules = [&](const std::string& last) {
    write_file_atomic(folder + "/modules.json",
                      R"([{"type": "sentence_transformers.models.Transformer", "path": "0_Transformer"},
                          {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
                          {"type": "sentence_transformers.models.)" +
                          last + R"(", "path": "2_Last"}])");
  };
  write_modules("Normalize");
  write_file_atomic(folder + "/1_Pooling/config.json",
                    R"({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false})");
  const auto pipeline = Pipeline::open("feature-extraction", folder, one_thread());
  EXPECT_EQ(pipeline->model().sentence().pooling, std::vector<RowPooling>{RowPooling::kCls});
  EXPECT_TRUE(pipeline->model().sentence().normalize);
  const Json cls = pipeline->run("Paris", Json::parse(R"({"pooling": "auto", "normalize": false})", ""));
  const Json rows = pipeline->run("Paris");
  expect_near(cls, rows.as_array("")[0].as_array("")[0], "cls");
  const auto similarity = Pipeline::make("sentence-similarity", SequenceModel::open(folder, one_thread(), Head::kNone));
  const Json scores = similarity->run(Json::parse(R"({"source_sentence": "Paris", "sentences": ["Paris", "Bern is"]})", ""));
  EXPECT_NEAR(scores.as_array("")[0].as_double(""), 1, 1e-6);
  EXPECT_LT(scores.as_array("")[1].as_double(""), 0.999);
  write_modules("CNN");
  EXPECT_THROW(SequenceModel::open(folder, one_thread(), Head::kNone), Error);
}

TEST(Sentences, OutputsOfTheModelThatAreNotReadAreRefused) {
  const std::string folder = sentence_folder("dense");
  const auto error = [&](const char* config) -> std::string {
    write_file_atomic(folder + "/sentence_bert_config.json", config);
    try {
      read_sentence_config(folder);
    } catch (const Error& caught) {
      EXPECT_EQ(caught.kind(), ErrorKind::kUnsupported) << caught.message();
      return caught.message();
    }
    return "";
  };
  const auto has = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  EXPECT_TRUE(has(error(R"({"modality_config": {"text": {"method": "forward", "method_output_name": "pooler_output"}},
                            "module_output_name": "token_embeddings"})"),
                  "method_output_name: got 'pooler_output', need last_hidden_state"));
  EXPECT_TRUE(has(error(R"({"module_output_name": "sentence_embedding"})"), "module_output_name"));
  EXPECT_TRUE(has(error(R"({"transformer_task": "fill-mask"})"), "transformer_task"));
  EXPECT_TRUE(has(error(R"({"modality_config": {"image": {}}})"), "no text"));
  EXPECT_TRUE(has(error(R"({"modality_config": {"text": {"method": "get_text_features"}}})"), "method: got"));
  EXPECT_TRUE(has(error(R"({"processing_kwargs": {"text": {"padding": "max_length"}}})"), "processing_kwargs"));
  EXPECT_EQ(error(R"({"processing_kwargs": {}, "max_seq_length": 20})"), "");
  // A CrossEncoder's.
  EXPECT_EQ(error(R"({"transformer_task": "sequence-classification", "module_output_name": "scores",
                      "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}}})"),
            "");
}

}  // namespace
}  // namespace pagoda
