// The chat templates of a model, wherever they stand.
#pragma once

#include <string>

#include "base/limits.h"
#include "generate/chat/chat_template.h"

namespace pagoda {

// model: a model folder (chat::TemplateSet::from_folder) or a .gguf file (its metadata).
chat::TemplateSet load_chat_templates(const std::string& model, const Limits& limits = {});

}  // namespace pagoda
