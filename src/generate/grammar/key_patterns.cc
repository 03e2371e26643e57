// Keys as differences of regular languages: both are followed byte by byte, as long as that takes few states.
#include "generate/grammar/key_patterns.h"

#include <map>
#include <utility>

#include "base/error.h"

namespace pagoda::grammar {

namespace {

constexpr size_t kMostStates = 2000;               // of one kind of keys
constexpr int64_t kStepsOfAState = 16;             // to look at its bytes
constexpr size_t kNone = static_cast<size_t>(-1);  // of the patterns

}  // namespace

KeyPatterns::Language::Language(const Builder& from, Rule root)
    : automaton(make_automaton(from, root)), none(std::vector<std::string>{}), memory(automaton, none, from.limits()) {}

int64_t KeyPatterns::Language::take_work() {
  const int64_t work = memory.work();
  memory.begin_token();
  return work;
}

std::unique_ptr<KeyPatterns::Language> KeyPatterns::language(const Writer& write) const {
  GrammarLimits limits = builder_.limits();
  limits.budget = nullptr;  // it is gone once the schema is read
  Builder builder(limits, builder_.where());
  const Rule root = builder.rule_of(write(builder), "key");
  auto made = std::make_unique<Language>(builder, root);
  pay(made->automaton.states());
  return made;
}

void KeyPatterns::pay(int64_t work) const {
  work_left_ -= work;
  if (work_left_ < 0) refuse();
}

void KeyPatterns::refuse() const {
  unsupported(builder_.where(), "{}: `patternProperties` whose keys take so much to tell apart are not supported", path_);
}

// Everything around what the pattern matches is open, but where it says where it stands.
Expr KeyPatterns::write_search(Builder& builder, size_t pattern) const {
  const auto writer = [&](const CodeSet& set) { return builder.chars(set); };
  const RegexExpr regex = add_regex(builder, patterns_[pattern], writer, Dialects::kAny);
  const Expr any = builder.repeat(builder.chars(CodeSet().complement()), 0, kUnbounded);
  const Expr nothing = builder.empty();
  return builder.sequence({regex.at_start ? nothing : any, regex.expr, regex.at_end ? nothing : any});
}

void KeyPatterns::add(std::string_view pattern) {
  patterns_.emplace_back(pattern);
  searches_.push_back(language([&](Builder& builder) { return write_search(builder, patterns_.size() - 1); }));
}

bool KeyPatterns::found_in(size_t pattern, std::string_view name) {
  Memory& memory = searches_[pattern]->memory;
  memory.begin_token();
  int32_t at = memory.start();
  for (const char c : name) at = memory.step(at, static_cast<uint8_t>(c));
  if (!memory.exact()) refuse();
  pay(memory.work() + std::ssize(name));
  return memory.may_end(at);
}

// The names, and all keys in which a pattern but `but` is found. Null: there are none.
std::unique_ptr<KeyPatterns::Language> KeyPatterns::taken(const std::vector<std::string>& names, size_t but) const {
  if (names.empty() && (patterns_.empty() || (patterns_.size() == 1 && but == 0))) return nullptr;
  return language([&](Builder& builder) {
    std::vector<Expr> choices;
    for (const std::string& name : names) choices.push_back(builder.literal(name));
    for (size_t i = 0; i < patterns_.size(); ++i) {
      if (i != but) choices.push_back(write_search(builder, i));
    }
    return builder.alternation(choices);
  });
}

KeyPatterns::Table KeyPatterns::subtract(Language& from, Language* taken) const {
  using Pair = std::pair<int32_t, int32_t>;
  Table table;
  std::map<Pair, int32_t> known;
  std::vector<Pair> pairs;
  from.memory.begin_token();
  if (taken != nullptr) taken->memory.begin_token();
  const auto number = [&](const Pair& pair) {
    const auto [at, fresh] = known.try_emplace(pair, static_cast<int32_t>(pairs.size()));
    if (fresh) pairs.push_back(pair);
    if (pairs.size() > kMostStates) refuse();
    return at->second;
  };
  number({from.memory.start(), taken != nullptr ? taken->memory.start() : Memory::kDead});
  for (size_t i = 0; i < pairs.size(); ++i) {
    const auto [ours, theirs] = pairs[i];
    Table::State state;
    const bool is_taken = taken != nullptr && taken->memory.may_end(theirs);
    state.ends = from.memory.may_end(ours) && !is_taken;
    table.removes |= from.memory.may_end(ours) && is_taken;
    for (int byte = 0; byte < 256; ++byte) {
      const int32_t next = from.memory.step(ours, static_cast<uint8_t>(byte));
      if (next == Memory::kDead) continue;
      const int32_t beside = taken != nullptr ? taken->memory.step(theirs, static_cast<uint8_t>(byte)) : Memory::kDead;
      const int32_t to = number({next, beside});
      const auto here = static_cast<uint8_t>(byte);
      if (!state.edges.empty() && state.edges.back().to == to && state.edges.back().high + 1 == byte) {
        state.edges.back().high = here;
      } else {
        state.edges.push_back({here, here, to});
      }
    }
    table.states.push_back(std::move(state));
    pay(kStepsOfAState + from.take_work() + (taken != nullptr ? taken->take_work() : 0));
  }
  if (!from.memory.exact() || (taken != nullptr && !taken->memory.exact())) refuse();
  return table;
}

Expr KeyPatterns::write(const Table& table) {
  const Expr quote = builder_.literal("\"");
  std::vector<Rule> rules(table.states.size());
  for (Rule& rule : rules) rule = builder_.add_rule("key");
  for (size_t i = 0; i < rules.size(); ++i) {
    std::vector<Expr> choices;
    if (table.states[i].ends) choices.push_back(quote);
    for (const Table::Edge& edge : table.states[i].edges) {
      choices.push_back(
          builder_.sequence({builder_.bytes(edge.low, edge.high), builder_.use(rules[static_cast<size_t>(edge.to)])}));
    }
    builder_.define(rules[i], builder_.alternation(choices));
  }
  return builder_.sequence({quote, builder_.use(rules[0])});
}

Expr KeyPatterns::key(size_t pattern, const std::vector<std::string>& names) {
  const auto match = [&](const CodeSet& within) {
    return language([&](Builder& builder) {
      return add_regex(builder, patterns_[pattern], [&](const CodeSet& set) { return builder.chars(set.intersected(within)); })
          .expr;
    });
  };
  const std::unique_ptr<Language> others = taken(names, pattern);
  if (others == nullptr || !subtract(*match(CodeSet().complement()), others.get()).removes) {
    const auto writer = [&](const CodeSet& set) { return text_.character(set); };
    const Expr quote = builder_.literal("\"");
    return builder_.sequence({quote, add_regex(builder_, patterns_[pattern], writer).expr, quote});
  }
  // What must be escaped in a string is left out: a text of JSON would have to be followed, not the key.
  return write(subtract(*match(plain_characters()), others.get()));
}

Expr KeyPatterns::other_key(const std::vector<std::string>& names) {
  if (patterns_.empty()) return text_.other_key(names);
  const std::unique_ptr<Language> any =
      language([](Builder& builder) { return builder.repeat(builder.chars(plain_characters()), 0, kUnbounded); });
  return write(subtract(*any, taken(names, kNone).get()));
}

}  // namespace pagoda::grammar
