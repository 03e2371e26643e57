// A weight that takes part in products: one or more named parameters joined along their output rows, in a kernel layout.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/table.h"
#include "tensor/tensor.h"

namespace pagoda {

class PackedWeight {
 public:
  struct Part {
    std::string name;  // state-dict name
    int64_t n_begin = 0, rows = 0;
  };

  // Parts are [rows, k] tensors (float32, bfloat16 or float16) of equal k. kInvalidInput if they do not fit.
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
  Device* device_ = nullptr;
  PackedView view_;
  int64_t bytes_ = 0;
  std::vector<Part> parts_;
};

}  // namespace pagoda
