// Text to token ids and back.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pagoda::api {

// Thread-safe; copies share one tokenizer, which lives as long as any of them.
class Tokenizer {
 public:
  // model: a folder, a .gguf file, or ORG/NAME of the hub (of which the weights are not pulled).
  static Tokenizer open(const std::string& model);

  // Text must be UTF-8.
  std::vector<int32_t> encode(std::string_view text, bool add_special_tokens = true) const;
  // Ids that no token has are left out.
  std::string decode(const std::vector<int32_t>& ids, bool skip_special_tokens = false) const;
  int64_t vocab_size() const;  // added tokens included
  std::optional<int32_t> token_to_id(std::string_view token) const;
  std::string id_to_token(int32_t id) const;  // "": no such token

 private:
  friend struct Access;
  struct Impl;
  explicit Tokenizer(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

}  // namespace pagoda::api
