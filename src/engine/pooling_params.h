// What embeddings are asked for: which rows make a vector, how many of its values, of which length.
#pragma once

#include <cstdint>
#include <optional>

namespace pagoda {

// Which rows: the last one, all of them, the first one. vLLM's names: LAST, MEAN, CLS.
enum class PoolingType : uint8_t { kLast, kMean, kCls };

struct PoolingParams {
  std::optional<PoolingType> type;  // none: as the model has it, which for decoders is kLast
  int64_t dimensions = 0;           // > 0: the first so many values alone, cut before they are scaled (Matryoshka models)
  bool normalize = true;            // to length 1
};

}  // namespace pagoda
