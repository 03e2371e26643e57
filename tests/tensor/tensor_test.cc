// Tensors: shapes, views that keep storage alive, sizes that overflow; allocators that settle once warm.
#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "tensor/shape.h"

namespace pagoda {
namespace {

class TensorTest : public ::testing::Test {
 protected:
  TensorTest() { device_.allocator = &allocator_; }
  Tensor counting(const std::vector<int64_t>& dims) {
    Tensor tensor = Tensor::empty(device_, DType::kFloat32, dims);
    std::iota(tensor.data<float>(), tensor.data<float>() + tensor.numel(), 0.0f);
    return tensor;
  }
  CachingAllocator allocator_;
  Device device_;
};

TEST_F(TensorTest, SlicesLookIntoTheSameElements) {
  const Tensor tensor = counting({4, 6});
  const Tensor columns = tensor.slice(1, 2, 5);
  EXPECT_FALSE(columns.is_contiguous());
  EXPECT_EQ(columns.dims(), (std::vector<int64_t>{4, 3}));
  EXPECT_EQ(columns.data<float>()[columns.view().strides[0]], 8.0f);
  EXPECT_THROW(columns.reshape({12}), Error);
  EXPECT_EQ(tensor.reshape({-1, 8}).dim(0), 3);
  EXPECT_THROW(tensor.reshape({5, -1}), Error);
  EXPECT_THROW(tensor.slice(1, 2, 7), Error);
  EXPECT_THROW(tensor.slice(2, 0, 1), Error);
}

TEST(ElementCount, IsCheckedWhereShapesComeFromFiles) {
  EXPECT_EQ(element_count({}, "x"), 1);
  EXPECT_EQ(element_count({3, 0, 5}, "x"), 0);
  EXPECT_EQ(element_count({3, 4, 5}, "x"), 60);
  EXPECT_THROW(element_count({int64_t{1} << 40, int64_t{1} << 40}, "x"), Error);
}

TEST_F(TensorTest, HeadsStandSideBySideOrInterleaved) {
  const Tensor tensor = counting({2, 12});
  const Tensor keys = tensor.heads(2, 2, 6, 2);  // columns 2, 3 and 8, 9
  EXPECT_EQ(keys.dims(), (std::vector<int64_t>{2, 2, 2}));
  EXPECT_EQ(keys.data<float>()[keys.view().strides[0] + keys.view().strides[1] + 1], 21.0f);
  EXPECT_THROW(tensor.heads(8, 2, 3, 2), Error);
  EXPECT_THROW(tensor.heads(0, 2, 1, 2), Error);
}

TEST_F(TensorTest, AViewKeepsItsStorage) {
  Tensor view;
  {
    const Tensor tensor = counting({8, 8});
    view = tensor.slice(0, 3, 4);
  }
  const Tensor other = counting({8, 8});  // would reuse the storage had it been given back
  EXPECT_EQ(view.data<float>()[0], 24.0f);
  EXPECT_NE(view.data<float>(), other.data<float>() + 24);
}

TEST_F(TensorTest, ImpossibleSizesThrow) {
  EXPECT_THROW(Tensor::empty(device_, DType::kFloat32, {-1}), Error);
  EXPECT_THROW(Tensor::empty(device_, DType::kFloat32, {int64_t{1} << 40, int64_t{1} << 40}), Error);
  EXPECT_THROW(Tensor::empty(device_, DType::kFloat32, {int64_t{1} << 62}), Error);
  EXPECT_THROW(Tensor::empty(device_, DType::kFloat32, {1, 1, 1, 1, 1, 1}), Error);
  EXPECT_EQ(allocator_.bytes_in_use(), 0);
}

TEST_F(TensorTest, EverythingIsGivenBack) {
  {
    Tensor tensor = counting({3, 3});
    Tensor copy = tensor, moved = std::move(copy);
    tensor = moved.slice(0, 1, 2);
    moved = tensor;
    EXPECT_GT(allocator_.bytes_in_use(), 0);
  }
  EXPECT_EQ(allocator_.bytes_in_use(), 0);
}

TEST_F(TensorTest, AWarmStepAsksTheSystemForNothing) {
  const auto step = [&] {
    std::vector<Tensor> live;
    for (int64_t size : {10, 1000, 100'000, 3'000'000}) live.push_back(Tensor::empty(device_, DType::kFloat32, {size}));
  };
  step();
  const int64_t before = allocator_.system_allocations();
  for (int i = 0; i < 10; ++i) step();
  EXPECT_EQ(allocator_.system_allocations(), before);
  const int64_t cached = allocator_.bytes_cached();
  allocator_.trim();
  EXPECT_LT(allocator_.bytes_cached(), cached - int64_t{12'000'000});
  EXPECT_LT(allocator_.bytes_cached(), int64_t{2} << 20);  // blocks of slabs stay
}

TEST(Arena, MarksAndResetsKeepTheMemory) {
  Arena arena;
  char* first = static_cast<char*>(arena.allocate(100));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % 64, 0u);
  const int64_t mark = arena.mark();
  arena.allocate(int64_t{8} << 20);  // another chunk
  char* big = static_cast<char*>(arena.allocate(int64_t{8} << 20));
  std::fill(big, big + 100, 'x');
  arena.release(mark);
  EXPECT_EQ(arena.mark(), mark);
  arena.reset();
  char* joined = static_cast<char*>(arena.allocate(int64_t{16} << 20));
  std::fill(joined, joined + (int64_t{16} << 20), 'y');  // one chunk now holds it all
  arena.reset();
  EXPECT_EQ(arena.allocate(1), joined);
}

// A server whose sequences end one by one: each step asks for a little less than the last.
TEST(CachingAllocator, StepsThatGetSmallerGoOnInTheMemoryOfLargerOnes) {
  CachingAllocator allocator;
  int64_t most = 0;
  for (int64_t sequences = 256; sequences >= 1; --sequences) {
    std::vector<std::pair<void*, int64_t>> step;
    for (const int64_t columns : {576, 1536, 49152}) {
      const int64_t bytes = sequences * columns * 4;
      step.emplace_back(allocator.allocate(bytes), bytes);
      std::memset(step.back().first, 1, static_cast<size_t>(bytes));
    }
    if (sequences == 256) most = allocator.bytes_in_use();
    for (const auto& [data, bytes] : step) allocator.deallocate(data, bytes);
    EXPECT_EQ(allocator.bytes_in_use(), 0);
  }
  // A block serves requests down to half its size, so that each halving may cost one of half the size.
  EXPECT_LE(allocator.bytes_cached(), 2 * most);
  const int64_t asked = allocator.system_allocations();
  for (int64_t sequences = 1; sequences <= 256; ++sequences) {
    void* data = allocator.allocate(sequences * 49152 * 4);
    allocator.deallocate(data, sequences * 49152 * 4);
  }
  EXPECT_EQ(allocator.system_allocations(), asked);
}

TEST(CachingAllocator, ALargerBlockComesBackAsWhatItIs) {
  CachingAllocator allocator;
  void* large = allocator.allocate(100'000);
  allocator.deallocate(large, 100'000);
  void* small = allocator.allocate(60'000);
  EXPECT_EQ(small, large);
  void* other = allocator.allocate(60'000);
  EXPECT_NE(other, large);
  allocator.deallocate(small, 60'000);
  EXPECT_EQ(allocator.allocate(100'000), large);
  allocator.deallocate(large, 100'000);
  // Not one of more than twice the size, and a class of its own goes first.
  void* tiny = allocator.allocate(40'000);
  EXPECT_NE(tiny, large);
  allocator.deallocate(other, 60'000);
  EXPECT_EQ(allocator.allocate(60'000), other);
  allocator.deallocate(other, 60'000);
  allocator.deallocate(tiny, 40'000);
  EXPECT_EQ(allocator.bytes_in_use(), 0);
  EXPECT_GE(allocator.bytes_cached(), 200'000);
}

}  // namespace
}  // namespace pagoda
