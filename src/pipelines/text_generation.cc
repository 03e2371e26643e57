// Puts a folder's parts together for generation.
#include "pipelines/text_generation.h"

#include "base/error.h"
#include "formats/tokenizer_loader.h"
#include "hub/pull.h"

namespace pagoda {

SamplingParams generation_defaults(const ModelFolder& folder, const Json& overrides) {
  // transformers takes token ids from config.json where there is no generation config.
  Json merged = Json::object();
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
    if (const Json* value = folder.config().find(key)) merged.set(key, *value);
  }
  std::string where = folder.config_path();
  if (folder.generation_config().is_object()) {
    where = folder.path() + "/generation_config.json";
    for (const JsonMember& member : folder.generation_config().as_object(where)) {
      if (!member.value.is_null()) merged.set(member.key, member.value);
    }
  }
  // Without do_sample transformers does not draw, whatever temperature the file names.
  if (!merged.contains("do_sample")) merged.set("do_sample", false);
  if (overrides.is_object()) {
    // A temperature that is asked for draws, whatever the file says of do_sample.
    if (overrides.contains("temperature")) merged.set("do_sample", Json());
    for (const JsonMember& member : overrides.as_object(where)) merged.set(member.key, member.value);
  }
  return from_generation_config(merged, where);
}

void refuse_encoder(const ModelFolder& folder) {
  const std::unique_ptr<Model> model = make_model(folder.config(), folder.config_path());
  if (model->head_kind() == Head::kCausalLm) return;
  unsupported(folder.path(), "{} is an encoder and generates no text: pagoda run has its tasks", model->architecture());
}

std::unique_ptr<TextGeneration> TextGeneration::open(const std::string& name, const LoadOptions& options,
                                                     const EngineOptions& engine) {
  std::unique_ptr<TextGeneration> self(new TextGeneration);
  self->loaded_ = LoadedModel::open(name, options);
  refuse_encoder(self->loaded_->folder());
  self->tokenizer_path_ = options.tokenizer.empty() ? self->loaded_->tokenizer_path() : hub::resolve_model(options.tokenizer);
  const std::string& path = self->tokenizer_path_;
  if (!options.tokenizer.empty() && !has_tokenizer(path)) not_found(path, "no tokenizer in it");
  if (has_tokenizer(path)) self->tokenizer_ = load_tokenizer(path);
  self->tokenizer_config_ = load_tokenizer_config(path);
  self->defaults_ = generation_defaults(self->loaded_->folder());
  for (const std::string& key : keys_without_effect(self->loaded_->folder().generation_config())) {
    if (options.notice) options.notice("warning: generation_config.json: " + key + " is not supported and has no effect");
  }
  EngineOptions engine_options = engine;
  engine_options.mapped_weight_bytes = self->loaded_->mapped_bytes();
  self->engine_ = std::make_unique<Engine>(self->loaded_->runtime(), self->loaded_->model(), self->tokenizer_, engine_options);
  return self;
}

const Tokenizer& TextGeneration::require_tokenizer() const {
  if (!tokenizer_)
    not_found(
        loaded_->folder().path(),
        "no tokenizer: need tokenizer.json, tokenizer.model, vocab.json with merges.txt or vocab.txt (or give --prompt-ids)");
  return *tokenizer_;
}

std::vector<int32_t> TextGeneration::encode_prompt(const std::string& text) const {
  EncodeOptions options;
  options.truncate_and_pad = false;
  std::vector<int32_t> ids = require_tokenizer().encode(text, options).ids;
  if (ids.empty() && defaults_.bos_token_id) ids.push_back(*defaults_.bos_token_id);
  return ids;
}

}  // namespace pagoda
