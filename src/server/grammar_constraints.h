// Grammars of requests as what holds their answers to them.
#pragma once

#include <memory>
#include <mutex>

#include "generate/grammar/grammar.h"
#include "generate/params.h"
#include "text/tokenizer.h"

namespace pagoda::server {

// Thread-safe.
class GrammarConstraints {
 public:
  // tokenizer: null: what asks for a grammar is refused.
  explicit GrammarConstraints(std::shared_ptr<const Tokenizer> tokenizer) : tokenizer_(std::move(tokenizer)) {}
  // Throws kInvalidInput naming the source's field.
  std::unique_ptr<TokenConstraint> make(const GrammarSource& source, const SamplingParams& params);

 private:
  const std::shared_ptr<const Tokenizer> tokenizer_;
  GrammarCache grammars_;
  std::shared_ptr<const TokenVocabulary> vocabulary_;  // of the tokenizer, made when the first grammar comes
  std::mutex vocabulary_mutex_;
};

}  // namespace pagoda::server
