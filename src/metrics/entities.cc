// Where an entity begins and ends is decided by neighbouring tags alone (conlleval's rules).
#include "metrics/entities.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "base/error.h"

namespace pagoda {

namespace {

struct Tag {
  char mark = 'O';
  std::string type;
};

Tag split_tag(const std::string& text) {
  if (text.empty()) invalid("metrics", "empty tag: need O, or B, I, E or S with a type, such as B-PER");
  Tag tag;
  tag.mark = text[0];
  const std::string rest = text.substr(1);
  const size_t dash = rest.find('-');
  tag.type = dash == std::string::npos ? rest : rest.substr(dash + 1);
  if (tag.type.empty()) tag.type = "_";
  return tag;
}

bool is_outside(char mark) { return mark == 'O' || mark == '.'; }

bool ends_between(const Tag& before, const Tag& now) {
  if (before.mark == 'E' || before.mark == 'S') return true;
  const bool inside = before.mark == 'B' || before.mark == 'I';
  if (inside && (now.mark == 'B' || now.mark == 'S' || now.mark == 'O')) return true;
  return !is_outside(before.mark) && before.type != now.type;
}

bool begins_at(const Tag& before, const Tag& now) {
  if (now.mark == 'B' || now.mark == 'S') return true;
  const bool after_end = before.mark == 'E' || before.mark == 'S' || before.mark == 'O';
  if (after_end && (now.mark == 'E' || now.mark == 'I')) return true;
  return !is_outside(now.mark) && before.type != now.type;
}

struct Counts {
  int64_t right = 0, predicted = 0, support = 0;
};

}  // namespace

std::vector<Entity> find_entities(const std::vector<std::string>& tags) {
  std::vector<Entity> found;
  Tag before{'O', ""};
  size_t begin = 0;
  for (size_t i = 0; i <= tags.size(); ++i) {
    const Tag now = split_tag(i < tags.size() ? tags[i] : "O");
    if (ends_between(before, now)) found.push_back({before.type, begin, i});
    if (begins_at(before, now)) begin = i;
    before = now;
  }
  return found;
}

EntityScores score_entities(const TagSequences& predictions, const TagSequences& references) {
  if (predictions.size() != references.size() || references.empty()) {
    invalid("metrics", "lengths differ: got {} predicted and {} true sentences, need as many, and at least 1",
            predictions.size(), references.size());
  }
  std::map<std::string, Counts> counts;
  int64_t tags = 0, right_tags = 0;
  for (size_t i = 0; i < references.size(); ++i) {
    if (predictions[i].size() != references[i].size()) {
      invalid("metrics", "sentence {}: got {} predicted tags, need {}", i, predictions[i].size(), references[i].size());
    }
    using Key = std::tuple<std::string, size_t, size_t>;
    std::set<Key> truth, guessed;
    for (const Entity& one : find_entities(references[i])) truth.emplace(one.type, one.begin, one.end);
    for (const Entity& one : find_entities(predictions[i])) guessed.emplace(one.type, one.begin, one.end);
    for (const Key& key : truth) ++counts[std::get<0>(key)].support;
    for (const Key& key : guessed) {
      Counts& one = counts[std::get<0>(key)];
      ++one.predicted;
      one.right += static_cast<int64_t>(truth.count(key));
    }
    tags += static_cast<int64_t>(references[i].size());
    for (size_t word = 0; word < references[i].size(); ++word)
      right_tags += predictions[i][word] == references[i][word] ? 1 : 0;
  }
  EntityScores scores;
  Counts all;
  for (const auto& [type, one] : counts) {
    scores.types[type] = precision_recall_f1(one.right, one.predicted, one.support);
    all.right += one.right;
    all.predicted += one.predicted;
    all.support += one.support;
  }
  scores.overall = precision_recall_f1(all.right, all.predicted, all.support);
  scores.accuracy = tags == 0 ? 0 : static_cast<double>(right_tags) / static_cast<double>(tags);
  return scores;
}

}  // namespace pagoda
