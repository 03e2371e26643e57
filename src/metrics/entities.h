// Entities of tagged words (IOB1, IOB2, IOE, IOBES) and their F1, as seqeval and conlleval count them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "metrics/classification.h"

namespace pagoda {

using TagSequences = std::vector<std::vector<std::string>>;  // a list of tags a sentence

struct Entity {
  std::string type;
  size_t begin = 0, end = 0;  // words of the sentence, end past the last
};
// seqeval's default reading, lenient as conlleval's: an I that continues nothing begins an entity.
std::vector<Entity> find_entities(const std::vector<std::string>& tags);

struct EntityScores {
  std::map<std::string, PrecisionRecallF1> types;
  PrecisionRecallF1 overall;  // pooled over the types
  double accuracy = 0;        // of single tags
};
// kInvalidInput for sentences of other lengths, and for an empty tag.
EntityScores score_entities(const TagSequences& predictions, const TagSequences& references);

}  // namespace pagoda
