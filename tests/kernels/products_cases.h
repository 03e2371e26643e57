// The tables whose products are tested, matrices with gaps between their rows, and packed weights.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/cpu_info.h"
#include "base/thread_pool.h"
#include "kernels/cpu/fill.h"
#include "kernels/table.h"
#include "tests/kernels/vector_tables.h"

namespace pagoda::test {

struct Candidate {
  const char* name;
  Isa needs;
  void (*fill)(KernelTable&);
};

template <void (*... kFillers)(KernelTable&)>
void fill_all(KernelTable& table) {
  (kFillers(table), ...);
}

// Each table that this machine can run, and the stand-ins over the portable table where it lacks the instructions.
inline std::vector<Candidate> candidates() {
  const CpuInfo cpu = detect_cpu();
  std::vector<Candidate> list;
  for (const Candidate& c :
       {Candidate{"portable", Isa::kPortable, fill_products_portable}, Candidate{"avx2", Isa::kAvx2, fill_products_avx2},
        Candidate{"avx512", Isa::kAvx512, fill_products_avx512},
        Candidate{"avx512_bf16", Isa::kAvx512Bf16, fill_all<fill_products_avx512, fill_products_avx512_bf16>},
        Candidate{"amx", Isa::kAmx, fill_all<fill_products_avx512, fill_products_amx>},
        Candidate{"avx512_bf16 stand-in", Isa::kPortable, fill_all<fill_products_portable, fill_products_avx512_bf16_standin>},
        Candidate{"amx stand-in", Isa::kPortable, fill_all<fill_products_portable, fill_products_amx_standin>}}) {
    if (isa_supported(c.needs, cpu) && table_wanted(c.name)) list.push_back(c);
  }
  return list;
}

// A matrix whose rows are `gap` elements further apart than they are long, begun `shift` elements after an aligned address;
// what lies between the rows is checked not to change.
template <class T>
class GappedMatrix {
 public:
  GappedMatrix(int64_t rows, int64_t columns, int64_t gap = 0, int64_t shift = 0)
      : rows_(rows),
        columns_(columns),
        stride_(columns + gap),
        shift_(shift),
        data_(static_cast<size_t>(rows * stride_ + shift), T(kUntouched)) {}
  T* row(int64_t i) { return data_.data() + shift_ + i * stride_; }
  View view() { return rows(0, rows_); }
  View rows(int64_t begin, int64_t end) {
    View v;
    v.data = row(begin);
    v.dtype = DTypeOf<T>::kValue;
    v.rank = 2;
    v.dims[0] = end - begin;
    v.dims[1] = columns_;
    v.strides[0] = stride_;
    v.strides[1] = 1;
    return v;
  }
  void fill(uint64_t seed, float scale = 1) {
    for (int64_t i = 0; i < rows_; ++i) {
      for (int64_t j = 0; j < columns_; ++j) row(i)[j] = T(scale * noise(seed, static_cast<uint64_t>(i * columns_ + j)));
    }
  }
  bool gaps_untouched() {
    for (int64_t i = 0; i < rows_; ++i) {
      for (int64_t j = columns_; j < stride_; ++j) {
        if (static_cast<float>(row(i)[j]) != kUntouched) return false;
      }
    }
    return true;
  }
  static float noise(uint64_t seed, uint64_t i) {
    uint64_t z = (seed * 1000003 + i + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return static_cast<float>(static_cast<int64_t>((z >> 40) & 0xFFFFFF) - 0x800000) / 0x800000;
  }

 private:
  static constexpr float kUntouched = -12288;  // exact in bfloat16
  int64_t rows_, columns_, stride_, shift_;
  std::vector<T> data_;
};

// Packed bytes on the heap, so that the sanitizer sees a step past them.
struct Packed {
  Packed(WeightFormat format, int64_t n, int64_t k) {
    const size_t bytes = static_cast<size_t>(packed_bytes(format, n, k));
    data = static_cast<char*>(std::aligned_alloc(64, std::max<size_t>((bytes + 63) / 64 * 64, 64)));
    std::memset(data, 0, bytes);
    view = {data, format, n, k};
  }
  ~Packed() { std::free(data); }
  Packed(const Packed&) = delete;
  Packed& operator=(const Packed&) = delete;
  char* data;
  PackedView view;
};

class Products : public ::testing::Test {
 protected:
  Products() {
    fill_reference(reference_);
    exec_.pool = &pool_;
    exec_.scratch = &arena_;
  }
  KernelTable table_of(const Candidate& candidate) {
    KernelTable table;
    fill_reference(table);
    candidate.fill(table);
    return table;
  }
  ThreadPool pool_{3};
  Arena arena_;
  Exec exec_;
  KernelTable reference_;
};

}  // namespace pagoda::test
