// torch.topk on the CPU, without its list of all pairs where only a heap is needed.
#include "generate/top_k.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "generate/warpers.h"

namespace pagoda {
namespace {

bool better(const Scored& a, const Scored& b) { return a.score > b.score; }

// std::partial_sort keeps a heap of the first k and replaces its worst by each better element. Here the replacement is spelt
// out (sink the hole to a leaf, then lift the new element), so that the other elements need not be in memory.
void replace_worst(std::vector<Scored>& heap, Scored entry) {
  const size_t size = heap.size();
  size_t hole = 0;
  for (size_t child = 2; child <= size; child = 2 * hole + 2) {
    if (child == size) {  // a left child alone
      heap[hole] = heap[child - 1];
      hole = child - 1;
      break;
    }
    if (better(heap[child], heap[child - 1])) --child;
    heap[hole] = heap[child];
    hole = child;
  }
  while (hole > 0) {
    const size_t parent = (hole - 1) / 2;
    if (!better(heap[parent], entry)) break;
    heap[hole] = heap[parent];
    hole = parent;
  }
  heap[hole] = entry;
}

}  // namespace

std::vector<Scored> torch_top_k(const float* scores, int64_t n, int64_t k) {
  for (int64_t i = 0; i < n; ++i) {
    if (std::isnan(scores[i])) fail_not_finite(scores[i]);
  }
  std::vector<Scored> best;
  if (k * 64 <= n) {
    best.reserve(static_cast<size_t>(k));
    for (int64_t i = 0; i < k; ++i) best.push_back({scores[i], i});
    std::make_heap(best.begin(), best.end(), better);
    for (int64_t i = k; i < n; ++i) {
      if (scores[i] > best.front().score) replace_worst(best, {scores[i], i});
    }
    std::sort_heap(best.begin(), best.end(), better);
    return best;
  }
  best.reserve(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) best.push_back({scores[i], i});
  const auto last = best.begin() + static_cast<std::ptrdiff_t>(k - 1);
  std::nth_element(best.begin(), last, best.end(), better);
  std::sort(best.begin(), last, better);
  best.resize(static_cast<size_t>(k));
  return best;
}

}  // namespace pagoda
