// How texts of requests become tokens of a served model: its tokenizer, what fits, how chats are rendered.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "server/chat_renderer.h"
#include "server/generation_request.h"
#include "server/text_limit.h"
#include "text/tokenizer.h"

namespace pagoda::server {

class ModelTexts {
 public:
  // tokenizer: null for a model that takes ids alone.
  ModelTexts(std::shared_ptr<const Tokenizer> tokenizer, int64_t vocab_size, int64_t max_model_len, ChatRendererOptions chats);

  const Tokenizer* tokenizer() const { return tokenizer_.get(); }
  // Throws kInvalidInput naming the field where there is none.
  const Tokenizer& require_tokenizer(std::string_view field) const { return tokenizer_for(tokenizer_, field); }
  int64_t vocab_size() const { return vocab_size_; }
  int64_t max_model_len() const { return max_model_len_; }
  const TextLimit& limit() const { return limit_; }
  ChatRenderer& chats() { return chats_; }
  const ChatRenderer& chats() const { return chats_; }

 private:
  const std::shared_ptr<const Tokenizer> tokenizer_;
  const int64_t vocab_size_, max_model_len_;
  const TextLimit limit_;
  ChatRenderer chats_;
};

}  // namespace pagoda::server
