// The tokenizer of a model, without the model.
#include "pagoda/tokenizer.h"

#include "api/access.h"
#include "api/errors.h"
#include "formats/tokenizer_loader.h"
#include "hub/pull.h"

namespace pagoda::api {

Tokenizer::Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

Tokenizer Tokenizer::open(const std::string& model) {
  return translated([&] { return Access::make(load_tokenizer(hub::resolve_model(model))); });
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  return translated([&] { return impl_->tokenizer->encode_ids(text, add_special_tokens); });
}

std::string Tokenizer::decode(const std::vector<int32_t>& ids, bool skip_special_tokens) const {
  return translated([&] { return impl_->tokenizer->decode(ids, skip_special_tokens); });
}

int64_t Tokenizer::vocab_size() const { return impl_->tokenizer->vocab_size(); }

std::optional<int32_t> Tokenizer::token_to_id(std::string_view token) const { return impl_->tokenizer->token_to_id(token); }

std::string Tokenizer::id_to_token(int32_t id) const {
  return translated([&] { return impl_->tokenizer->id_to_token(id); });
}

}  // namespace pagoda::api
