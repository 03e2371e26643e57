// Elements, groups and scales of quantised weights, and the names that belong together.
#include "formats/quantized_parts.h"

#include <algorithm>

namespace pagoda::quantized {

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

GroupCoding Integers::groups() const {
  std::call_once(once_, [this] { groups_ = find_groups(); });
  return groups_;
}

void Integers::read_groups(int64_t begin, GroupRows& rows) const {
  const int64_t size = rows.coding.size, count = rows.k / size;
  read_codes(begin, begin + rows.rows, rows.codes.data());
  for (int64_t r = 0; r < rows.rows; ++r) {
    for (int64_t g = 0; g < count; ++g) {
      const auto at = static_cast<size_t>(r * count + g);
      const float scale = scale_at(begin + r, g * size);
      rows.scales[at] = scale;
      if (!rows.coding.has_minimum()) continue;
      const float zero = zero_at(begin + r, g * size);
      if (rows.coding.scale == GroupScale::kHalfZero) {
        rows.small_minima[at] = static_cast<uint8_t>(static_cast<int8_t>(zero));
      } else {
        rows.minima[at] = -(scale * zero);
      }
    }
  }
}

GroupCoding Integers::find_groups() const {
  const Runs r = runs();
  if (r.bits == 0 || r.k == 0) return {};
  GroupCoding coding;
  for (const int64_t size : {128, 64, 32, 16}) {
    if (r.k % size != 0 || (r.run < r.k && r.run % size != 0)) continue;
    coding.size = size;
    break;
  }
  if (coding.size == 0) return {};
  coding.bits = r.bits <= 4 ? 4 : 8;
  coding.offset = coding.bits == 4 ? 8 : 0;
  // float16 where that loses nothing.
  bool halves = true, zeros = false, small = true;
  for (int64_t n = 0; n < r.n; ++n) {
    for (int64_t k = 0; k < r.k; k += std::min(r.run, r.k)) {
      const float scale = scale_at(n, k);
      halves = halves && float16_to_float(float_to_float16(scale)) == scale;
      if (!r.zeros) continue;
      const float zero = zero_at(n, k);
      zeros = zeros || zero != 0;
      small = small && zero >= -128 && zero <= 127 && std::floor(zero) == zero;
    }
  }
  if (!zeros) {
    coding.scale = halves ? GroupScale::kHalf : GroupScale::kFloat;
  } else {
    coding.scale = halves && small ? GroupScale::kHalfZero : GroupScale::kFloatMin;
  }
  return coding;
}

std::vector<std::string> Parts::modules(const std::string& suffix) const {
  std::set<std::string> modules;
  for (const std::string& name : files_->names()) {
    if (name.size() > suffix.size() && name.compare(name.size() - suffix.size(), suffix.size(), suffix) == 0)
      modules.insert(name.substr(0, name.size() - suffix.size()));
  }
  return {modules.begin(), modules.end()};
}

TensorEntry Parts::part(const std::string& name, bool required) {
  const TensorEntry* entry = files_->find(name);
  if (entry == nullptr) {
    if (required) invalid(where_, "tensor missing: need '{}'", name);
    return {};
  }
  if (entry->encoded) unsupported(where_, "{}: got {}, need elements that are not packed", name, entry->encoded->coding());
  used_.insert(name);
  return *entry;
}

TensorEntry Parts::part(const std::string& name, DType dtype, size_t rank, bool required) {
  TensorEntry entry = part(name, required);
  if (entry.has_data() && (entry.dtype != dtype || entry.shape.size() != rank)) {
    unsupported(where_, "{}: got {} {}, need {} of {} dimensions", name, dtype_name(entry.dtype), shape_text(entry.shape),
                dtype_name(dtype), rank);
  }
  return entry;
}

TensorEntry Parts::groups_of(const std::string& name, int64_t k, int64_t groups) {
  TensorEntry entry = part(name, DType::kInt32, 1, false);
  if (!entry.has_data()) return entry;
  if (entry.shape[0] != k) misfit(entry, fmt::format("[{}]", k));
  for (int64_t i = 0; i < k; ++i) {
    const int32_t group = read<int32_t>(entry, i);
    if (group < 0 || group >= groups) invalid(where_, "{}: got group {}, need 0 to {}", name, group, groups - 1);
  }
  return entry;
}

// Rows and columns of the blocks of a scale by blocks, where the configuration names them.
std::pair<int64_t, int64_t> Parts::read_block() const {
  const Json* block = config_.find("weight_block_size");
  if (const Json* groups = config_.find("config_groups"); block == nullptr && groups != nullptr && groups->is_object()) {
    for (const JsonMember& group : groups->as_object(where_)) {
      const Json* weights = group.value.find("weights");
      if (weights != nullptr && weights->find("block_structure") != nullptr) block = weights->find("block_structure");
    }
  }
  if (block == nullptr || block->is_null()) return {0, 0};
  const Json::Array& sizes = block->as_array(where_ + ": block size");
  if (sizes.size() != 2) invalid(where_, "block size: got {} numbers, need 2", sizes.size());
  const int64_t bn = sizes[0].as_int(where_), bk = sizes[1].as_int(where_);
  if (bn < 1 || bk < 1 || bn > kMostBlock || bk > kMostBlock)
    invalid(where_, "block size: got {} x {}, need 1 to {}", bn, bk, kMostBlock);
  return {bn, bk};
}

Grid Parts::grid_of(TensorEntry scale, int64_t n, int64_t k) const {
  if (!is_scale(scale.dtype))
    unsupported(where_, "{}: got {}, need float32, bfloat16, float16 or float8_e8m0fnu", scale.name, dtype_name(scale.dtype));
  const std::vector<int64_t>& shape = scale.shape;
  const int64_t rows = shape.empty() ? 1 : shape[0], columns = shape.size() < 2 ? 1 : shape[1];
  if (shape.size() > 2) misfit(scale, "at most 2 dimensions");
  Grid grid;
  grid.columns = columns;
  if (!block_) block_ = read_block();
  const auto [bn, bk] = *block_;
  // fp8's configuration names blocks or nothing; that of compressed-tensors is held against the file by its schemes.
  if (bn > 0 && config_.find("weight_block_size") != nullptr && (rows != div_up(n, bn) || columns != div_up(k, bk)))
    misfit(scale, fmt::format("[{}, {}] by weight_block_size", div_up(n, bn), div_up(k, bk)));
  if (rows == 1 && columns == 1) {
    grid.bn = n;
    grid.bk = k;
  } else if (bn > 0 && shape.size() == 2 && rows == div_up(n, bn) && columns == div_up(k, bk)) {
    grid.bn = bn;
    grid.bk = bk;
  } else if (rows == n && columns >= 1) {
    grid.bk = schemes_.columns_of_group(k, columns);
    if (grid.bk == 0) misfit(scale, fmt::format("groups of [{}, {}] of one size, or group_size in the configuration", n, k));
  } else {
    misfit(scale, fmt::format("a scale for each of [{}, {}]'s tensor, rows, groups or blocks", n, k));
  }
  grid.scale = std::move(scale);
  return grid;
}

void Parts::check_scheme(const std::string& module, const char* storage, int64_t n, int64_t k, const TensorEntry& scale,
                         bool zero_points) const {
  QuantizedWeightFacts facts{module + ".weight", storage, n, k, 1, 1};
  if (!scale.shape.empty()) facts.scale_rows = scale.shape[0];
  if (scale.shape.size() > 1) facts.scale_columns = scale.shape[1];
  schemes_.check(facts);
  if (zero_points && schemes_.symmetric())
    invalid(where_, "{} is not what the configuration says: symmetric, but it has zero points", facts.tensor);
}

void Parts::misfit(const TensorEntry& entry, const std::string& need) const {
  invalid(where_, "{}: got shape {}, need {}", entry.name, shape_text(entry.shape), need);
}

void Parts::put(const std::string& name, std::vector<int64_t> shape, int64_t bytes,
                std::shared_ptr<const EncodedTensor> encoded) {
  TensorEntry entry;
  entry.name = name;
  entry.shape = std::move(shape);
  entry.bytes = bytes;
  entry.encoded = std::move(encoded);
  weights_.emplace(name, std::move(entry));
}

}  // namespace pagoda::quantized
