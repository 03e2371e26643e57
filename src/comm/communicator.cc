// Sums in a fixed order: every rank adds up one part of the values, then all exchange their sums.
#include "comm/communicator.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "tensor/dtype.h"

namespace pagoda {

namespace {

// Values [begins[r], begins[r + 1]) are rank r's to add up.
std::vector<int64_t> shares(int64_t count, int size) {
  std::vector<int64_t> begins(static_cast<size_t>(size) + 1);
  for (int r = 0; r <= size; ++r) begins[static_cast<size_t>(r)] = count * r / size;
  return begins;
}

std::vector<int64_t> bytes_of(const std::vector<int64_t>& begins, int64_t element) {
  std::vector<int64_t> sizes(begins.size() - 1);
  for (size_t r = 0; r < sizes.size(); ++r) sizes[r] = (begins[r + 1] - begins[r]) * element;
  return sizes;
}

template <class T>
void reduce(Communicator& ranks, T* values, int64_t count) {
  const auto size = static_cast<size_t>(ranks.size()), rank = static_cast<size_t>(ranks.rank());
  const std::vector<int64_t> begins = shares(count, ranks.size());
  const int64_t mine = begins[rank + 1] - begins[rank];
  std::vector<T> parts(size * static_cast<size_t>(mine));
  const auto element = static_cast<int64_t>(sizeof(T));
  ranks.all_to_all(values, bytes_of(begins, element), parts.data(), std::vector<int64_t>(size, mine * element));
  T* sums = values + begins[rank];
  std::copy_n(parts.data(), mine, sums);
  for (size_t r = 1; r < size; ++r) {
    const T* part = parts.data() + r * static_cast<size_t>(mine);
    for (int64_t i = 0; i < mine; ++i) sums[i] = sums[i] + part[i];
  }
  std::vector<T> whole(static_cast<size_t>(count));
  ranks.all_gather(sums, whole.data(), bytes_of(begins, element));
  std::copy(whole.begin(), whole.end(), values);
}

void reduce_bfloat16(Communicator& ranks, float* values, int64_t count) {
  const auto size = static_cast<size_t>(ranks.size()), rank = static_cast<size_t>(ranks.rank());
  const std::vector<int64_t> begins = shares(count, ranks.size());
  const int64_t mine = begins[rank + 1] - begins[rank];
  std::vector<BFloat16> wire(static_cast<size_t>(count)), parts(size * static_cast<size_t>(mine));
  for (int64_t i = 0; i < count; ++i) wire[static_cast<size_t>(i)] = BFloat16(values[i]);
  ranks.all_to_all(wire.data(), bytes_of(begins, 2), parts.data(), std::vector<int64_t>(size, mine * 2));
  for (int64_t i = 0; i < mine; ++i) {
    float sum = 0;
    for (size_t r = 0; r < size; ++r) sum += static_cast<float>(parts[r * static_cast<size_t>(mine) + static_cast<size_t>(i)]);
    parts[static_cast<size_t>(i)] = BFloat16(sum);
  }
  ranks.all_gather(parts.data(), wire.data(), bytes_of(begins, 2));
  for (int64_t i = 0; i < count; ++i) values[i] = static_cast<float>(wire[static_cast<size_t>(i)]);
}

}  // namespace

void Communicator::all_reduce(float* values, int64_t count, Wire wire) {
  if (size() == 1) return;
  if (wire == Wire::kBFloat16) {
    reduce_bfloat16(*this, values, count);
  } else {
    reduce(*this, values, count);
  }
}

double Communicator::all_reduce(double value) {
  std::vector<double> all(static_cast<size_t>(size()));
  all_gather(&value, all.data(), std::vector<int64_t>(all.size(), sizeof(double)));
  return std::accumulate(all.begin(), all.end(), 0.0);
}

int64_t Communicator::all_reduce(int64_t value) {
  std::vector<int64_t> all(static_cast<size_t>(size()));
  all_gather(&value, all.data(), std::vector<int64_t>(all.size(), sizeof(int64_t)));
  return std::accumulate(all.begin(), all.end(), int64_t{0});
}

}  // namespace pagoda
