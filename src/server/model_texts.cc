// What a model without a tokenizer has instead.
#include "server/model_texts.h"

namespace pagoda::server {

ModelTexts::ModelTexts(std::shared_ptr<const Tokenizer> tokenizer, int64_t vocab_size, int64_t max_model_len,
                       ChatRendererOptions chats)
    : tokenizer_(std::move(tokenizer)),
      vocab_size_(vocab_size),
      max_model_len_(max_model_len),
      limit_(tokenizer_ ? TextLimit(*tokenizer_, max_model_len) : TextLimit()),
      chats_(std::move(chats)) {}

}  // namespace pagoda::server
