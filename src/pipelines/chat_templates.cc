// A GGUF file's templates are read as those of a tokenizer_config.json.
#include "pipelines/chat_templates.h"

#include "formats/model_folder.h"
#include "formats/tokenizer_loader.h"

namespace pagoda {

chat::TemplateSet load_chat_templates(const std::string& model, const Limits& limits) {
  const std::string path = model_path(model);
  const TokenizerConfig config = load_complete_tokenizer_config(path, limits);
  chat::TemplateSet templates =
      is_gguf(path) ? chat::TemplateSet::from_config(config.raw, limits) : chat::TemplateSet::from_folder(path, limits);
  templates.set_special_tokens(config.named_texts());
  return templates;
}

}  // namespace pagoda
