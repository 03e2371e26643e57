// Which families give nn.Embedding a padding_idx, and what pad_token_id is where config.json does not say.
#include "models/padding_rows.h"

#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "tensor/dtype.h"

namespace pagoda {

namespace {

struct Padded {
  const char* model_type;
  std::vector<const char*> tables;       // ends of their names
  std::optional<int64_t> fallback = {};  // pad_token_id of a config without the field
};

const std::vector<Padded>& families() {
  static const std::vector<Padded> kFamilies = {
      {"llama", {"embed_tokens.weight"}},
      {"mistral", {"embed_tokens.weight"}},
      {"qwen2", {"embed_tokens.weight"}},
      {"bert", {"word_embeddings.weight"}, 0},
      {"distilbert", {"word_embeddings.weight"}, 0},
      {"albert", {"word_embeddings.weight"}, 0},
      {"roberta", {"word_embeddings.weight", "position_embeddings.weight"}, 1},
      {"xlm-roberta", {"word_embeddings.weight", "position_embeddings.weight"}, 1},
      {"camembert", {"word_embeddings.weight", "position_embeddings.weight"}, 1},
  };
  return kFamilies;
}

}  // namespace

void zero_padding_row(const Json& config, Parameter& parameter) {
  const std::string type = config.get_string("model_type", "", "config.json");
  for (const Padded& family : families()) {
    if (type != family.model_type) continue;
    const Json* given = config.find("pad_token_id");
    std::optional<int64_t> row = family.fallback;
    if (given != nullptr) row = given->is_null() ? std::nullopt : std::optional<int64_t>(given->as_int("pad_token_id"));
    if (!row) return;
    if (*row < 0) *row += parameter.shape[0];
    for (const char* table : family.tables) {
      if (!parameter.name.ends_with(table) || *row < 0 || *row >= parameter.shape[0]) continue;
      const int64_t bytes = parameter.value.bytes() / parameter.shape[0];
      std::memset(static_cast<uint8_t*>(parameter.value.view().data) + *row * bytes, 0, static_cast<size_t>(bytes));
    }
  }
}

}  // namespace pagoda
