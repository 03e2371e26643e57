// What a request may say next: the seam between structured outputs (grammars over tokens) and the engine.
#pragma once

#include <cstdint>
#include <memory>

namespace pagoda {

// The state of one sequence. Copies (forks, beams) go their own ways.
class TokenConstraint {
 public:
  virtual ~TokenConstraint() = default;
  virtual std::unique_ptr<TokenConstraint> clone() const = 0;

  // Sets the logits [vocab] of every token that may not follow to -inf. Ends are allowed where the text may end; at least one
  // token is always left. Throws (so may accept and complete) where that would take too long: the request then ends.
  virtual void mask(float* logits, int64_t vocab) = 0;
  // `token`, allowed by the mask, was chosen.
  virtual void accept(int32_t token) = 0;
  // Nothing but an end may follow: the sequence ends with finish reason "stop" even if the model has no end token.
  virtual bool complete() const = 0;
  // What all that took since this was last asked, in steps of a grammar (GrammarLimits): for those who bound it over many.
  virtual int64_t take_work() { return 0; }
};

}  // namespace pagoda
