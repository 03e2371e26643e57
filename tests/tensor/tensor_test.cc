// Tensors: shapes, views that keep storage alive, sizes that overflow; allocators that settle once warm.
#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <numeric>

#include "base/error.h"

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

}  // namespace
}  // namespace pagoda
