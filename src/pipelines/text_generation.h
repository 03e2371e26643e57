// Text generation from a folder: model, tokenizer, defaults and engine in one place.
#pragma once

#include <memory>
#include <string>

#include "engine/engine.h"
#include "formats/tokenizer_config.h"
#include "pipelines/loaded_model.h"
#include "text/tokenizer.h"

namespace pagoda {

class TextGeneration {
 public:
  // A folder without a tokenizer works for token ids.
  static std::unique_ptr<TextGeneration> open(const std::string& name, const LoadOptions& options,
                                              const EngineOptions& engine = {});

  Engine& engine() { return *engine_; }
  const Engine& engine() const { return *engine_; }
  LoadedModel& loaded() { return *loaded_; }
  Model& model() { return loaded_->model(); }
  const std::shared_ptr<const Tokenizer>& tokenizer() const { return tokenizer_; }  // may be null
  const Tokenizer& require_tokenizer() const;                                       // kNotFound if there is none
  const TokenizerConfig& tokenizer_config() const { return tokenizer_config_; }
  const std::string& tokenizer_path() const { return tokenizer_path_; }  // where it and the chat template lie
  // The model's own defaults: generation_config.json, with the end and start tokens of config.json where it names none.
  // Without generation_config.json: greedy.
  const SamplingParams& defaults() const { return defaults_; }
  // The ids of a text, special tokens added; an empty text is the model's start token.
  std::vector<int32_t> encode_prompt(const std::string& text) const;

 private:
  TextGeneration() = default;
  std::unique_ptr<LoadedModel> loaded_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  TokenizerConfig tokenizer_config_;
  std::string tokenizer_path_;
  SamplingParams defaults_;
  std::unique_ptr<Engine> engine_;
};

// kUnsupported for a model that its configuration says is an encoder.
void refuse_encoder(const ModelFolder& folder);

// generation_config.json over config.json: what decides how a model generates when nobody says.
// overrides: an object whose members stand over both.
SamplingParams generation_defaults(const ModelFolder& folder, const Json& overrides = {});

}  // namespace pagoda
