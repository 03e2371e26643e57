// Memory for packed weights comes straight from the system: zeroed, in huge pages where the kernel gives them.
#include "ops/packed_weight.h"

#include <sys/mman.h>

#include "base/checked.h"
#include "base/error.h"

namespace pagoda {

std::shared_ptr<PackedWeight> PackedWeight::find_packed(Device& device, PackedView view, const std::vector<Part>& parts) {
  if (device.packed == nullptr) return nullptr;
  std::shared_ptr<const void> owner = device.packed->find(parts, view);
  if (owner == nullptr) return nullptr;
  std::shared_ptr<PackedWeight> packed(new PackedWeight);
  view.data = owner.get();
  packed->device_ = &device;
  packed->view_ = view;
  packed->bytes_ = packed_bytes(view.format, view.n, view.k);
  packed->parts_ = parts;
  packed->owner_ = std::move(owner);
  return packed;
}

std::shared_ptr<PackedWeight> PackedWeight::pack(Device& device, WeightFormat format,
                                                 const std::vector<std::pair<std::string, Tensor>>& parts) {
  if (parts.empty()) invalid("pack", "no parameter to pack");
  const int64_t k = parts[0].second.dim(1);
  int64_t n = 0;
  std::shared_ptr<PackedWeight> packed(new PackedWeight);
  for (const auto& [name, tensor] : parts) {
    if (tensor.rank() != 2 || tensor.dim(1) != k) {
      invalid("pack", "{} does not fit its neighbours: got {}, need [*, {}]", name, shape_string(tensor.view()), k);
    }
    if (tensor.dtype() != DType::kFloat32 && tensor.dtype() != DType::kBFloat16 && tensor.dtype() != DType::kFloat16) {
      unsupported("pack", "{}: got {}, need float32, bfloat16 or float16", name, dtype_name(tensor.dtype()));
    }
    packed->parts_.push_back({name, n, tensor.dim(0)});
    n = checked_add(n, tensor.dim(0), "pack");
  }
  if (std::shared_ptr<PackedWeight> found = find_packed(device, {nullptr, format, n, k}, packed->parts_)) return found;
  packed->device_ = &device;
  packed->bytes_ = packed_bytes(format, n, k);
  void* data = ::mmap(nullptr, static_cast<size_t>(packed->bytes_), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED)
    fail(ErrorKind::kOutOfMemory, "pack", "no memory for {}: need {} bytes", parts[0].first, packed->bytes_);
  ::madvise(data, static_cast<size_t>(packed->bytes_), MADV_HUGEPAGE);
  packed->view_ = {data, format, n, k};
  for (size_t i = 0; i < parts.size(); ++i) {
    device.kernels->pack(device.exec, parts[i].second.view(), packed->view_, packed->parts_[i].n_begin);
  }
  if (device.packed != nullptr) device.packed->made(packed);
  return packed;
}

PackedWeight::~PackedWeight() {
  if (view_.data != nullptr && owner_ == nullptr) ::munmap(const_cast<void*>(view_.data), static_cast<size_t>(bytes_));
}

Tensor PackedWeight::unpack(const std::string& name) const {
  for (const Part& part : parts_) {
    if (part.name != name) continue;
    const DType dtype = view_.format == WeightFormat::kBf16Pairs ? DType::kBFloat16 : DType::kFloat32;
    Tensor tensor = Tensor::empty(*device_, dtype, {part.rows, view_.k});
    device_->kernels->unpack(device_->exec, view_, part.n_begin, tensor.view());
    return tensor;
  }
  not_found("unpack", "no such part: got '{}'", name);
}

}  // namespace pagoda
