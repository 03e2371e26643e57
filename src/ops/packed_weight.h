// A weight that takes part in products: one or more named parameters joined along their output rows, in a kernel layout.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/table.h"
#include "tensor/tensor.h"

namespace pagoda {

// Raised whenever the bytes of some format change: weights packed by an older one are not used.
constexpr int kPackedLayoutVersion = 1;

struct PackedPart {
  std::string name;  // state-dict name
  int64_t n_begin = 0, rows = 0;
};

class PackedWeight {
 public:
  using Part = PackedPart;

  // Parts are [rows, k] tensors (float32, bfloat16 or float16) of equal k. kInvalidInput if they do not fit. What device.packed
  // has of them is taken from there, and their elements are not looked at.
  static std::shared_ptr<PackedWeight> pack(Device& device, WeightFormat format,
                                            const std::vector<std::pair<std::string, Tensor>>& parts);
  ~PackedWeight();
  PackedWeight(const PackedWeight&) = delete;
  PackedWeight& operator=(const PackedWeight&) = delete;

  const PackedView& view() const { return view_; }
  int64_t bytes() const { return bytes_; }
  const std::vector<Part>& parts() const { return parts_; }
  // The part as [rows, k] in the format's own element type (float32 or bfloat16): exact.
  Tensor unpack(const std::string& name) const;

 private:
  PackedWeight() = default;
  // Of device.packed; null: it has none such.
  static std::shared_ptr<PackedWeight> find_packed(Device& device, PackedView view, const std::vector<Part>& parts);
  Device* device_ = nullptr;
  PackedView view_;
  int64_t bytes_ = 0;
  std::vector<Part> parts_;
  std::shared_ptr<const void> owner_;  // of bytes that are not its own
};

// Weights that were packed beforehand. While a model is made ready it hangs from its device.
class PackedStore {
 public:
  virtual ~PackedStore() = default;
  // The bytes of a weight of this shape (its data is not looked at) and these parts: 64-byte aligned, kept by what is returned.
  // Null: it is packed.
  virtual std::shared_ptr<const void> find(const std::vector<PackedPart>& parts, const PackedView& shape) = 0;
  virtual void made(const std::shared_ptr<const PackedWeight>& weight) = 0;  // it was packed
};

}  // namespace pagoda
