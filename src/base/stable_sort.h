// std::stable_sort without the temporary buffer that libstdc++ deprecates and clang therefore warns of.
#pragma once

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <utility>
#include <vector>

namespace pagoda {

// Elements of which neither is less than the other keep their order. A merge sort: a `less` that NaN makes inconsistent gives
// some order, and no more than that.
template <class T, class Less>
void stable_sort(std::vector<T>& items, const Less& less) {
  const size_t count = items.size();
  std::vector<size_t> order(count), merged(count);
  std::iota(order.begin(), order.end(), size_t{0});
  const auto at = [&](size_t i) { return order.begin() + static_cast<std::ptrdiff_t>(std::min(i, count)); };
  for (size_t width = 1; width < count; width *= 2) {
    auto to = merged.begin();
    for (size_t first = 0; first < count; first += 2 * width) {
      to = std::merge(at(first), at(first + width), at(first + width), at(first + 2 * width), to,
                      [&](size_t a, size_t b) { return less(items[a], items[b]); });
    }
    order.swap(merged);
  }
  std::vector<T> sorted;
  sorted.reserve(count);
  for (const size_t i : order) sorted.push_back(std::move(items[i]));
  items = std::move(sorted);
}

}  // namespace pagoda
