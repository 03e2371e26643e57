// Packs parameters into the layouts of the kernels, or finds them packed beforehand.
#include "ops/packed_weight.h"

#include <algorithm>

#include "base/checked.h"
#include "base/error.h"
#include "tensor/weight_memory.h"

namespace pagoda {
namespace {

constexpr int64_t kPanel = 16;  // rows of which one thread packs all at a time

struct Layout {
  WeightFormat format;
  GroupCoding groups;
  bool operator==(const Layout& other) const { return format == other.format && groups == other.groups; }
};

// Codes where kernels compute from them and rows of k inputs are whole groups.
Layout layout_of(const PackedWeight::Source& source, DType compute) {
  const Layout plain{compute == DType::kBFloat16 ? WeightFormat::kBf16Pairs : WeightFormat::kFloat32Panels, {}};
  if (!source.encoded) return plain;
  const GroupCoding coding = source.encoded->groups();
  if (!coding) return plain;
  const int64_t step = coding.has_super() ? kSuperBlock : coding.size, k = source.shape[1];
  if (k == 0 || k % step != 0) return plain;
  // Sums of more inputs could leave 32 bits.
  constexpr int64_t kMostInt8Inputs = 1 << 17;
  if (compute == DType::kBFloat16 && k <= kMostInt8Inputs && source.encoded->int8_activations()) {
    return {WeightFormat::kInt8Rows, {}};
  }
  return {WeightFormat::kGroups, coding};
}

void pack_encoded(const Exec& exec, const EncodedTensor& encoded, int64_t rows, const PackedView& into, int64_t n_begin) {
  const int64_t first = n_begin / kPanel, end = n_begin + rows;
  exec.pool->parallel_for(div_up(end, kPanel) - first, 1, [&](int64_t panel_begin, int64_t panel_end, int) {
    for (int64_t panel = first + panel_begin; panel < first + panel_end; ++panel) {
      const int64_t from = std::max(panel * kPanel, n_begin), to = std::min((panel + 1) * kPanel, end);
      GroupRows some(encoded.groups(), to - from, into.k);
      encoded.read_groups(from - n_begin, some);
      pack_groups(some, into, from);
    }
  });
}

}  // namespace

std::vector<PackedWeight::Part> PackedWeight::parts_of(size_t view) const {
  int64_t begin = 0;
  for (size_t i = 0; i < view; ++i) begin += views_[i].n;
  std::vector<Part> parts;
  for (const Part& part : parts_) {
    if (part.n_begin >= begin && part.n_begin < begin + views_[view].n)
      parts.push_back({part.name, part.n_begin - begin, part.rows});
  }
  return parts;
}

void* PackedWeight::allocate(PackedView view, size_t begin, size_t end) {
  const int64_t bytes = packed_bytes(view);
  std::shared_ptr<const void> owner;
  if (device_->packed != nullptr) {
    std::vector<Part> parts;
    for (size_t i = begin; i < end; ++i)
      parts.push_back({parts_[i].name, parts_[i].n_begin - parts_[begin].n_begin, parts_[i].rows});
    owner = device_->packed->find(parts, view);
  }
  void* data = nullptr;
  if (owner == nullptr) {
    const std::shared_ptr<void> memory = device_->weights->allocate(bytes, parts_[0].name);
    data = memory.get();
    owner = memory;
  }
  view.data = owner.get();
  owners_.push_back(std::move(owner));
  views_.push_back(view);
  n_ += view.n;
  bytes_ += bytes;
  return data;
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
  packed->device_ = &device;
  if (packed->allocate({nullptr, format, n, k, {}}, 0, parts.size()) == nullptr) return packed;
  for (size_t i = 0; i < parts.size(); ++i) {
    device.kernels->pack(device.exec, parts[i].second.view(), packed->views_[0], packed->parts_[i].n_begin);
  }
  if (device.packed != nullptr) device.packed->made(packed);
  return packed;
}

std::shared_ptr<PackedWeight> PackedWeight::pack(Device& device, DType compute, const std::vector<Source>& parts) {
  if (parts.empty()) invalid("pack", "no parameter to pack");
  std::shared_ptr<PackedWeight> packed(new PackedWeight);
  packed->device_ = &device;
  const auto shape = [](const Source& part) { return part.encoded ? part.shape : part.value.dims(); };
  const int64_t k = shape(parts[0]).at(1);
  for (const Source& part : parts) {
    const std::vector<int64_t> dims = shape(part);
    if (dims.size() != 2 || dims[1] != k) invalid("pack", "{} does not fit its neighbours: need [*, {}]", part.name, k);
    packed->parts_.push_back(
        {part.name, packed->parts_.empty() ? 0 : packed->parts_.back().n_begin + packed->parts_.back().rows, dims[0]});
  }
  bool made = false;
  for (size_t begin = 0; begin < parts.size();) {
    const Layout layout = layout_of(parts[begin], compute);
    const bool codes = layout.format == WeightFormat::kGroups || layout.format == WeightFormat::kInt8Rows;
    size_t end = begin;
    int64_t n = 0;
    for (; end < parts.size() && layout_of(parts[end], compute) == layout; ++end) {
      n = checked_add(n, packed->parts_[end].rows, "pack");
    }
    if (packed->allocate({nullptr, layout.format, n, k, layout.groups}, begin, end) == nullptr) {
      begin = end;
      continue;
    }
    made = true;
    const PackedView view = packed->views_.back();
    for (int64_t at = 0; begin < end; at += packed->parts_[begin++].rows) {
      const Source& part = parts[begin];
      if (codes) {
        pack_encoded(device.exec, *part.encoded, packed->parts_[begin].rows, view, at);
      } else {
        const Tensor value = part.encoded ? decode(device, *part.encoded, part.shape, compute) : part.value;
        device.kernels->pack(device.exec, value.view(), view, at);
      }
    }
  }
  if (made && device.packed != nullptr) device.packed->made(packed);
  return packed;
}

Tensor PackedWeight::unpack(const std::string& name) const {
  for (const Part& part : parts_) {
    if (part.name != name) continue;
    int64_t begin = part.n_begin;
    size_t i = 0;
    while (begin >= views_[i].n && i + 1 < views_.size()) begin -= views_[i++].n;
    const PackedView& view = views_[i];
    const DType dtype = view.format == WeightFormat::kBf16Pairs ? DType::kBFloat16 : DType::kFloat32;
    Tensor tensor = Tensor::empty(*device_, dtype, {part.rows, view.k});
    device_->kernels->unpack(device_->exec, view, begin, tensor.view());
    return tensor;
  }
  not_found("unpack", "no such part: got '{}'", name);
}

PackedView PackedWeight::plan(const Source& part, DType compute) {
  const Layout layout = layout_of(part, compute);
  const std::vector<int64_t> shape = part.encoded ? part.shape : part.value.dims();
  return {nullptr, layout.format, shape.at(0), shape.at(1), layout.groups};
}

std::string format_name(const PackedView& view) {
  switch (view.format) {
    case WeightFormat::kFloat32Panels: return "float32";
    case WeightFormat::kBf16Pairs: return "bfloat16";
    case WeightFormat::kGroups:
      return "int" + std::to_string(view.groups.bits) + " in groups of " + std::to_string(view.groups.size);
    case WeightFormat::kInt8Rows: return "int8 by row";
  }
  return "";
}

}  // namespace pagoda
