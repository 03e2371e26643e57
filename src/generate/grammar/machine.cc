// Readings advance together; a mask is put together from what the insides of rules allow and what follows their ends.
#include "generate/grammar/machine.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "text/vocab.h"

namespace pagoda::grammar {

namespace {

uint64_t mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9E3779B97F4A7C15ull;
  return hash ^ (hash >> 29);
}

template <class List>
int64_t bytes_of(const List& list) {
  return static_cast<int64_t>(list.capacity() * sizeof(list[0]));
}

int64_t bytes_of(const TokenSet& set) { return bytes_of(set.bits) + bytes_of(set.ids); }

}  // namespace

// Gathers tokens as bits.
class Memory::Collector {
 public:
  explicit Collector(int64_t size) : bits_(static_cast<size_t>((size + 63) / 64), 0) {}
  void add(int32_t id) {
    bits_[static_cast<size_t>(id) / 64] |= uint64_t{1} << (static_cast<uint32_t>(id) % 64);
    any_ = true;
  }
  void add(const TokenSet& set) {
    for (const int32_t id : set.ids) add(id);
    for (size_t i = 0; i < set.bits.size(); ++i) bits_[i] |= set.bits[i];
    if (!set.empty()) any_ = true;
  }
  bool any() const { return any_; }
  TokenSet take() {
    TokenSet out;
    size_t count = 0;
    for (const uint64_t word : bits_) count += static_cast<size_t>(__builtin_popcountll(word));
    out.listed = count * 4 <= bits_.size();
    if (!out.listed) {
      out.bits = std::move(bits_);
      return out;
    }
    out.ids.reserve(count);
    for (size_t i = 0; i < bits_.size(); ++i) {
      for (uint64_t word = bits_[i]; word != 0; word &= word - 1) {
        out.ids.push_back(static_cast<int32_t>(i * 64) + __builtin_ctzll(word));
      }
    }
    return out;
  }

 private:
  std::vector<uint64_t> bits_;
  bool any_ = false;
};

size_t Memory::CallHash::operator()(const Call& call) const {
  uint64_t hash = mix(static_cast<uint32_t>(call.parent), static_cast<uint32_t>(call.to));
  hash = mix(hash, static_cast<uint32_t>(call.rule));
  return mix(hash, (static_cast<uint64_t>(static_cast<uint32_t>(call.need)) << 32) | static_cast<uint32_t>(call.room));
}

Memory::Memory(const Automaton& automaton, const TokenVocabulary& vocabulary, const GrammarLimits& limits)
    : automaton_(automaton),
      vocabulary_(vocabulary),
      limits_(limits),
      far_(static_cast<int32_t>(vocabulary.longest()) + 1),
      situation_slots_(64, -1),
      work_left_(std::numeric_limits<int64_t>::max()),
      seen_slots_(64),
      seen_stamps_(64, 0),
      levels_(static_cast<size_t>(vocabulary.longest()) + 1) {
  frames_.push_back({{-1, -1, -1, 0, 0}, 0, kBottom, kUnknown, kBottom});
  frames_.push_back({{-1, -1, -2, 0, 0}, 0, kUnknown, kUnknown, kUnknown});
  steps_left_ = limits_.max_mask_steps;
  close();  // of nothing: kDead
}

Memory::~Memory() {
  if (limits_.budget) limits_.budget->bytes.fetch_sub(counted_bytes_, std::memory_order_relaxed);
}

int64_t Memory::work() const {
  constexpr int64_t kNodesOfAStep = 16;  // a node whose step is known takes so much less time
  return limits_.max_token_steps - work_left_ + nodes_visited_ / kNodesOfAStep;
}

void Memory::count_bytes() {
  if (!limits_.budget) return;
  const int64_t bytes = memory_bytes();
  limits_.budget->bytes.fetch_add(bytes - counted_bytes_, std::memory_order_relaxed);
  counted_bytes_ = bytes;
}

int64_t Memory::memory_bytes() const {
  return bytes_of(frames_) + static_cast<int64_t>(frame_ids_.size() * 64) + bytes_of(situations_) + bytes_of(readings_) +
         bytes_of(rows_) + bytes_of(situation_slots_) + bytes_of(masks_) + bytes_of(insides_) + mask_bytes_;
}

int32_t Memory::frame(const Call& call) {
  if (const auto at = frame_ids_.find(call); at != frame_ids_.end()) return at->second;
  const Frame parent = frames_[static_cast<size_t>(call.parent)];
  const bool counted = call.rule >= 0;
  // Parents are older, so what they have is known, and no recursion goes deeper than two.
  Call near = call, open = call;
  near.parent = parent.near;
  near.need = std::min(call.need, far_);
  if (call.room != kUnbounded) near.room = std::min(call.room, far_);
  open = near;
  open.parent = counted ? frames_[static_cast<size_t>(parent.near)].open : kUnknown;
  const auto id = static_cast<int32_t>(frames_.size());
  frames_.push_back({call, parent.depth + 1, id, kUnknown, counted ? parent.base : id});
  frame_ids_.emplace(call, id);
  const int32_t near_id = near == call ? id : frame(near);
  frames_[static_cast<size_t>(id)].near = near_id;
  const int32_t open_id = !counted ? kUnknown : open == call ? id : frame(open);
  frames_[static_cast<size_t>(id)].open = open_id;
  return id;
}

bool Memory::see(const Reading& reading) {
  if ((seen_count_ + 1) * 2 > seen_slots_.size()) {
    std::vector<uint64_t> keys;
    for (size_t i = 0; i < seen_slots_.size(); ++i) {
      if (seen_stamps_[i] == stamp_) keys.push_back(seen_slots_[i]);
    }
    seen_slots_.assign(seen_slots_.size() * 2, 0);
    seen_stamps_.assign(seen_slots_.size(), 0);
    for (const uint64_t key : keys) {
      size_t at = mix(key, key >> 32) & (seen_slots_.size() - 1);
      while (seen_stamps_[at] == stamp_) at = (at + 1) & (seen_slots_.size() - 1);
      seen_slots_[at] = key;
      seen_stamps_[at] = stamp_;
    }
  }
  const uint64_t key =
      (static_cast<uint64_t>(static_cast<uint32_t>(reading.frame)) << 32) | static_cast<uint32_t>(reading.state);
  size_t at = mix(key, key >> 32) & (seen_slots_.size() - 1);
  for (; seen_stamps_[at] == stamp_; at = (at + 1) & (seen_slots_.size() - 1)) {
    if (seen_slots_[at] == key) return false;
  }
  seen_slots_[at] = key;
  seen_stamps_[at] = stamp_;
  ++seen_count_;
  return true;
}

void Memory::push(int32_t state, int32_t frame) { work_.push_back({state, frame}); }

int32_t Memory::close() {
  if (++stamp_ == 0) {
    std::fill(seen_stamps_.begin(), seen_stamps_.end(), 0);
    std::fill(frame_stamps_.begin(), frame_stamps_.end(), 0);
    stamp_ = 1;
  }
  seen_count_ = 0;
  int64_t stacks = 0;
  found_.clear();
  bool ends = false, escapes = false;
  const auto most_seen = static_cast<size_t>(limits_.max_readings) * 8;
  while (!work_.empty()) {
    const Reading reading = work_.back();
    work_.pop_back();
    if (static_cast<int64_t>(seen_count_) >= work_left_) {
      work_.clear();
      invalid("grammar", "too many ways to read the text: its next token needs more than {} steps", limits_.max_token_steps);
    }
    if (seen_count_ >= most_seen || static_cast<int64_t>(found_.size()) >= limits_.max_readings) {
      work_.clear();
      exact_ = false;
      break;
    }
    if (frame_stamps_.size() < frames_.size()) frame_stamps_.resize(frames_.size() + frames_.size() / 2, 0);
    if (uint32_t& stamp = frame_stamps_[static_cast<size_t>(reading.frame)]; stamp != stamp_) {
      if (stacks >= limits_.max_stacks) {
        exact_ = false;
        continue;
      }
      ++stacks;
      stamp = stamp_;
    }
    if (!see(reading)) continue;
    const auto state = static_cast<size_t>(reading.state);
    if (automaton_.bytes_at[state] != automaton_.bytes_at[state + 1]) found_.push_back(reading);
    for (uint32_t i = automaton_.empties_at[state]; i < automaton_.empties_at[state + 1]; ++i)
      push(automaton_.empties[i], reading.frame);
    for (uint32_t i = automaton_.calls_at[state]; i < automaton_.calls_at[state + 1]; ++i) {
      const Automaton::CallEdge& call = automaton_.calls[i];
      const int32_t start = automaton_.rule_start[static_cast<size_t>(call.rule)];
      const bool once = call.min == 1 && call.max == 1;
      if (once && (automaton_.flags[static_cast<size_t>(call.to)] & Automaton::kTail) != 0) {
        push(start, reading.frame);
        continue;
      }
      if (frames_[static_cast<size_t>(reading.frame)].depth >= limits_.max_stack) {
        exact_ = false;
        continue;
      }
      const int32_t room = call.max == kUnbounded ? kUnbounded : call.max - 1;
      push(start,
           frame(once ? Call{reading.frame, call.to, -1, 0, 0} : Call{reading.frame, call.to, call.rule, call.min - 1, room}));
    }
    if ((automaton_.flags[state] & Automaton::kFinal) == 0) continue;
    if (reading.frame == kBottom) {
      ends = true;
    } else if (reading.frame == kUnknown) {
      escapes = true;
    } else {
      const Call call = frames_[static_cast<size_t>(reading.frame)].call;
      if (call.need == 0) push(call.to, call.parent);
      if (call.rule >= 0 && call.room != 0) {
        const int32_t room = call.room == kUnbounded ? kUnbounded : call.room - 1;
        push(automaton_.rule_start[static_cast<size_t>(call.rule)],
             frame({call.parent, call.to, call.rule, std::max(call.need - 1, 0), room}));
      }
    }
  }
  steps_left_ -= static_cast<int64_t>(seen_count_) + 1;
  work_left_ -= static_cast<int64_t>(seen_count_) + 1;
  std::sort(found_.begin(), found_.end());
  return intern(ends, escapes);
}

int32_t Memory::intern(bool ends, bool escapes) {
  const auto hash_of = [](const Reading* readings, size_t count, bool does_end, bool does_escape) {
    uint64_t hash = count * 4 + (does_end ? 1 : 0) + (does_escape ? 2 : 0);
    for (size_t i = 0; i < count; ++i) {
      hash = mix(hash, (static_cast<uint64_t>(static_cast<uint32_t>(readings[i].frame)) << 32) |
                           static_cast<uint32_t>(readings[i].state));
    }
    return mix(hash, hash >> 32);
  };
  if ((situations_.size() + 1) * 2 > situation_slots_.size()) {
    situation_slots_.assign(situation_slots_.size() * 2, -1);
    for (size_t id = 0; id < situations_.size(); ++id) {
      const Situation& one = situations_[id];
      size_t at = hash_of(readings_.data() + one.first, static_cast<size_t>(one.count), one.ends, one.escapes);
      at &= situation_slots_.size() - 1;
      while (situation_slots_[at] >= 0) at = (at + 1) & (situation_slots_.size() - 1);
      situation_slots_[at] = static_cast<int32_t>(id);
    }
  }
  size_t at = hash_of(found_.data(), found_.size(), ends, escapes) & (situation_slots_.size() - 1);
  for (; situation_slots_[at] >= 0; at = (at + 1) & (situation_slots_.size() - 1)) {
    const Situation& other = situations_[static_cast<size_t>(situation_slots_[at])];
    if (other.ends == ends && other.escapes == escapes && static_cast<size_t>(other.count) == found_.size() &&
        std::equal(found_.begin(), found_.end(), readings_.begin() + static_cast<std::ptrdiff_t>(other.first))) {
      return situation_slots_[at];
    }
  }
  Situation made;
  made.first = readings_.size();
  made.count = static_cast<int32_t>(found_.size());
  made.ends = ends;
  made.escapes = escapes;
  readings_.insert(readings_.end(), found_.begin(), found_.end());
  situation_slots_[at] = static_cast<int32_t>(situations_.size());
  situations_.push_back(made);
  return situation_slots_[at];
}

int32_t Memory::start() {
  if (automaton_.start >= 0) push(automaton_.start, kBottom);
  const int32_t situation = close();
  if (!automaton_.takes_empty) return situation;
  const Situation& one = situations_[static_cast<size_t>(situation)];
  found_.assign(readings_.begin() + static_cast<std::ptrdiff_t>(one.first),
                readings_.begin() + static_cast<std::ptrdiff_t>(one.first) + one.count);
  return intern(true, false);
}

int32_t Memory::take_step(int32_t situation, uint8_t byte_class) {
  if (situation == kDead) return kDead;
  Situation& from = situations_[static_cast<size_t>(situation)];
  if (from.row < 0) {
    from.row = static_cast<int64_t>(rows_.size());
    rows_.resize(rows_.size() + static_cast<size_t>(automaton_.classes), -1);
  }
  const auto slot = static_cast<size_t>(from.row) + byte_class;
  const uint8_t byte = automaton_.representative[byte_class];
  for (size_t i = from.first; i < from.first + static_cast<size_t>(from.count); ++i) {
    const Reading reading = readings_[i];
    const auto state = static_cast<size_t>(reading.state);
    for (uint32_t e = automaton_.bytes_at[state]; e < automaton_.bytes_at[state + 1]; ++e) {
      const Automaton::ByteEdge& edge = automaton_.bytes[e];
      if (edge.low <= byte && byte <= edge.high) push(edge.to, reading.frame);
    }
  }
  steps_left_ -= from.count;
  work_left_ -= from.count;
  const int32_t to = close();
  rows_[slot] = to;
  return to;
}

int32_t Memory::import(const Memory& from, int32_t situation) {
  const Situation& other = from.situations_[static_cast<size_t>(situation)];
  std::unordered_map<int32_t, int32_t> known = {{kBottom, kBottom}, {kUnknown, kUnknown}};
  std::vector<Reading> readings;
  std::vector<int32_t> chain;
  for (size_t i = other.first; i < other.first + static_cast<size_t>(other.count); ++i) {
    const Reading reading = from.readings_[i];
    chain.clear();
    int32_t at = reading.frame;
    for (; known.count(at) == 0; at = from.frames_[static_cast<size_t>(at)].call.parent) chain.push_back(at);
    int32_t here = known[at];
    for (size_t k = chain.size(); k-- > 0;) {
      Call call = from.frames_[static_cast<size_t>(chain[k])].call;
      call.parent = here;
      here = frame(call);
      known[chain[k]] = here;
    }
    readings.push_back({reading.state, here});
  }
  found_ = std::move(readings);
  std::sort(found_.begin(), found_.end());
  return intern(other.ends, other.escapes);
}

// Readings whose counts are far from their bounds allow the same tokens, so they share a mask.
int32_t Memory::near_of(int32_t situation) {
  const Situation& one = situations_[static_cast<size_t>(situation)];
  if (one.near >= 0) return one.near;
  found_.clear();
  for (size_t i = one.first; i < one.first + static_cast<size_t>(one.count); ++i) {
    found_.push_back({readings_[i].state, frames_[static_cast<size_t>(readings_[i].frame)].near});
  }
  std::sort(found_.begin(), found_.end());
  found_.erase(std::unique(found_.begin(), found_.end()), found_.end());
  const int32_t near = intern(one.ends, one.escapes);
  situations_[static_cast<size_t>(situation)].near = near;
  return near;
}

void Memory::walk(int32_t situation, int32_t node, Collector& found, std::vector<int32_t>* exits) {
  const std::vector<TokenVocabulary::Node>& nodes = vocabulary_.nodes();
  const std::vector<int32_t>& tokens = vocabulary_.tokens();
  const auto root = static_cast<size_t>(node);
  levels_[nodes[root].depth] = situation;
  const auto end = static_cast<size_t>(nodes[root].end);
  for (size_t at = root + 1; at < end;) {
    const TokenVocabulary::Node& one = nodes[at];
    ++nodes_visited_;
    // Out of steps: what was found must do. The first token is always looked for, among those of one byte at least.
    if (steps_left_ <= 0 && (found.any() || one.depth > 1)) {
      at = found.any() ? end : static_cast<size_t>(one.end);
      continue;
    }
    const int32_t next = step(levels_[one.depth - 1], one.byte);
    if (next == kDead) {
      at = static_cast<size_t>(one.end);
      continue;
    }
    levels_[one.depth] = next;
    for (int32_t i = one.first_token; i < nodes[at + 1].first_token; ++i) found.add(tokens[static_cast<size_t>(i)]);
    const Situation& here = situations_[static_cast<size_t>(next)];
    if (here.escapes && exits != nullptr) exits->push_back(static_cast<int32_t>(at));
    at = here.count > 0 ? at + 1 : static_cast<size_t>(one.end);
  }
}

int32_t Memory::inside_of(int32_t situation) {
  if (const int32_t known = situations_[static_cast<size_t>(situation)].inside; known >= 0) return known;
  Collector found(vocabulary_.size());
  Inside made;
  walk(situation, 0, found, &made.exits);
  made.allowed = found.take();
  made.exits.shrink_to_fit();
  mask_bytes_ += bytes_of(made.allowed) + bytes_of(made.exits);
  insides_.push_back(std::move(made));
  const auto id = static_cast<int32_t>(insides_.size()) - 1;
  situations_[static_cast<size_t>(situation)].inside = id;
  return id;
}

int32_t Memory::mask_of(int32_t situation) {
  if (const int32_t known = situations_[static_cast<size_t>(situation)].mask; known >= 0) return known;
  steps_left_ = limits_.max_mask_steps;
  Collector found(vocabulary_.size());
  const Situation one = situations_[static_cast<size_t>(situation)];
  for (size_t first = one.first, last = first; first < one.first + static_cast<size_t>(one.count); first = last) {
    const Frame top = frames_[static_cast<size_t>(readings_[first].frame)];
    const int32_t frame_id = readings_[first].frame;
    // Readings are in order of frames. The first token is found before steps run out.
    found_.clear();
    for (; last < one.first + static_cast<size_t>(one.count) && readings_[last].frame == frame_id; ++last) {
      found_.push_back({readings_[last].state, frame_id == kBottom ? kUnknown : top.open});
    }
    if (steps_left_ <= 0 && found.any()) break;
    std::sort(found_.begin(), found_.end());
    const auto inside = static_cast<size_t>(inside_of(intern(false, false)));
    found.add(insides_[inside].allowed);
    if (top.base == kBottom || insides_[inside].exits.empty()) continue;
    const Call call = frames_[static_cast<size_t>(top.base)].call;
    push(call.to, call.parent);
    const int32_t outside = close();
    const std::vector<int32_t> exits = insides_[inside].exits;
    for (const int32_t node : exits) walk(outside, node, found, nullptr);
  }
  TokenSet made = found.take();
  mask_bytes_ += bytes_of(made);
  masks_.push_back(std::move(made));
  const auto id = static_cast<int32_t>(masks_.size()) - 1;
  situations_[static_cast<size_t>(situation)].mask = id;
  return id;
}

const TokenSet& Memory::allowed(int32_t situation) { return masks_[static_cast<size_t>(mask_of(near_of(situation)))]; }

Machine::Machine(std::shared_ptr<const Automaton> automaton, std::shared_ptr<const TokenVocabulary> vocabulary,
                 const GrammarLimits& limits)
    : automaton_(std::move(automaton)),
      vocabulary_(std::move(vocabulary)),
      limits_(limits),
      memory_(std::make_shared<Memory>(*automaton_, *vocabulary_, limits_)) {}

// Where all grammars together are over their budget, each gives up what it has beyond this.
constexpr int64_t kLeastCache = int64_t{1} << 20;

void Machine::renew(Place& place) {
  const bool over = limits_.budget && limits_.budget->exceeded();
  if (memory_->memory_bytes() > (over ? kLeastCache : limits_.max_cache_bytes))
    memory_ = std::make_shared<Memory>(*automaton_, *vocabulary_, limits_);
  if (place.memory == memory_) return;
  place.situation = place.memory == nullptr ? memory_->start() : memory_->import(*place.memory, place.situation);
  place.memory = memory_;
}

// With the lock held, before anything is asked of a place.
void Machine::begin(Place& place) {
  renew(place);
  place.memory->begin_token();
}

// ... and after.
void Machine::end(Place& place) {
  place.memory->count_bytes();
  place.work += place.memory->work();
}

Machine::Place Machine::start() {
  const std::lock_guard<std::mutex> lock(mutex_);
  Place place;
  memory_->begin_token();
  renew(place);
  return place;
}

bool Machine::advance(Place& place, int32_t token) {
  if (token < 0 || token >= vocabulary_->size()) return false;
  const std::lock_guard<std::mutex> lock(mutex_);
  begin(place);
  const std::string& bytes = vocabulary_->bytes(token);
  int32_t at = bytes.empty() ? Memory::kDead : place.situation;
  for (const char c : bytes) at = place.memory->step(at, static_cast<uint8_t>(c));
  end(place);
  if (at == Memory::kDead) return false;
  place.situation = at;
  return true;
}

bool Machine::may_end(const Place& place) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return place.memory->may_end(place.situation);
}

bool Machine::may_go_on(Place& place) {
  const std::lock_guard<std::mutex> lock(mutex_);
  begin(place);
  const bool goes_on = place.memory->may_go_on(place.situation) && !place.memory->allowed(place.situation).empty();
  end(place);
  return goes_on;
}

void Machine::mask(Place& place, float* logits, int64_t vocab, const std::vector<int32_t>& keep) {
  constexpr float kNever = -std::numeric_limits<float>::infinity();
  std::vector<std::pair<int32_t, float>> kept;
  for (const int32_t id : keep) {
    if (id >= 0 && id < vocab) kept.emplace_back(id, logits[id]);
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  begin(place);
  const TokenSet& allowed = place.memory->allowed(place.situation);
  end(place);
  const int64_t known = std::min(vocab, vocabulary_->size());
  if (allowed.listed) {
    for (const int32_t id : allowed.ids) {
      if (id < vocab) kept.emplace_back(id, logits[id]);
    }
    std::fill(logits, logits + vocab, kNever);
  } else {
    for (int64_t first = 0; first < known; first += 64) {
      uint64_t denied = ~allowed.bits[static_cast<size_t>(first / 64)];
      if (known - first < 64) denied &= (uint64_t{1} << (known - first)) - 1;
      for (; denied != 0; denied &= denied - 1) logits[first + __builtin_ctzll(denied)] = kNever;
    }
    std::fill(logits + known, logits + vocab, kNever);
  }
  for (const auto& [id, value] : kept) logits[id] = value;
}

int64_t Machine::memory_bytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return memory_->memory_bytes();
}

}  // namespace pagoda::grammar
