// Compiled grammars, the constraint of a sequence, and the cache.
#include "generate/grammar/grammar.h"

#include <algorithm>

#include "base/error.h"
#include "base/utf8.h"
#include "generate/grammar/automaton.h"
#include "generate/grammar/frontends.h"
#include "generate/grammar/machine.h"
#include "generate/grammar/regex.h"

namespace pagoda {

namespace {

using grammar::Automaton;
using grammar::Builder;
using grammar::Expr;
using grammar::Machine;

GrammarPtr finish(Builder& builder, grammar::Rule root) {
  return std::make_shared<Grammar>(std::make_shared<const Automaton>(make_automaton(builder, root)), builder.limits());
}

void check_size(std::string_view source, std::string_view where, const GrammarLimits& limits) {
  if (static_cast<int64_t>(source.size()) > limits.max_source_bytes)
    invalid(where, "too long: got {} bytes, need at most {}", source.size(), limits.max_source_bytes);
}

class GrammarConstraint final : public TokenConstraint {
 public:
  GrammarConstraint(GrammarPtr grammar, const std::shared_ptr<const TokenVocabulary>& vocabulary, std::vector<int32_t> end_ids)
      : grammar_(std::move(grammar)),
        machine_(grammar_->machine(vocabulary)),
        end_ids_(std::move(end_ids)),
        place_(machine_->start()) {
    if (!machine_->may_go_on(place_) && (!machine_->may_end(place_) || end_ids_.empty()))
      invalid("grammar", "no token of the vocabulary can begin a text that fits");
    place_.work = 0;  // done by who asks, not by who runs it
  }

  std::unique_ptr<TokenConstraint> clone() const override { return std::make_unique<GrammarConstraint>(*this); }

  void mask(float* logits, int64_t vocab) override {
    static const std::vector<int32_t> kNone;
    machine_->mask(place_, logits, vocab, machine_->may_end(place_) ? end_ids_ : kNone);
  }

  void accept(int32_t token) override {
    if (ended_) return;
    const bool is_end = std::find(end_ids_.begin(), end_ids_.end(), token) != end_ids_.end();
    // A token that no mask allowed (one forced from outside) ends the text: what follows could not be held to the grammar.
    if ((is_end && machine_->may_end(place_)) || !machine_->advance(place_, token)) ended_ = true;
  }

  bool complete() const override { return ended_ || !machine_->may_go_on(place_); }
  int64_t take_work() override { return std::exchange(place_.work, 0); }

 private:
  GrammarPtr grammar_;  // runs: the cache sees that it is held
  std::shared_ptr<Machine> machine_;
  std::vector<int32_t> end_ids_;
  mutable Machine::Place place_;  // the same text in a newer memory, where the old one is given up
  bool ended_ = false;
};

}  // namespace

Grammar::Grammar(std::shared_ptr<const grammar::Automaton> automaton, const GrammarLimits& limits)
    : automaton_(std::move(automaton)), limits_(limits) {
  if (limits_.budget) limits_.budget->bytes.fetch_add(automaton_->memory_bytes(), std::memory_order_relaxed);
}

Grammar::~Grammar() {
  if (limits_.budget) limits_.budget->bytes.fetch_sub(automaton_->memory_bytes(), std::memory_order_relaxed);
}

bool Grammar::matches(std::string_view text) const {
  const TokenVocabulary none{std::vector<std::string>{}};
  auto memory = std::make_unique<grammar::Memory>(*automaton_, none, limits_);
  int32_t at = memory->start();
  for (const char c : text) {
    at = memory->step(at, static_cast<uint8_t>(c));
    if (memory->memory_bytes() <= limits_.max_cache_bytes) continue;
    auto fresh = std::make_unique<grammar::Memory>(*automaton_, none, limits_);
    at = fresh->import(*memory, at);
    memory = std::move(fresh);
  }
  return memory->may_end(at);
}

std::shared_ptr<grammar::Machine> Grammar::machine(const std::shared_ptr<const TokenVocabulary>& vocabulary) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (machine_ == nullptr || vocabulary_ != vocabulary) {
    machine_ = std::make_shared<Machine>(automaton_, vocabulary, limits_);
    vocabulary_ = vocabulary;
  }
  return machine_;
}

int64_t Grammar::memory_bytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return automaton_->memory_bytes() + (machine_ == nullptr ? 0 : machine_->memory_bytes());
}

GrammarPtr compile_json_schema(const Json& schema, const JsonGrammarOptions& options, const GrammarLimits& limits) {
  Builder builder(limits, "json schema");
  return finish(builder, grammar::add_json_schema(builder, schema, options));
}

GrammarPtr compile_json_object(const JsonGrammarOptions& options, const GrammarLimits& limits) {
  Builder builder(limits, "json object");
  return finish(builder, grammar::add_json_object(builder, options));
}

GrammarPtr compile_regex(std::string_view pattern, const GrammarLimits& limits) {
  Builder builder(limits, "regex");
  const Expr expr = add_regex(builder, pattern, [&](const CodeSet& set) { return builder.chars(set); }).expr;
  return finish(builder, builder.rule_of(expr, "root"));
}

GrammarPtr compile_gbnf(std::string_view source, const GrammarLimits& limits) {
  check_size(source, "grammar", limits);
  Builder builder(limits, "grammar");
  return finish(builder, grammar::add_gbnf(builder, source));
}

GrammarPtr compile_lark(std::string_view source, const GrammarLimits& limits) {
  check_size(source, "grammar", limits);
  Builder builder(limits, "grammar");
  return finish(builder, grammar::add_lark(builder, source));
}

GrammarPtr compile_grammar(std::string_view source, const GrammarLimits& limits) {
  return source.find("::=") != std::string_view::npos ? compile_gbnf(source, limits) : compile_lark(source, limits);
}

GrammarPtr compile_choice(const std::vector<std::string>& choices, const GrammarLimits& limits) {
  Builder builder(limits, "choice");
  if (choices.empty()) invalid("choice", "got no choices, need one at least");
  std::vector<Expr> exprs;
  for (const std::string& choice : choices) {
    if (!utf8_valid(choice)) invalid("choice", "choice {} is no valid UTF-8", exprs.size());
    exprs.push_back(builder.literal(choice));
  }
  return finish(builder, builder.rule_of(builder.alternation(exprs), "root"));
}

GrammarPtr compile(const GrammarSource& source, const GrammarLimits& limits) {
  switch (source.kind) {
    case GrammarSource::Kind::kJsonSchema: {
      check_size(source.text, "json schema", limits);
      return compile_json_schema(Json::parse(source.text, "json schema"), source.json, limits);
    }
    case GrammarSource::Kind::kJsonObject: return compile_json_object(source.json, limits);
    case GrammarSource::Kind::kRegex: return compile_regex(source.text, limits);
    case GrammarSource::Kind::kGrammar: return compile_grammar(source.text, limits);
    case GrammarSource::Kind::kChoice: return compile_choice(source.choices, limits);
  }
  fail(ErrorKind::kInternal, "grammar", "unknown kind of grammar");
}

std::unique_ptr<TokenConstraint> make_constraint(const GrammarPtr& grammar,
                                                 const std::shared_ptr<const TokenVocabulary>& vocabulary,
                                                 std::vector<int32_t> end_ids) {
  return std::make_unique<GrammarConstraint>(grammar, vocabulary, std::move(end_ids));
}

GrammarCache::GrammarCache(int64_t max_bytes, const GrammarLimits& limits, int64_t max_total_bytes)
    : max_bytes_(max_bytes), limits_(limits) {
  limits_.budget = std::make_shared<GrammarBudget>(max_total_bytes);
}

// With the lock held.
void GrammarCache::make_room() {
  const GrammarBudget& budget = *limits_.budget;
  for (auto at = entries_.end(); at != entries_.begin() && budget.exceeded();) {
    --at;
    if (at->grammar.use_count() > 1) continue;  // it runs: nothing would be freed
    by_key_.erase(at->key);
    at = entries_.erase(at);
  }
  if (!budget.exceeded()) return;
  fail(ErrorKind::kOutOfMemory, "grammar",
       "the grammars that run hold all the memory there is for them: got {} bytes, need at "
       "most {}: try again later",
       budget.bytes.load(std::memory_order_relaxed), budget.most);
}

GrammarPtr GrammarCache::get(const GrammarSource& source) {
  std::string key = std::to_string(static_cast<int>(source.kind)) + (source.json.any_whitespace ? "w" : "c") + source.text;
  for (const std::string& choice : source.choices) key += std::to_string(choice.size()) + ":" + choice;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    make_room();
    if (const auto known = by_key_.find(key); known != by_key_.end()) {
      entries_.splice(entries_.begin(), entries_, known->second);
      return known->second->grammar;
    }
  }
  // Outside the lock: others need not wait for a slow one.
  GrammarPtr made = compile(source, limits_);
  const std::lock_guard<std::mutex> lock(mutex_);
  if (const auto known = by_key_.find(key); known != by_key_.end()) return known->second->grammar;
  entries_.push_front({std::move(key), made});
  by_key_.emplace(entries_.front().key, entries_.begin());
  while (entries_.size() > 1 && total_bytes() > max_bytes_) {
    by_key_.erase(entries_.back().key);
    entries_.pop_back();
  }
  return made;
}

int64_t GrammarCache::total_bytes() const {
  int64_t total = 0;
  for (const Entry& entry : entries_) total += static_cast<int64_t>(entry.key.size()) + entry.grammar->memory_bytes();
  return total;
}

int64_t GrammarCache::memory_bytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return total_bytes();
}

int64_t GrammarCache::size() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return static_cast<int64_t>(entries_.size());
}

}  // namespace pagoda
