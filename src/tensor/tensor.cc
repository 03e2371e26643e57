// Storage and header in one block; views hold a reference to the tensor they look into.
#include "tensor/tensor.h"

#include <cstring>
#include <new>
#include <utility>

#include "base/checked.h"
#include "base/error.h"

namespace pagoda {

struct Tensor::Impl {
  std::atomic<int64_t> references{1};
  Device* device = nullptr;
  int64_t block_bytes = 0;  // of this block (header, and elements if owned)
  View view;
  Tensor base;                        // the tensor whose elements these are, for views
  std::shared_ptr<const void> owner;  // of borrowed memory
  bool requires_grad = false;
  std::shared_ptr<GradNode> node;
  Tensor grad;

  static constexpr int64_t kHeader = 512;  // keeps elements 64-byte aligned

  static Impl* create(Device& target, int64_t element_bytes) {
    static_assert(sizeof(Impl) <= kHeader);
    const int64_t bytes = kHeader + element_bytes;
    Impl* impl = new (target.allocator->allocate(bytes)) Impl;
    impl->device = &target;
    impl->block_bytes = bytes;
    return impl;
  }
};

namespace {
const View kNoView{};
const std::shared_ptr<GradNode> kNoNode;

void set_contiguous(View& view, const int64_t* dims, int rank) {
  view.rank = rank;
  int64_t stride = 1;
  for (int i = rank - 1; i >= 0; --i) {
    view.dims[i] = dims[i];
    view.strides[i] = stride;
    stride *= dims[i];
  }
}

int64_t checked_numel(const int64_t* dims, int rank) {
  if (rank > kMaxRank) invalid("tensor", "too many dimensions: got {}, need at most {}", rank, kMaxRank);
  int64_t count = 1;
  for (int i = 0; i < rank; ++i) {
    if (dims[i] < 0) invalid("tensor", "negative dimension: got {}", dims[i]);
    count = checked_mul(count, dims[i], "tensor");
  }
  return count;
}
}  // namespace

Tensor::Tensor(const Tensor& other) : impl_(other.impl_) {
  if (impl_ != nullptr) impl_->references.fetch_add(1, std::memory_order_relaxed);
}

Tensor& Tensor::operator=(const Tensor& other) {
  if (impl_ != other.impl_) {
    Tensor copy(other);
    std::swap(impl_, copy.impl_);
  }
  return *this;
}

Tensor& Tensor::operator=(Tensor&& other) noexcept {
  std::swap(impl_, other.impl_);
  return *this;
}

Tensor::~Tensor() {
  if (impl_ == nullptr || impl_->references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  Allocator* allocator = impl_->device->allocator;
  const int64_t bytes = impl_->block_bytes;
  impl_->~Impl();
  allocator->deallocate(impl_, bytes);
}

Tensor Tensor::make(Device& device, DType dtype, const int64_t* dims, int rank) {
  const int64_t count = checked_numel(dims, rank);
  Impl* impl = Impl::create(device, checked_mul(count, dtype_size(dtype), "tensor"));
  impl->view.dtype = dtype;
  set_contiguous(impl->view, dims, rank);
  impl->view.data = reinterpret_cast<char*>(impl) + Impl::kHeader;
  return Tensor(impl);
}

Tensor Tensor::empty(Device& device, DType dtype, std::initializer_list<int64_t> dims) {
  return make(device, dtype, dims.begin(), static_cast<int>(dims.size()));
}

Tensor Tensor::empty(Device& device, DType dtype, const std::vector<int64_t>& dims) {
  return make(device, dtype, dims.data(), static_cast<int>(dims.size()));
}

Tensor Tensor::zeros(Device& device, DType dtype, const std::vector<int64_t>& dims) {
  Tensor tensor = empty(device, dtype, dims);
  std::memset(tensor.view().data, 0, static_cast<size_t>(tensor.bytes()));
  return tensor;
}

Tensor Tensor::like(const Tensor& other) { return make(other.device(), other.dtype(), other.view().dims, other.rank()); }

Tensor Tensor::borrow(Device& device, DType dtype, const std::vector<int64_t>& dims, const void* data,
                      std::shared_ptr<const void> owner) {
  checked_numel(dims.data(), static_cast<int>(dims.size()));
  Impl* impl = Impl::create(device, 0);
  impl->view.dtype = dtype;
  set_contiguous(impl->view, dims.data(), static_cast<int>(dims.size()));
  impl->view.data = const_cast<void*>(data);
  impl->owner = std::move(owner);
  return Tensor(impl);
}

const View& Tensor::view() const { return impl_ == nullptr ? kNoView : impl_->view; }

std::vector<int64_t> Tensor::dims() const { return {view().dims, view().dims + view().rank}; }

Device& Tensor::device() const {
  if (impl_ == nullptr) fail(ErrorKind::kInternal, "tensor", "an undefined tensor has no device");
  return *impl_->device;
}

Tensor Tensor::slice(int axis, int64_t begin, int64_t end) const {
  const View& from = view();
  if (axis < 0 || axis >= from.rank || begin < 0 || begin > end || end > from.dims[axis]) {
    invalid("tensor", "slice outside the tensor: got axis {} from {} to {}, need within {}", axis, begin, end,
            shape_string(from));
  }
  Impl* impl = Impl::create(device(), 0);
  impl->view = from;
  impl->view.dims[axis] = end - begin;
  impl->view.data = static_cast<char*>(from.data) + begin * from.strides[axis] * dtype_size(from.dtype);
  impl->base = *this;
  return Tensor(impl);
}

Tensor Tensor::reshape(const std::vector<int64_t>& dims) const {
  const View& from = view();
  std::vector<int64_t> filled = dims;
  int64_t known = 1;
  int64_t* open = nullptr;
  for (int64_t& dim : filled) {
    if (dim == -1 && open == nullptr) {
      open = &dim;
    } else {
      known = checked_mul(known, dim, "tensor");
    }
  }
  if (open != nullptr) *open = known == 0 ? 0 : from.numel() / known;
  if (!from.is_contiguous() || checked_numel(filled.data(), static_cast<int>(filled.size())) != from.numel()) {
    invalid("tensor", "cannot reshape: got {} ({} elements), need as many and contiguous", shape_string(from), from.numel());
  }
  Impl* impl = Impl::create(device(), 0);
  impl->view.dtype = from.dtype;
  impl->view.data = from.data;
  set_contiguous(impl->view, filled.data(), static_cast<int>(filled.size()));
  impl->base = *this;
  return Tensor(impl);
}

Tensor Tensor::heads(int64_t begin, int64_t count, int64_t stride, int64_t head_dim) const {
  const View& from = view();
  if (from.rank != 2 || from.strides[1] != 1 || begin < 0 || count < 1 || head_dim < 1 || stride < head_dim ||
      begin + (count - 1) * stride + head_dim > from.dims[1]) {
    invalid("tensor", "heads outside the tensor: got {} of {} every {} from {}, need within {}", count, head_dim, stride, begin,
            shape_string(from));
  }
  Impl* impl = Impl::create(device(), 0);
  impl->view = from;
  impl->view.rank = 3;
  impl->view.data = static_cast<char*>(from.data) + begin * dtype_size(from.dtype);
  impl->view.dims[1] = count;
  impl->view.dims[2] = head_dim;
  impl->view.strides[1] = stride;
  impl->view.strides[2] = 1;
  impl->base = *this;
  return Tensor(impl);
}

Tensor Tensor::detach() const {
  Impl* impl = Impl::create(device(), 0);
  impl->view = view();
  impl->base = *this;
  return Tensor(impl);
}

bool Tensor::requires_grad() const { return impl_ != nullptr && impl_->requires_grad; }
void Tensor::set_requires_grad(bool value) { impl_->requires_grad = value; }
Tensor Tensor::grad() const { return impl_ == nullptr ? Tensor() : impl_->grad; }
void Tensor::set_grad(Tensor grad) { impl_->grad = std::move(grad); }
const std::shared_ptr<GradNode>& Tensor::grad_node() const { return impl_ == nullptr ? kNoNode : impl_->node; }

void Tensor::set_grad_node(std::shared_ptr<GradNode> node) {
  impl_->node = std::move(node);
  impl_->requires_grad = true;
}

std::string shape_string(const View& view) {
  std::string text = "[";
  for (int i = 0; i < view.rank; ++i) text += (i == 0 ? "" : ", ") + std::to_string(view.dims[i]);
  return text + "]";
}

}  // namespace pagoda
