// The engine's side of the tests.
#include "tests/api/models.h"

#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/utf8.h"
#include "pipelines/pipeline.h"
#include "pipelines/text_generation.h"
#include "tests/temporary.h"
#include "tests/word_model.h"

namespace pagoda::testing {

namespace fs = std::filesystem;

std::string word_model() {
  static const std::string kFolder = [] {
    const std::string folder = temporary_path("api_words");
    make_word_model(folder);
    return folder;
  }();
  return kFolder;
}

std::string sentence_model(const std::string& modules) {
  const std::string folder = temporary_path("api_sentences_" + modules);
  fs::remove_all(folder);
  fs::copy(PAGODA_SOURCE_DIR "/tests/fixtures/sentences/" + modules, folder, fs::copy_options::recursive);
  for (const char* name : {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}) {
    fs::copy_file(kBert + "/" + name, folder + "/" + name);
  }
  return folder;
}

std::string with_file(const std::string& from, const std::string& name, const std::string& text) {
  static int count = 0;
  const std::string folder = temporary_path("api_copy_" + std::to_string(++count));
  fs::remove_all(folder);
  fs::copy(from, folder, fs::copy_options::recursive);
  write_file_atomic(folder + "/" + name, text);
  return folder;
}

Generated engine_generates(const std::string& model, const std::string& prompt, int64_t max_new_tokens, double temperature,
                           uint64_t seed) {
  LoadOptions options;
  options.runtime.threads = 1;
  const auto generation = TextGeneration::open(model, options);
  Request request;
  request.params = generation->defaults();
  request.params.max_new_tokens = max_new_tokens;
  request.params.temperature = temperature;
  request.params.seed = seed;
  request.prompt_ids = generation->encode_prompt(prompt);
  Generated result;
  result.prompt_ids = request.prompt_ids;
  generation->engine().add(std::move(request));
  while (generation->engine().has_work()) {
    for (const Event& event : generation->engine().step()) {
      if (event.error) throw Error(*event.error);
      result.token_ids.insert(result.token_ids.end(), event.token_ids.begin(), event.token_ids.end());
      result.text += event.text;
      result.finish = finish_reason_name(event.finish);
    }
  }
  return result;
}

std::string pipeline_runs(const std::string& task, const std::string& model, const std::string& inputs,
                          const std::string& parameters) {
  LoadOptions options;
  options.runtime.threads = 1;
  return Pipeline::open(task, model, options)->run(Json::parse(inputs, "inputs"), Json::parse(parameters, "parameters")).dump();
}

std::vector<float> numbers(const std::string& json) {
  std::vector<float> list;
  const Json parsed = Json::parse(json, "numbers");
  for (const Json& each : parsed.as_array("numbers")) list.push_back(static_cast<float>(each.as_double("numbers")));
  return list;
}

bool is_json_object(const std::string& text) {
  try {
    return Json::parse(text, "text").is_object();
  } catch (const Error&) {
    return false;
  }
}

bool is_utf8(const std::string& text) { return utf8_invalid_at(text) == std::string::npos; }

}  // namespace pagoda::testing
