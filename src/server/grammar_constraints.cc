// One vocabulary for all grammars of a model.
#include "server/grammar_constraints.h"

#include "generate/grammar/vocabulary.h"
#include "server/generation_request.h"
#include "server/param_names.h"

namespace pagoda::server {

std::unique_ptr<TokenConstraint> GrammarConstraints::make(const GrammarSource& source, const SamplingParams& params) {
  const std::string& where = source.where;
  {
    const Tokenizer& tokenizer = tokenizer_for(tokenizer_, where);
    const std::lock_guard<std::mutex> lock(vocabulary_mutex_);
    if (!vocabulary_) vocabulary_ = std::make_shared<const TokenVocabulary>(tokenizer);
  }
  return in_field(where, [&] { return make_constraint(grammars_.get(source), vocabulary_, params.end_token_ids()); });
}

}  // namespace pagoda::server
