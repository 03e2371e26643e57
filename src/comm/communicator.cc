// What ranks do together, made of exchanges of messages.
#include "comm/communicator.h"

#include <cstring>
#include <numeric>

namespace pagoda {

void Communicator::all_gather(const void* mine, void* all, const std::vector<int64_t>& sizes) {
  std::vector<Message> sends, receives;
  const int64_t own = sizes[static_cast<size_t>(rank())];
  auto* into = static_cast<uint8_t*>(all);
  for (int r = 0; r < size(); ++r) {
    const int64_t bytes = sizes[static_cast<size_t>(r)];
    if (r == rank()) {
      if (bytes > 0) std::memcpy(into, mine, static_cast<size_t>(bytes));
    } else {
      if (own > 0) sends.push_back({r, const_cast<void*>(mine), own});
      if (bytes > 0) receives.push_back({r, into, bytes});
    }
    into += bytes;
  }
  exchange(sends, receives);
}

void Communicator::broadcast(void* data, int64_t bytes, int root) {
  std::vector<Message> sends, receives;
  if (rank() != root) receives.push_back({root, data, bytes});
  for (int r = 0; r < size() && rank() == root; ++r) {
    if (r != root) sends.push_back({r, data, bytes});
  }
  exchange(sends, receives);
}

std::string Communicator::share(std::string text) {
  auto size = static_cast<int64_t>(text.size());
  broadcast(&size, sizeof(size), 0);
  text.resize(static_cast<size_t>(size));
  broadcast(text.data(), size, 0);
  return text;
}

void Communicator::barrier() {
  std::vector<uint8_t> all(static_cast<size_t>(size()));
  const uint8_t mine = 0;
  all_gather(&mine, all.data(), std::vector<int64_t>(all.size(), 1));
}

double Communicator::all_reduce(double value) {
  std::vector<double> all(static_cast<size_t>(size()));
  all_gather(&value, all.data(), std::vector<int64_t>(all.size(), sizeof(double)));
  return std::accumulate(all.begin(), all.end(), 0.0);
}

std::vector<int64_t> Communicator::all_reduce(const std::vector<int64_t>& values) {
  const auto ranks = static_cast<size_t>(size());
  std::vector<int64_t> all(ranks * values.size()), sums(values.size(), 0);
  all_gather(values.data(), all.data(), std::vector<int64_t>(ranks, static_cast<int64_t>(values.size() * sizeof(int64_t))));
  for (size_t i = 0; i < all.size(); ++i) sums[i % sums.size()] += all[i];
  return sums;
}

}  // namespace pagoda
