// A weight that takes part in products: one or more named parameters joined along their output rows, in kernel layouts.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/table.h"
#include "tensor/encoded.h"
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
  // A parameter [rows, k]: its elements (float32, bfloat16 or float16), or what it is in its file's coding.
  struct Source {
    std::string name;
    Tensor value;
    std::shared_ptr<const EncodedTensor> encoded;
    std::vector<int64_t> shape;  // of `encoded`
  };

  // Parts are [rows, k] tensors (float32, bfloat16 or float16) of equal k. kInvalidInput if they do not fit. What device.packed
  // has of them is taken from there, and their elements are not looked at.
  static std::shared_ptr<PackedWeight> pack(Device& device, WeightFormat format,
                                            const std::vector<std::pair<std::string, Tensor>>& parts);
  // For products in `compute` (float32 or bfloat16). A part whose coding has groups keeps its bits: in kInt8Rows where its
  // checkpoint wants activations in int8 and `compute` is bfloat16, else in kGroups. Others are decoded into `compute`'s own
  // format. Neighbours of one layout share a view: where layouts differ there are several.
  static std::shared_ptr<PackedWeight> pack(Device& device, DType compute, const std::vector<Source>& parts);
  PackedWeight(const PackedWeight&) = delete;
  PackedWeight& operator=(const PackedWeight&) = delete;

  const PackedView& view() const { return views_[0]; }  // of the only layout, or the first
  // Side by side along the outputs: view i begins where view i - 1 ends.
  const std::vector<PackedView>& views() const { return views_; }
  int64_t n() const { return n_; }
  int64_t k() const { return views_[0].k; }
  int64_t bytes() const { return bytes_; }
  const std::vector<Part>& parts() const { return parts_; }
  std::vector<Part> parts_of(size_t view) const;  // of one view, n_begin counted within it
  // The part as [rows, k] in the format's own element type (bfloat16 for kBf16Pairs, else float32): exact.
  Tensor unpack(const std::string& name) const;
  // What pack() makes of one part, without its data.
  static PackedView plan(const Source& part, DType compute);

 private:
  PackedWeight() = default;
  // Where the bytes of a layout for parts [begin, end) are to be packed; null: device.packed had them.
  void* allocate(PackedView view, size_t begin, size_t end);
  Device* device_ = nullptr;
  std::vector<PackedView> views_;
  int64_t n_ = 0, bytes_ = 0;
  std::vector<Part> parts_;
  std::vector<std::shared_ptr<const void>> owners_;  // of each view's bytes
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

// "bfloat16", "float32", "int4 in groups of 32", "int8 by row": what products read.
std::string format_name(const PackedView& view);

}  // namespace pagoda
