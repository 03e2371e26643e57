// The tokens of one sequence so far, with the counts that penalties need, kept up to date token by token.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

namespace pagoda {

// Copies (beams) share what was learned of the prompt.
class TokenHistory {
 public:
  struct Count {
    int32_t id;
    int32_t count;   // in the output
    bool in_prompt;  // also a token of the prompt
  };

  explicit TokenHistory(std::vector<int32_t> prompt);
  void append(int32_t id);

  const std::vector<int32_t>& ids() const { return ids_; }  // prompt, then output
  int64_t length() const { return static_cast<int64_t>(ids_.size()); }
  int64_t prompt_length() const { return prompt_length_; }
  int64_t output_length() const { return length() - prompt_length_; }
  const std::vector<int32_t>& prompt_tokens() const { return *prompt_tokens_; }  // each once, ascending
  const std::vector<Count>& output_counts() const { return counts_; }            // each once, by first appearance

 private:
  std::vector<int32_t> ids_;
  int64_t prompt_length_;
  std::shared_ptr<const std::vector<int32_t>> prompt_tokens_;
  std::vector<Count> counts_;
  std::unordered_map<int32_t, int32_t> position_;  // of an id in counts_
};

}  // namespace pagoda
