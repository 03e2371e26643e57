// Added tokens: whole strings taken out of the text before the model sees it.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "text/model.h"
#include "text/normalizers.h"
#include "text/pre_tokenizers.h"

namespace pagoda {

struct AddedToken {
  std::string content;
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // ... behind it
  bool normalized = true;    // found in the normalised text, itself normalised
  bool special = false;      // left out when decoding with skip_special_tokens
  auto operator<=>(const AddedToken&) const = default;
};

// Finds the leftmost, then longest, of many strings, and goes on behind it: Aho-Corasick over the text from its end to its
// begin, which knows at each byte the longest string that begins there. Linear in the text whatever the strings are.
class StringFinder {
 public:
  struct Match {
    size_t begin, end;
    int32_t key;
  };
  void build(const std::vector<std::string>& keys);  // an empty key never matches; of equal keys the first counts
  void find_all(std::string_view text, std::vector<Match>& matches) const;  // those that do not overlap, in order
  bool empty() const { return nodes_.size() <= 1; }

 private:
  struct Node {
    int32_t fail = 0;
    int32_t depth = 0;
    int32_t key = -1;     // that ends here
    int32_t longest = 0;  // of the nodes on the way of failures, this one included, the first with a key; 0: none
  };
  int32_t step(int32_t node, unsigned char byte) const;
  std::vector<Node> nodes_;
  FlatMap<int32_t> edges_;
  bool ends_[256] = {};      // last bytes of keys
  int first_bytes_ = 0;      // how many first bytes there are
  unsigned char first_ = 0;  // ... which, where there is but one
};

class AddedVocabulary {
 public:
  // As HF adds them: a token that the model knows keeps that id, others get the next free id; added again, a token's flags are
  // the later ones.
  void add(const std::vector<AddedToken>& tokens, const TokenModel& model);
  // With a fixed id (files that name it).
  void add_with_id(const AddedToken& token, int32_t id);
  void prepare(const Normalizer* normalizer);  // call once after the last add

  int32_t find(std::string_view content) const;  // -1: none
  const AddedToken* token(int32_t id) const;     // null: none
  // What the token is called when decoding: its content, normalised where the token is found in normalised text (as HF has it).
  const std::string* text(int32_t id) const;  // null: none
  bool is_special(std::string_view content) const { return special_.count(std::string(content)) != 0; }
  const std::unordered_map<int32_t, AddedToken>& tokens() const { return by_id_; }
  int32_t largest_id() const { return largest_; }  // -1: none
  bool empty() const { return by_id_.empty(); }

  // Cuts `original` at its added tokens, normalises what lies between and cuts that again.
  void extract(std::string_view original, const Normalizer* normalizer, bool track, PreTokenized& out, RegexScratch& scratch,
               bool special_as_text) const;

 private:
  struct Found {
    size_t begin, end;
    int32_t id;  // -1: text between tokens
  };
  struct Set {
    StringFinder finder;
    std::vector<int32_t> ids;
  };
  void find_all(const Set& set, std::string_view text, bool special_as_text, std::vector<Found>& out) const;
  std::unordered_map<std::string, int32_t> by_content_;
  std::unordered_map<int32_t, AddedToken> by_id_;
  std::unordered_map<int32_t, std::string> texts_;
  std::unordered_set<std::string> special_;  // that were special once, as HF remembers them
  int32_t largest_ = -1;
  Set plain_, normalized_;
};

}  // namespace pagoda
