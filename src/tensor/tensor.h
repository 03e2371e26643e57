// Tensors over reference-counted storage: shape, strides, slices, and the place where the tape hangs its nodes.
#pragma once

#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "tensor/device.h"
#include "tensor/dtype.h"
#include "tensor/view.h"

namespace pagoda {

class GradNode;  // ops/tape.h

// Cheap to copy (one reference count). Header and elements are one block of the device's allocator, so that a warm step
// allocates nothing from the system. Reference counts are atomic; elements are not guarded.
class Tensor {
 public:
  Tensor() = default;  // no tensor: is_defined() is false
  Tensor(const Tensor& other);
  Tensor(Tensor&& other) noexcept : impl_(other.impl_) { other.impl_ = nullptr; }
  Tensor& operator=(const Tensor& other);
  Tensor& operator=(Tensor&& other) noexcept;
  ~Tensor();

  static Tensor empty(Device& device, DType dtype, std::initializer_list<int64_t> dims);
  static Tensor empty(Device& device, DType dtype, const std::vector<int64_t>& dims);  // kInvalidInput: rank, sizes
  static Tensor zeros(Device& device, DType dtype, const std::vector<int64_t>& dims);
  static Tensor like(const Tensor& other);  // same device, dtype and dims, contiguous, not filled
  // Memory of somebody else's (a mapped file), kept alive by `owner`. Contiguous. The elements must not be written.
  static Tensor borrow(Device& device, DType dtype, const std::vector<int64_t>& dims, const void* data,
                       std::shared_ptr<const void> owner);

  bool is_defined() const { return impl_ != nullptr; }
  explicit operator bool() const { return is_defined(); }
  const View& view() const;  // a null view if undefined
  DType dtype() const { return view().dtype; }
  int rank() const { return view().rank; }
  int64_t dim(int axis) const { return view().dims[axis < 0 ? axis + view().rank : axis]; }
  std::vector<int64_t> dims() const;
  int64_t numel() const { return view().numel(); }
  int64_t bytes() const { return numel() * dtype_size(dtype()); }
  bool is_contiguous() const { return view().is_contiguous(); }
  Device& device() const;
  template <class T>
  T* data() const {
    return view().as<T>();
  }

  // Views of the same elements; gradients do not flow through them (ops:: has those that do).
  Tensor slice(int axis, int64_t begin, int64_t end) const;
  Tensor reshape(const std::vector<int64_t>& dims) const;  // contiguous only; one -1 is filled in
  // [T, N] -> [T, count, head_dim]: head h is columns [begin + h * stride, begin + h * stride + head_dim). Rows may be strided.
  Tensor heads(int64_t begin, int64_t count, int64_t stride, int64_t head_dim) const;
  Tensor detach() const;  // same elements, no gradient

  // The tape (ops/tape.h). A leaf requires gradients if asked to; results of ops do if an input does.
  bool requires_grad() const;
  void set_requires_grad(bool value);
  Tensor grad() const;
  void set_grad(Tensor grad);
  const std::shared_ptr<GradNode>& grad_node() const;
  void set_grad_node(std::shared_ptr<GradNode> node);
  const void* id() const { return impl_; }

 private:
  struct Impl;
  explicit Tensor(Impl* impl) : impl_(impl) {}
  static Tensor make(Device& device, DType dtype, const int64_t* dims, int rank);
  Impl* impl_ = nullptr;
};

std::string shape_string(const View& view);  // "[3, 16]"

}  // namespace pagoda
