// The tokens of a vocabulary as a tree of their bytes, so that many tokens are tried at once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace pagoda {

// Made once for a model; safe to use from many threads.
class TokenVocabulary {
 public:
  // Special tokens, and tokens that stand for no text, are never allowed inside a text.
  explicit TokenVocabulary(const Tokenizer& tokenizer);
  // Bytes by id; an empty entry is never allowed. (Tests, and tokenizers of other kinds.)
  explicit TokenVocabulary(const std::vector<std::string>& bytes_by_id);

  int64_t size() const { return size_; }        // largest id + 1
  int64_t longest() const { return longest_; }  // bytes of the longest token
  const std::string& bytes(int32_t id) const { return bytes_[static_cast<size_t>(id)]; }
  int64_t memory_bytes() const;

  // Nodes in the order of a walk, parents before children; node 0 is the root. Children of n lie in (n, end(n)).
  struct Node {
    int32_t end;          // first node behind its subtree
    int32_t first_token;  // into tokens(); those of n end where those of n + 1 begin
    uint16_t depth;       // bytes from the root
    uint8_t byte;         // last of them
  };
  const std::vector<Node>& nodes() const { return nodes_; }  // one more at the end closes the tokens of the last
  const std::vector<int32_t>& tokens() const { return tokens_; }

 private:
  void build();
  int64_t size_ = 0, longest_ = 0;
  std::vector<std::string> bytes_;
  std::vector<Node> nodes_;
  std::vector<int32_t> tokens_;
};

}  // namespace pagoda
