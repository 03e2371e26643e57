// A GGUF file's templates are read as those of a tokenizer_config.json.
#include "pipelines/chat_templates.h"

#include "formats/model_folder.h"
#include "formats/tokenizer_config.h"

namespace pagoda {

chat::TemplateSet load_chat_templates(const std::string& model, const Limits& limits) {
  const std::string path = model_path(model);
  if (!is_gguf(path)) return chat::TemplateSet::from_folder(path, limits);
  return chat::TemplateSet::from_config(load_tokenizer_config(path, limits).raw, limits);
}

}  // namespace pagoda
