// Which families give nn.Embedding a padding_idx, and what pad_token_id is where config.json does not say.
#include "models/padding_rows.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "models/decoder.h"
#include "models/encoder.h"

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

// Of a table of so many rows.
std::optional<int64_t> padding_row(const Json& config, const std::string& table, int64_t rows) {
  const std::string type = config.get_string("model_type", "", "config.json");
  const Json* given = config.find("pad_token_id");
  for (const Padded& family : families()) {
    const auto ends = [&](const char* name) { return table.ends_with(name); };
    if (type != family.model_type || std::none_of(family.tables.begin(), family.tables.end(), ends)) continue;
    std::optional<int64_t> row = family.fallback;
    if (given != nullptr) row = given->is_null() ? std::nullopt : std::optional<int64_t>(given->as_int("pad_token_id"));
    if (row && *row < 0) *row += rows;
    return row && *row >= 0 && *row < rows ? row : std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

void zero_padding_row(const Json& config, Parameter& parameter) {
  const std::optional<int64_t> row = padding_row(config, parameter.name, parameter.shape[0]);
  if (!row) return;
  const int64_t bytes = parameter.value.bytes() / parameter.shape[0];
  std::memset(static_cast<uint8_t*>(parameter.value.view().data) + *row * bytes, 0, static_cast<size_t>(bytes));
}

void set_padding_rows(const Json& config, Model& model) {
  std::vector<Embedding*> embeddings;
  if (auto* decoder = dynamic_cast<DecoderModel*>(&model)) embeddings = decoder->embeddings();
  if (auto* encoder = dynamic_cast<EncoderModel*>(&model)) embeddings = encoder->embeddings();
  for (Embedding* embedding : embeddings) {
    if (const auto row = padding_row(config, embedding->name(), embedding->num_rows())) embedding->set_padding_row(*row);
  }
}

}  // namespace pagoda
