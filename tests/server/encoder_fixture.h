// An App over an encoder without a network, for tests of its routes.
#pragma once

#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "formats/safetensors.h"
#include "pipelines/pipeline.h"
#include "server/served_encoder.h"
#include "tests/server/app_fixture.h"

namespace pagoda::server {

inline const std::string kFixtures = PAGODA_SOURCE_DIR "/tests/fixtures/encoders/";

inline LoadOptions one_thread() {
  LoadOptions options;
  options.runtime.threads = 1;
  return options;
}

// A classifier of one label: the fixture's first.
inline std::string cross_encoder() {
  const std::string folder = ::testing::TempDir() + "/cross_encoder_" + std::to_string(::getpid());
  make_directories(folder);
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) {
    write_file_atomic(folder + "/" + name, read_file(kFixtures + "bert/" + name, 1 << 24));
  }
  Json config = Json::parse(read_file(kFixtures + "bert/config.json", 1 << 20), "config.json");
  config.set("id2label", Json::object().set("0", "fits")).set("label2id", Json::object().set("fits", 0));
  write_file_atomic(folder + "/config.json", config.dump());
  Runtime runtime;
  const std::shared_ptr<SafetensorsFile> file = SafetensorsFile::open(kFixtures + "bert/model.safetensors");
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const TensorEntry& entry : file->tensors()) {
    std::vector<int64_t> shape = entry.shape;
    if (entry.name.rfind("classifier.", 0) == 0) shape[0] = 1;
    Tensor tensor = Tensor::empty(runtime.device(), entry.dtype, shape);
    std::memcpy(tensor.view().data, entry.data(), static_cast<size_t>(tensor.bytes()));
    tensors.emplace_back(entry.name, tensor);
  }
  write_safetensors(folder + "/model.safetensors", tensors);
  return folder;
}

class EncoderAppTest : public ::testing::Test {
 protected:
  // most_tokens: as --max-model-len; 0: not given.
  void serve(const std::string& folder, std::optional<Head> head = {}, int64_t most_tokens = 0) {
    const std::shared_ptr<SequenceModel> model = SequenceModel::open(folder, one_thread(), head);
    if (most_tokens > 0) model->limit_length(most_tokens);
    model_ = model;
    AppOptions options = options_;
    options.served_model_names = {"enc"};
    options.model = folder;
    app_ = std::make_unique<App>(options);
    app_->serve(std::make_unique<ServedEncoder>(app_->serving(), model_));
  }
  std::shared_ptr<Told> start(const std::string& method, const std::string& path, const std::string& body) {
    HttpRequest http;
    http.method = method;
    http.path = path;
    http.body = body;
    http.id = "r1";
    auto told = std::make_shared<Told>();
    try {
      app_->handle(std::move(http), told);
    } catch (...) {
      const Error error = current_error();
      told->send(http_status(error.kind()), "application/json", error_body(http_status(error.kind()), error.message()), {});
    }
    return told;
  }
  std::shared_ptr<Told> call(const std::string& method, const std::string& path, const std::string& body = "") {
    auto told = start(method, path, body);
    told->wait();
    return told;
  }
  Json post(const std::string& path, const std::string& body) {
    const auto told = call("POST", path, body);
    EXPECT_EQ(told->status, 200) << path << " " << told->body;
    return told->status == 200 ? told->json() : Json();
  }
  void expect_refused(const std::string& path, const std::string& body, const std::string& says, int status = 400) {
    const auto told = call("POST", path, body);
    EXPECT_EQ(told->status, status) << body << " -> " << told->body;
    EXPECT_NE(told->body.find(says), std::string::npos) << body << " -> " << told->body;
  }
  // Of /v1/embeddings.
  std::vector<double> vector(const std::string& fields) {
    const Json answer = post("/v1/embeddings", "{" + fields + "}");
    std::vector<double> values;
    if (answer.is_null()) return values;
    for (const Json& each : answer.at("data", "").as_array("").at(0).at("embedding", "").as_array("")) {
      values.push_back(each.as_double(""));
    }
    return values;
  }
  AppOptions options_;
  std::shared_ptr<const SequenceModel> model_;
  std::unique_ptr<App> app_;
};

}  // namespace pagoda::server
