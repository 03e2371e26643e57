// Aho-Corasick from the end of the text, and the cutting of text at added tokens.
#include "text/added_tokens.h"

#include <algorithm>
#include <cstring>
#include <deque>

#include "base/error.h"
#include "base/utf8.h"
#include "text/unicode.h"

namespace pagoda {

void StringFinder::build(const std::vector<std::string>& keys) {
  nodes_.assign(1, Node{});
  edges_ = {};
  std::fill(std::begin(ends_), std::end(ends_), false);
  bool begins[256] = {};
  std::vector<std::pair<int32_t, unsigned char>> parents(1);  // of each node: parent and byte
  for (size_t k = 0; k < keys.size(); ++k) {
    if (keys[k].empty()) continue;
    int32_t node = 0;
    for (auto c = keys[k].rbegin(); c != keys[k].rend(); ++c) {
      const unsigned char byte = static_cast<unsigned char>(*c);
      int32_t& next = edges_[(static_cast<uint64_t>(node) << 8) | byte];
      if (next == 0) {
        next = static_cast<int32_t>(nodes_.size());
        const int32_t depth = nodes_[static_cast<size_t>(node)].depth + 1;
        nodes_.push_back({0, depth, -1, 0});
        parents.emplace_back(node, byte);
      }
      node = next;
    }
    if (nodes_[static_cast<size_t>(node)].key < 0) nodes_[static_cast<size_t>(node)].key = static_cast<int32_t>(k);
    ends_[static_cast<unsigned char>(keys[k].back())] = true;
    first_ = static_cast<unsigned char>(keys[k][0]);
    begins[first_] = true;
  }
  first_bytes_ = static_cast<int>(std::count(std::begin(begins), std::end(begins), true));
  // Failure links, by depth.
  std::vector<int32_t> order(nodes_.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return std::pair(nodes_[static_cast<size_t>(a)].depth, a) < std::pair(nodes_[static_cast<size_t>(b)].depth, b);
  });
  for (const int32_t at : order) {
    Node& node = nodes_[static_cast<size_t>(at)];
    if (node.depth > 1) {
      const auto [parent, byte] = parents[static_cast<size_t>(at)];
      node.fail = step(nodes_[static_cast<size_t>(parent)].fail, byte);
    }
    node.longest = node.key >= 0 ? at : nodes_[static_cast<size_t>(node.fail)].longest;
  }
}

int32_t StringFinder::step(int32_t node, unsigned char byte) const {
  while (true) {
    if (const int32_t* const next = edges_.find((static_cast<uint64_t>(node) << 8) | byte)) return *next;
    if (node == 0) return 0;
    node = nodes_[static_cast<size_t>(node)].fail;
  }
}

void StringFinder::find_all(std::string_view text, std::vector<Match>& matches) const {
  matches.clear();
  if (empty() || text.empty()) return;
  size_t stop = 0;  // no match begins before
  if (first_bytes_ == 1) {
    const void* const first = std::memchr(text.data(), first_, text.size());
    if (first == nullptr) return;
    stop = static_cast<size_t>(static_cast<const char*>(first) - text.data());
  }
  int32_t at = 0;
  for (size_t pos = text.size(); pos > stop;) {
    const unsigned char byte = static_cast<unsigned char>(text[--pos]);
    if (at == 0 && !ends_[byte]) continue;
    at = step(at, byte);
    const int32_t longest = nodes_[static_cast<size_t>(at)].longest;
    if (longest == 0) continue;
    const Node& found = nodes_[static_cast<size_t>(longest)];
    matches.push_back({pos, pos + static_cast<size_t>(found.depth), found.key});
  }
  // From the text's begin: what begins inside a match is none.
  std::reverse(matches.begin(), matches.end());
  size_t kept = 0, done = 0;
  for (const Match& match : matches) {
    if (match.begin < done) continue;
    done = match.end;
    matches[kept++] = match;
  }
  matches.resize(kept);
}

void AddedVocabulary::add(const std::vector<AddedToken>& tokens, const TokenModel& model) {
  for (const AddedToken& token : tokens) {
    if (token.content.empty()) continue;
    if (token.special) special_.insert(token.content);
    const auto known = by_content_.find(token.content);
    if (known != by_content_.end()) {
      const auto same = by_id_.find(known->second);
      if (same != by_id_.end() && same->second == token) continue;
    }
    int32_t id = find(token.content);
    if (id < 0) id = model.vocab().find(token.content);
    if (id < 0) {
      const int32_t largest = largest_;
      const int64_t size = model.vocab_size();
      const int64_t next = largest >= size || (size == 0 && largest >= 0) ? int64_t{largest} + 1 : size;
      if (next > Vocab::kMaxId) invalid("added_tokens", "too many tokens: got id {}, need at most {}", next, Vocab::kMaxId);
      id = static_cast<int32_t>(next);
    }
    by_content_[token.content] = id;
    by_id_[id] = token;
    largest_ = std::max(largest_, id);
  }
}

void AddedVocabulary::add_with_id(const AddedToken& token, int32_t id) {
  if (token.content.empty()) return;
  by_content_[token.content] = id;
  by_id_[id] = token;
  largest_ = std::max(largest_, id);
  if (token.special) special_.insert(token.content);
}

void AddedVocabulary::prepare(const Normalizer* normalizer) {
  std::vector<std::string> plain, normalized;
  plain_.ids.clear();
  normalized_.ids.clear();
  texts_.clear();
  std::vector<int32_t> ids;
  ids.reserve(by_id_.size());
  for (const auto& [id, token] : by_id_) ids.push_back(id);
  std::sort(ids.begin(), ids.end());
  RegexScratch scratch;
  for (const int32_t id : ids) {
    const AddedToken& token = by_id_.at(id);
    texts_[id] = token.content;
    if (find(token.content) != id) continue;  // it has another id since
    if (!token.normalized) {
      plain.push_back(token.content);
      plain_.ids.push_back(id);
      continue;
    }
    AlignedText text = AlignedText::from_original(token.content, 0, token.content.size(), false);
    if (normalizer != nullptr) normalizer->apply(text, scratch);
    normalized.push_back(text.text);
    texts_[id] = text.text;
    normalized_.ids.push_back(id);
  }
  plain_.finder.build(plain);
  normalized_.finder.build(normalized);
}

int32_t AddedVocabulary::find(std::string_view content) const {
  const auto found = by_content_.find(std::string(content));
  return found == by_content_.end() ? -1 : found->second;
}

const AddedToken* AddedVocabulary::token(int32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &found->second;
}

const std::string* AddedVocabulary::text(int32_t id) const {
  const auto found = texts_.find(id);
  return found == texts_.end() ? nullptr : &found->second;
}

namespace {

size_t previous_character(std::string_view text, size_t pos) {
  do {
    --pos;
  } while (pos > 0 && (static_cast<unsigned char>(text[pos]) & 0xC0) == 0x80);
  return pos;
}

bool word_before(std::string_view text, size_t pos) {
  if (pos == 0) return false;
  size_t at = previous_character(text, pos);
  return unicode::is_word(utf8_next(text, at));
}

bool word_after(std::string_view text, size_t pos) {
  if (pos >= text.size()) return false;
  return unicode::is_word(utf8_next(text, pos));
}

}  // namespace

void AddedVocabulary::find_all(const Set& set, std::string_view text, bool special_as_text, std::vector<Found>& out) const {
  out.clear();
  size_t done = 0;
  std::vector<StringFinder::Match> matches;
  set.finder.find_all(text, matches);
  for (auto [begin, end, key] : matches) {
    const int32_t id = set.ids[static_cast<size_t>(key)];
    const AddedToken& token = by_id_.at(id);
    if (special_as_text && token.special) continue;
    if (token.single_word && (word_before(text, begin) || word_after(text, end))) continue;
    if (token.lstrip) {
      while (begin > done) {
        size_t at = previous_character(text, begin);
        const size_t start = at;
        if (!unicode::is_whitespace(utf8_next(text, at))) break;
        begin = start;
      }
      begin = std::max(begin, done);
    }
    if (token.rstrip) {
      while (end < text.size()) {
        size_t at = end;
        if (!unicode::is_whitespace(utf8_next(text, at))) break;
        end = at;
      }
    }
    if (end <= begin) continue;  // white space that the token before it has taken
    if (begin > done) out.push_back({done, begin, -1});
    out.push_back({begin, end, id});
    done = end;
  }
  if (done < text.size()) out.push_back({done, text.size(), -1});
}

void AddedVocabulary::extract(std::string_view original, const Normalizer* normalizer, bool track, PreTokenized& out,
                              RegexScratch& scratch, bool special_as_text) const {
  out.track = track;
  out.limit = AlignedText::growth_limit(original.size());
  std::vector<Found> parts, inner;
  find_all(plain_, original, special_as_text, parts);
  for (const Found& part : parts) {
    AlignedText text = AlignedText::from_original(original, part.begin, part.end, track);
    if (part.id >= 0) {
      out.append(text, part.id);
      continue;
    }
    if (normalizer != nullptr) normalizer->apply(text, scratch);
    // Where the normaliser took the beginning away, the text begins where its first byte comes from.
    if (track && !text.align.empty()) text.shift = text.align[0].begin;
    if (normalized_.finder.empty()) {
      out.append(text);
      continue;
    }
    find_all(normalized_, text.text, special_as_text, inner);
    for (const Found& found : inner) {
      if (found.begin == 0 && found.end == text.text.size()) {
        out.append(text, found.id);
        continue;
      }
      AlignedText slice;
      slice.track = track;
      slice.text = text.text.substr(found.begin, found.end - found.begin);
      slice.shift = text.shift + static_cast<uint32_t>(found.begin);
      if (track) {
        slice.align.assign(text.align.begin() + static_cast<int64_t>(found.begin),
                           text.align.begin() + static_cast<int64_t>(found.end));
        slice.shift = slice.align[0].begin;
      }
      out.append(slice, found.id);
    }
  }
}

}  // namespace pagoda
