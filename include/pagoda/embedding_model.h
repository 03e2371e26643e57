// Texts as vectors: folders of sentence-transformers, and encoders without one.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pagoda/options.h"
#include "pagoda/tokenizer.h"

namespace pagoda::api {

struct EmbeddingOptions {
  std::string prompt_name{};            // of the folder's prompts, which stands before each text; "": its default, if any
  std::optional<std::string> prompt{};  // a text instead of it
  bool normalize_embeddings = false;    // to length 1, also where the folder does not say so
};

// Thread-safe: calls of several threads go one after the other; texts of one call share ragged passes, and each gets the bits
// that it would get alone. Moving and destroying are not: no call may be under way.
class EmbeddingModel {
 public:
  // model: a folder (of sentence-transformers too), a .gguf file of an encoder, or ORG/NAME. Without sentence-transformers'
  // modules the vector is the mean of the last hidden states. Errors as LanguageModel::open; kUnsupported: a decoder.
  static EmbeddingModel open(const std::string& model, const ModelOptions& options = {});
  ~EmbeddingModel();
  EmbeddingModel(EmbeddingModel&&) noexcept;
  EmbeddingModel& operator=(EmbeddingModel&&) noexcept;

  // One vector a text, in order. What is longer than the model takes is cut, as sentence-transformers does.
  std::vector<std::vector<float>> encode(const std::vector<std::string>& texts, const EmbeddingOptions& options = {}) const;

  const Tokenizer& tokenizer() const;
  int64_t max_seq_length() const;  // tokens; longer texts are cut

 private:
  struct Impl;
  explicit EmbeddingModel(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace pagoda::api
