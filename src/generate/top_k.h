// The k largest of many scores, best first, with equal scores in the order in which torch.topk gives them.
#pragma once

#include <cstdint>
#include <vector>

namespace pagoda {

struct Scored {
  float score;
  int64_t index;
};

// Throws kInvalidInput for a NaN. Precondition: 1 <= k <= n.
// Which of equal scores torch returns follows from its algorithm (a heap for k * 64 <= n, else selection, on the C++ library
// that both use); models whose logits are bfloat16 tie often, so it is followed here.
std::vector<Scored> torch_top_k(const float* scores, int64_t n, int64_t k);

}  // namespace pagoda
