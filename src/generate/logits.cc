// Logits processors in HF's order. Only tokens that a rule names are touched; the vocabulary is walked by the cuts alone.
#include "generate/logits.h"

#include <algorithm>
#include <limits>
#include <map>
#include <tuple>

namespace pagoda {
namespace {

constexpr float kBanned = -std::numeric_limits<float>::infinity();

bool in_vocabulary(int32_t id, int64_t vocab) { return id >= 0 && id < vocab; }

void ban(const std::vector<int32_t>& ids, float* logits, int64_t vocab) {
  for (const int32_t id : ids) {
    if (in_vocabulary(id, vocab)) logits[id] = kBanned;
  }
}

std::vector<BiasGroup> group(const std::vector<SequenceBias>& sequences) {
  std::vector<BiasGroup> groups;
  std::map<size_t, size_t> group_of;                                   // by length
  std::map<std::vector<int32_t>, std::pair<size_t, size_t>> place_of;  // in groups
  for (const SequenceBias& sequence : sequences) {
    if (sequence.ids.empty()) continue;
    const auto group_entry = group_of.try_emplace(sequence.ids.size(), groups.size());
    if (group_entry.second) groups.push_back({sequence.ids.size() - 1, {}});
    auto& list = groups[group_entry.first->second].sequences;
    const auto place = place_of.try_emplace(sequence.ids, group_entry.first->second, list.size());
    // A sequence given twice has its last bias, as in HF's dictionary.
    if (place.second) list.emplace_back(sequence.ids, 0.0F);
    list[place.first->second.second].second = static_cast<float>(sequence.bias);
  }
  // Single tokens come first.
  const auto singles = std::find_if(groups.begin(), groups.end(), [](const BiasGroup& g) { return g.prefix_length == 0; });
  if (singles != groups.end()) std::rotate(groups.begin(), singles, singles + 1);
  return groups;
}

}  // namespace

TokenBiases::TokenBiases(const SamplingParams& params) : sequences(group(params.sequence_bias)) {
  for (const auto& [id, bias] : params.logit_bias) tokens.emplace_back(id, static_cast<float>(bias));
  std::vector<SequenceBias> words;
  for (const auto& word : params.bad_words_ids) {
    // HF: the end is never a bad word.
    const bool is_end =
        word.size() == 1 && !params.ignore_eos &&
        std::find(params.eos_token_ids.begin(), params.eos_token_ids.end(), word[0]) != params.eos_token_ids.end();
    if (!is_end) words.push_back({word, kBanned});
  }
  bad_words = group(words);
}

LogitsProcessors::LogitsProcessors(const SamplingParams& params, std::shared_ptr<const TokenBiases> biases)
    : biases_(biases ? std::move(biases) : std::make_shared<const TokenBiases>(params)),
      repetition_penalty_(static_cast<float>(params.repetition_penalty)),
      presence_penalty_(static_cast<float>(params.presence_penalty)),
      frequency_penalty_(static_cast<float>(params.frequency_penalty)),
      ngram_size_(params.no_repeat_ngram_size),
      min_new_tokens_(params.min_new_tokens),
      max_new_tokens_(params.max_new_tokens),
      end_ids_(params.end_token_ids()),
      forced_bos_(params.forced_bos_token_id),
      forced_eos_(params.forced_eos_token_ids),
      suppressed_(params.suppress_tokens),
      begin_suppressed_(params.begin_suppress_tokens),
      warpers_(params) {
  changes_ = !biases_->sequences.empty() || !biases_->tokens.empty() || repetition_penalty_ != 1 || presence_penalty_ != 0 ||
             frequency_penalty_ != 0 || ngram_size_ > 0 || !biases_->bad_words.empty() ||
             (min_new_tokens_ > 0 && !end_ids_.empty()) || forced_bos_.has_value() || !forced_eos_.empty() ||
             !suppressed_.empty() || !begin_suppressed_.empty();
}

void LogitsProcessors::add_biases(const std::vector<BiasGroup>& biases, float* logits, int64_t vocab,
                                  const TokenHistory& history, LogitsScratch& scratch) {
  // HF sums a token's biases before it adds them; keep its rounding.
  std::vector<LogitsScratch::Bias>& sums = scratch.biases;
  sums.clear();
  const std::vector<int32_t>& ids = history.ids();
  for (const BiasGroup& group : biases) {
    if (group.prefix_length > ids.size()) continue;
    const auto tail = ids.end() - static_cast<std::ptrdiff_t>(group.prefix_length);
    for (const auto& [sequence, bias] : group.sequences) {
      if (!std::equal(tail, ids.end(), sequence.begin())) continue;
      const int32_t id = sequence.back();
      if (in_vocabulary(id, vocab)) sums.push_back({id, static_cast<int32_t>(sums.size()), bias});
    }
  }
  const auto in_order = [](const auto& a, const auto& b) { return std::tie(a.id, a.place) < std::tie(b.id, b.place); };
  if (!std::is_sorted(sums.begin(), sums.end(), in_order)) std::sort(sums.begin(), sums.end(), in_order);
  for (size_t i = 0; i < sums.size();) {
    const int32_t id = sums[i].id;
    float sum = 0.0F;
    for (; i < sums.size() && sums[i].id == id; ++i) sum += sums[i].bias;
    logits[id] += sum;
  }
}

void LogitsProcessors::penalize(float* logits, int64_t vocab, const TokenHistory& history) const {
  if (repetition_penalty_ != 1) {
    const auto repeat = [&](int32_t id) {
      if (!in_vocabulary(id, vocab)) return;
      float& logit = logits[id];
      logit = logit < 0 ? logit * repetition_penalty_ : logit / repetition_penalty_;
    };
    for (const int32_t id : history.prompt_tokens()) repeat(id);
    for (const TokenHistory::Count& token : history.output_counts()) {
      if (!token.in_prompt) repeat(token.id);
    }
  }
  if (presence_penalty_ != 0 || frequency_penalty_ != 0) {
    for (const TokenHistory::Count& token : history.output_counts()) {
      if (!in_vocabulary(token.id, vocab)) continue;
      logits[token.id] -= frequency_penalty_ * static_cast<float>(token.count);
      logits[token.id] -= presence_penalty_;
    }
  }
}

void LogitsProcessors::ban_ngrams(float* logits, int64_t vocab, const TokenHistory& history) const {
  const std::vector<int32_t>& ids = history.ids();
  if (static_cast<int64_t>(ids.size()) < ngram_size_) return;
  const auto prefix_length = static_cast<size_t>(ngram_size_ - 1);
  const auto tail = ids.end() - static_cast<std::ptrdiff_t>(prefix_length);
  for (size_t start = 0; start + prefix_length < ids.size(); ++start) {
    const auto window = ids.begin() + static_cast<std::ptrdiff_t>(start);
    // The tail's last token differs nearly everywhere: look at it first.
    if (prefix_length > 0 && window[static_cast<std::ptrdiff_t>(prefix_length - 1)] != ids.back()) continue;
    if (!std::equal(tail, ids.end(), window)) continue;
    const int32_t id = ids[start + prefix_length];
    if (in_vocabulary(id, vocab)) logits[id] = kBanned;
  }
}

void LogitsProcessors::force(float* logits, int64_t vocab, const TokenHistory& history) const {
  const auto allow_only = [&](const auto& ids) {
    std::fill(logits, logits + vocab, kBanned);
    for (const int32_t id : ids) {
      if (in_vocabulary(id, vocab)) logits[id] = 0.0F;
    }
  };
  if (forced_bos_ && history.length() == 1) allow_only(std::vector<int32_t>{*forced_bos_});
  if (!forced_eos_.empty() && history.output_length() == max_new_tokens_ - 1) allow_only(forced_eos_);
}

void LogitsProcessors::apply(float* logits, int64_t vocab, const TokenHistory& history, LogitsScratch& scratch) const {
  if (changes_) {
    if (!biases_->sequences.empty()) add_biases(biases_->sequences, logits, vocab, history, scratch);
    for (const auto& [id, bias] : biases_->tokens) {
      if (in_vocabulary(id, vocab)) logits[id] += bias;
    }
    penalize(logits, vocab, history);
    if (ngram_size_ > 0) ban_ngrams(logits, vocab, history);
    if (!biases_->bad_words.empty()) add_biases(biases_->bad_words, logits, vocab, history, scratch);
    if (history.output_length() < min_new_tokens_) ban(end_ids_, logits, vocab);
    force(logits, vocab, history);
    ban(suppressed_, logits, vocab);
    // A forced start is a step of its own; what is suppressed at the beginning then waits for the next.
    const int64_t begin = history.prompt_length() > 1 || !forced_bos_ ? 0 : 1;
    if (history.output_length() == begin) ban(begin_suppressed_, logits, vocab);
  }
  warpers_.apply(logits, vocab, scratch);
}

void LogitsProcessors::apply(float* logits, int64_t vocab, const std::vector<int32_t>& ids, int64_t prompt_length) const {
  const auto border =
      ids.begin() + static_cast<std::ptrdiff_t>(std::clamp<int64_t>(prompt_length, 0, static_cast<int64_t>(ids.size())));
  TokenHistory history(std::vector<int32_t>(ids.begin(), border));
  for (auto id = border; id != ids.end(); ++id) history.append(*id);
  LogitsScratch scratch;
  apply(logits, vocab, history, scratch);
}

}  // namespace pagoda
