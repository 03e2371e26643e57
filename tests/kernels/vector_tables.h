// The vector tables that this machine can run, matrices with odd strides to run them on, and comparisons.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "base/cpu_info.h"
#include "base/thread_pool.h"
#include "kernels/cpu/fill.h"
#include "kernels/table.h"
#include "tensor/device.h"
#include "tests/share.h"

namespace pagoda::test {

// For machines so slow that only a part can be tested, as tools/emulate makes them. PAGODA_TEST_TABLES: tables by name, with
// commas between ("avx512,amx"), instead of all.
inline bool table_wanted(const std::string& name) {
  const char* wanted = std::getenv("PAGODA_TEST_TABLES");
  return wanted == nullptr || ("," + std::string(wanted) + ",").find("," + name + ",") != std::string::npos;
}

struct NamedTable {
  std::string name;
  KernelTable table;
};

// All that the machine runs: one that others are built on may not be wanted itself.
inline std::vector<NamedTable> all_vector_tables() {
  const CpuInfo cpu = detect_cpu();
  std::vector<NamedTable> tables;
  const auto add = [&](const char* name, auto... fillers) {
    NamedTable& named = tables.emplace_back(NamedTable{name, {}});
    fill_reference(named.table);
    (fillers(named.table), ...);
  };
  add("portable", fill_vector_portable);
  if (isa_supported(Isa::kAvx2, cpu)) add("avx2", fill_vector_portable, fill_vector_avx2);
  if (isa_supported(Isa::kAvx512, cpu)) add("avx512", fill_vector_portable, fill_vector_avx2, fill_vector_avx512);
  return tables;
}

inline std::vector<NamedTable> vector_tables() {
  std::vector<NamedTable> tables = all_vector_tables();
  std::erase_if(tables, [](const NamedTable& named) { return !table_wanted(named.name); });
  return tables;
}

inline const KernelTable& oracle() {
  static const KernelTable table = [] {
    KernelTable filled;
    fill_reference(filled);
    return filled;
  }();
  return table;
}

// Threads and scratch of one run.
struct Runner {
  explicit Runner(int threads) : pool(threads) {}
  Exec exec() { return {&pool, &scratch, nullptr}; }
  ThreadPool pool;
  Arena scratch;
};

// Small reproducible numbers in (-1, 1) with a tail up to `scale`.
class Numbers {
 public:
  explicit Numbers(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u + 1) {}
  uint64_t bits() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }
  float next(float scale = 1) { return scale * (static_cast<float>(bits() >> 40) / static_cast<float>(1 << 23) - 1.0f); }
  int64_t below(int64_t n) { return static_cast<int64_t>(bits() % static_cast<uint64_t>(n)); }

 private:
  uint64_t state_;
};

// Elements with guards around every row: rows begin misaligned, are strided, and what lies between them must not change.
class Matrix {
 public:
  Matrix(DType dtype, std::vector<int64_t> dims, int64_t gap = 3, int64_t offset = 1)
      : dtype_(dtype), dims_(std::move(dims)), gap_(gap), offset_(offset) {
    width_ = 1;
    for (size_t i = 1; i < dims_.size(); ++i) width_ *= dims_[i];
    data_.assign(static_cast<size_t>((offset_ + dims_[0] * (width_ + gap_)) * dtype_size(dtype_)), 0xA5);
  }
  View view() {
    View v;
    v.data = data_.data() + offset_ * dtype_size(dtype_);
    v.dtype = dtype_;
    v.rank = static_cast<int>(dims_.size());
    int64_t stride = 1;
    for (size_t i = dims_.size(); i-- > 0;) {
      v.dims[i] = dims_[i];
      v.strides[i] = i == 0 && dims_.size() > 1 ? width_ + gap_ : stride;
      stride *= dims_[i];
    }
    return v;
  }
  View rows(int64_t begin, int64_t end) {
    View v = view();
    v.data = static_cast<uint8_t*>(v.data) + begin * v.strides[0] * dtype_size(dtype_);
    v.dims[0] = end - begin;
    return v;
  }
  float at(int64_t row, int64_t column) const {
    const uint8_t* p = data_.data() + (offset_ + row * (width_ + gap_) + column) * dtype_size(dtype_);
    if (dtype_ == DType::kFloat32) {
      float value;
      std::memcpy(&value, p, sizeof value);
      return value;
    }
    BFloat16 value;
    std::memcpy(&value, p, sizeof value);
    return static_cast<float>(value);
  }
  void set(int64_t row, int64_t column, float to) {
    uint8_t* p = data_.data() + (offset_ + row * (width_ + gap_) + column) * dtype_size(dtype_);
    if (dtype_ == DType::kFloat32) {
      std::memcpy(p, &to, sizeof to);
    } else {
      const BFloat16 value(to);
      std::memcpy(p, &value, sizeof value);
    }
  }
  Matrix& fill(Numbers& numbers, float scale = 1) {
    for (int64_t i = 0; i < dims_[0]; ++i) {
      for (int64_t j = 0; j < width_; ++j) set(i, j, numbers.next(scale));
    }
    return *this;
  }
  int64_t height() const { return dims_[0]; }
  int64_t width() const { return width_; }
  const std::vector<uint8_t>& bytes() const { return data_; }  // guards too

 private:
  DType dtype_;
  std::vector<int64_t> dims_;
  int64_t gap_, offset_, width_;
  std::vector<uint8_t> data_;
};

// Largest |a - b| / (bound + bound * |b|) of all elements must be at most 1.
inline void expect_near(const Matrix& a, const Matrix& b, double bound, const std::string& what) {
  ASSERT_EQ(a.height(), b.height());
  for (int64_t i = 0; i < a.height(); ++i) {
    for (int64_t j = 0; j < a.width(); ++j) {
      const double x = static_cast<double>(a.at(i, j)), y = static_cast<double>(b.at(i, j));
      if (std::isnan(x) && std::isnan(y)) continue;
      if (x == y) continue;
      ASSERT_LE(std::fabs(x - y), bound * (1 + std::fabs(y)))
          << what << " at row " << i << ", column " << j << ": " << x << " for " << y;
    }
  }
}

}  // namespace pagoda::test
