// The plain struct that is all a kernel ever sees of a tensor.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace pagoda {

constexpr int kMaxRank = 5;

// Strides are in elements. A null `data` means "not given" where a kernel takes an optional tensor.
struct View {
  void* data = nullptr;
  DType dtype = DType::kFloat32;
  int rank = 0;
  int64_t dims[kMaxRank] = {};
  int64_t strides[kMaxRank] = {};

  explicit operator bool() const { return data != nullptr; }
  int64_t numel() const {
    int64_t count = 1;
    for (int i = 0; i < rank; ++i) count *= dims[i];
    return count;
  }
  bool is_contiguous() const {
    int64_t expected = 1;
    for (int i = rank - 1; i >= 0; --i) {
      if (dims[i] != 1 && strides[i] != expected) return false;
      expected *= dims[i];
    }
    return true;
  }
  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

}  // namespace pagoda
