// Beam search as HF has it (transformers 5, generation/utils.py): which beams go on, which are finished, when it ends.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "generate/history.h"
#include "generate/logits.h"
#include "generate/params.h"
#include "generate/sampler.h"

namespace pagoda {

// After a step, row b of the next one continues row parents[b] (below rows()) of this one with tokens[b].
struct BeamStep {
  std::vector<int32_t> parents;
  std::vector<int32_t> tokens;
};

// What the caller knows of a candidate's token; beams that share it share the note.
using BeamNote = std::shared_ptr<const PositionLogprobs>;

struct BeamHypothesis {
  std::vector<int32_t> ids;     // the new ids alone, the end token included where it was generated
  std::vector<BeamNote> notes;  // of ids, where commit() had them
  double score = 0.0;           // sum of processed log-probabilities / length ^ length_penalty
  bool stopped = false;         // by an end id or a stop of the caller's; else by max_new_tokens
};

// One possible next step, best first.
struct BeamCandidate {
  int32_t parent;
  int32_t token;
  float score;  // accumulated log-probability
  bool ends;    // the token is an end id, or the last that max_new_tokens allows
};

// One request. A step is: the model gives logits for rows() sequences; advance (or propose, then commit); until done().
// All sums are float32, as HF's. With params.do_sample() candidates are drawn without replacement (HF's beam sampling);
// the draws depend on (params.seed, stream 0, step) alone.
class BeamSearch {
 public:
  // Throws kInvalidInput where the vocabulary is too small for the beams (HF needs one token more than there are end ids).
  BeamSearch(const SamplingParams& params, int64_t vocab_size, std::vector<int32_t> prompt,
             std::shared_ptr<const TokenBiases> biases = nullptr);

  // Sequences that the model must extend now: 1 at first (all beams are the prompt), then num_beams.
  int64_t rows() const { return started_ ? num_beams_ : 1; }
  // ids of row b: prompt, then output.
  const TokenHistory& history(int64_t row) const { return running_[static_cast<size_t>(row)].history; }
  const std::vector<int32_t>& ids(int64_t row) const { return history(row).ids(); }

  // logits: raw, [rows(), vocab_size]. Softmax and processors are applied here.
  const std::vector<BeamCandidate>& propose(const float* logits);
  // also_ends: none, or says whether a candidate ends in a way that only the caller can see (a stop string); asked of those it
  // matters for, about the num_beams best. note: none, or what goes with a candidate's token into the hypotheses; asked for
  // those that are kept, at most 2 * num_beams.
  using AlsoEnds = std::function<bool(const BeamCandidate&)>;
  using MakeNote = std::function<BeamNote(const BeamCandidate&)>;
  const BeamStep& commit(const AlsoEnds& also_ends = {}, const MakeNote& note = {});
  const BeamStep& advance(const float* logits) {
    propose(logits);
    return commit();
  }
  const std::vector<BeamCandidate>& candidates() const { return candidates_; }  // of the last propose
  bool done() const { return done_; }

  // The num_return_sequences best, best first. Before done(): what is finished so far, then the running beams. Where bans left
  // fewer sequences possible than are asked for, the rest are empty with score -1e9.
  std::vector<BeamHypothesis> finish() const;

 private:
  struct Running {
    TokenHistory history;
    float score;
    std::vector<BeamNote> notes = {};
  };
  struct Finished {
    BeamHypothesis hypothesis;
    float score;
    bool is_finished;
  };

  void draw(int64_t count);
  // Of each candidate: does it end, and if so by an end id or the caller's will.
  struct Ends {
    std::vector<bool> hits, stopped;
  };
  bool is_end(int32_t token) const;
  Ends find_ends(const AlsoEnds& also_ends) const;
  void keep_finished(const Ends& ends, const MakeNote& note);
  void keep_running(const Ends& ends, const MakeNote& note);
  float penalized(float score, int64_t length) const;

  SamplingParams params_;
  LogitsProcessors processors_;
  int64_t vocab_;
  int64_t num_beams_;
  int64_t num_candidates_;
  std::vector<int32_t> end_ids_;  // ascending
  std::vector<Running> running_;
  std::vector<Finished> finished_;  // num_beams places, best first
  std::vector<BeamCandidate> candidates_;
  std::vector<float> scores_;  // [num_beams, vocab]: accumulated log-probabilities of all continuations
  LogitsScratch scratch_;
  BeamStep step_;
  int64_t length_ = 0;  // new tokens
  bool started_ = false;
  bool improvable_ = true;
  bool done_ = false;
};

}  // namespace pagoda
