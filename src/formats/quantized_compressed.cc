// compressed-tensors: weights of 8 bits with scales (fp8 and fbgemm_fp8 have them too), and of 1 to 8 bits packed in words.
#include <algorithm>

#include "formats/quantized_parts.h"

namespace pagoda::quantized {

namespace {

// int8 or 8-bit floats with scales, and zeros where they are asymmetric.
class Scaled : public Integers {
 public:
  // int8_activations: what the configuration asks for.
  Scaled(TensorEntry weight, Grid grid, TensorEntry zero, std::string coding, bool int8_activations)
      : weight_(std::move(weight)),
        grid_(std::move(grid)),
        zero_(std::move(zero)),
        coding_(std::move(coding)),
        int8_activations_(int8_activations) {}
  bool int8_activations() const override {
    return int8_activations_ && grid_.bk >= weight_.shape[1] && groups() && !groups().has_minimum();
  }
  std::string coding() const override { return coding_; }
  void decode(int64_t begin, int64_t end, float* out) const override {
    const int64_t k = weight_.shape[1];
    for (int64_t n = begin; n < end; ++n) {
      for (int64_t first = 0; first < k; first += grid_.bk) {
        const float scale = grid_.at(n, first);
        const float zero = zero_.has_data() ? element(zero_, n / grid_.bn * grid_.columns + first / grid_.bk) : 0;
        for (int64_t i = first; i < std::min(first + grid_.bk, k); ++i) *out++ = (element(weight_, n * k + i) - zero) * scale;
      }
    }
  }

 protected:
  Runs runs() const override {
    if (weight_.dtype != DType::kInt8) return {};
    return {8, weight_.shape[0], weight_.shape[1], grid_.bk, zero_.has_data()};
  }
  float scale_at(int64_t n, int64_t k) const override { return grid_.at(n, k); }
  float zero_at(int64_t n, int64_t k) const override { return element(zero_, n / grid_.bn * grid_.columns + k / grid_.bk); }
  void read_codes(int64_t begin, int64_t end, int8_t* codes) const override {
    const int64_t k = weight_.shape[1];
    std::memcpy(codes, weight_.data() + begin * k, static_cast<size_t>((end - begin) * k));
  }

 private:
  TensorEntry weight_;
  Grid grid_;
  TensorEntry zero_;  // of the scale's shape, or none
  std::string coding_;
  bool int8_activations_;
};

// `bits` bits of a dense stream of little-endian words, from bit `at`.
uint32_t bits_at(const uint8_t* stream, int64_t at, int bits) {
  const uint8_t* byte = stream + at / 8;
  const int shift = static_cast<int>(at % 8);
  uint32_t value = byte[0];
  if (shift + bits > 8) value |= uint32_t{byte[1]} << 8;
  return value >> shift & ((1u << bits) - 1);
}

// compressed-tensors' pack-quantized: `bits` of each element, dense along K in int32 words (also 3, 5, 6 and 7 bits, where an
// element may lie in two words: its pack_to_int32 of version 0.20), offset to be unsigned.
struct PackedInt {
  TensorEntry packed, scale;
  TensorEntry zero;   // packed along N, or none
  TensorEntry group;  // weight_g_idx [K], or none: k / group_size
  int bits = 4;
  int64_t n = 0, k = 0, columns = 1, group_size = 1;  // columns: of scale

  // Element n of column g of the zeros, whose words run along N.
  int zero_code(int64_t row, int64_t g) const {
    const int64_t at = row * bits;
    uint64_t word = read<uint32_t>(zero, at / 32 * columns + g);
    if (at % 32 + bits > 32) word |= uint64_t{read<uint32_t>(zero, (at / 32 + 1) * columns + g)} << 32;
    return static_cast<int>(word >> (at % 32) & ((1u << bits) - 1));
  }
  bool has_zero_points() const {
    for (int64_t row = 0; zero.has_data() && row < n; ++row) {
      for (int64_t g = 0; g < columns; ++g) {
        if (zero_code(row, g) != 1 << (bits - 1)) return true;
      }
    }
    return false;
  }
};

class PackedIntRows : public Integers {
 public:
  explicit PackedIntRows(PackedInt parts) : p_(std::move(parts)) {}
  std::string coding() const override { return "pack-quantized int" + std::to_string(p_.bits); }
  void decode(int64_t begin, int64_t end, float* out) const override {
    const int64_t words = p_.packed.shape[1];
    const int offset = 1 << (p_.bits - 1);
    std::vector<float> scales(static_cast<size_t>(p_.columns)), zeros(scales.size(), 0.0f);
    for (int64_t n = begin; n < end; ++n) {
      for (int64_t g = 0; g < p_.columns; ++g) {
        scales[static_cast<size_t>(g)] = scale_value(p_.scale, n * p_.columns + g);
        if (p_.zero.has_data()) zeros[static_cast<size_t>(g)] = static_cast<float>(p_.zero_code(n, g) - offset);
      }
      const uint8_t* row = p_.packed.data() + n * words * 4;
      for (int64_t k = 0; k < p_.k; ++k) {
        const size_t g = static_cast<size_t>(p_.group.has_data() ? read<int32_t>(p_.group, k) : k / p_.group_size);
        const int code = static_cast<int>(bits_at(row, k * p_.bits, p_.bits)) - offset;
        *out++ = (static_cast<float>(code) - zeros[g]) * scales[g];
      }
    }
  }

 protected:
  Runs runs() const override {
    if (p_.group.has_data()) return {};
    return {p_.bits, p_.n, p_.k, p_.group_size, p_.zero.has_data()};
  }
  float scale_at(int64_t n, int64_t k) const override { return scale_value(p_.scale, n * p_.columns + k / p_.group_size); }
  float zero_at(int64_t n, int64_t k) const override {
    return static_cast<float>(p_.zero_code(n, k / p_.group_size) - (1 << (p_.bits - 1)));
  }
  void read_codes(int64_t begin, int64_t end, int8_t* codes) const override {
    const int offset = 1 << (p_.bits - 1);
    for (int64_t n = begin; n < end; ++n) {
      const uint8_t* row = p_.packed.data() + n * p_.packed.shape[1] * 4;
      for (int64_t k = 0; k < p_.k; ++k) {
        *codes++ = static_cast<int8_t>(static_cast<int>(bits_at(row, k * p_.bits, p_.bits)) - offset);
      }
    }
  }

 private:
  PackedInt p_;
};

// Whether a group of the configuration wants activations in int8 with a scale a token, found when they are met.
bool int8_activations(const Json& config, const std::string& where) {
  const Json* groups = config.find("config_groups");
  if (groups == nullptr || !groups->is_object()) return false;
  for (const JsonMember& group : groups->as_object(where)) {
    const Json* inputs = group.value.find("input_activations");
    if (inputs == nullptr || !inputs->is_object()) continue;
    const Json* dynamic = inputs->find("dynamic");
    if (inputs->get_int("num_bits", 8, where) == 8 && inputs->get_string("type", "int", where) == "int" &&
        inputs->get_string("strategy", "tensor", where) == "token" && inputs->get_bool("symmetric", true, where) &&
        dynamic != nullptr && dynamic->is_bool() && dynamic->as_bool(where)) {
      return true;
    }
  }
  return false;
}

// The num_bits that groups of the configuration have, each once; empty where it says none.
std::vector<int> bits_of_config(const Json& config, const std::string& where) {
  std::vector<int> all;
  const Json* groups = config.find("config_groups");
  if (groups == nullptr || !groups->is_object()) return all;
  for (const JsonMember& group : groups->as_object(where)) {
    const Json* weights = group.value.find("weights");
    if (weights == nullptr || !weights->is_object() || weights->find("num_bits") == nullptr) continue;
    const int64_t bits = weights->get_int("num_bits", 4, where);
    if (bits < 1 || bits > 8) unsupported(where, "num_bits: got {}, need 1 to 8", bits);
    if (std::find(all.begin(), all.end(), bits) == all.end()) all.push_back(static_cast<int>(bits));
  }
  return all;
}

// The bits in which [n, k] has so many words. Those of the configuration only: words that hold 32 / bits whole elements and
// padding, as older versions wrote 3, 5, 6 and 7 bits, could pass for dense ones of more bits (7 for 8).
int bits_of_words(const Parts& parts, const std::vector<int>& all, const TensorEntry& packed, int64_t k) {
  std::string names;
  for (const int bits : all) {
    if (div_up(k * bits, 32) == packed.shape[1]) return bits;
    names += (names.empty() ? "" : ", ") + std::to_string(bits);
  }
  parts.misfit(packed, fmt::format("words of [{}, {}] in {} bits, dense (words with padding are not supported: save the "
                                   "checkpoint anew with compressed-tensors 0.20)",
                                   packed.shape[0], k, names));
}

void add_packed(Parts& parts, const std::vector<int>& bits, const std::string& module) {
  const TensorEntry* found = parts.files().find(module + ".weight_packed");
  if (found->dtype == DType::kUInt8) {
    add_packed_mxfp4(parts, module);
    return;
  }
  PackedInt p;
  p.packed = parts.part(module + ".weight_packed", DType::kInt32, 2);
  p.scale = parts.part(module + ".weight_scale", true);
  const TensorEntry shape = parts.part(module + ".weight_shape", true);
  if ((shape.dtype != DType::kInt64 && shape.dtype != DType::kInt32) || shape.shape != std::vector<int64_t>{2})
    parts.misfit(shape, "[2] of int64");
  p.n = shape.dtype == DType::kInt64 ? read<int64_t>(shape, 0) : read<int32_t>(shape, 0);
  p.k = shape.dtype == DType::kInt64 ? read<int64_t>(shape, 1) : read<int32_t>(shape, 1);
  if (p.n != p.packed.shape[0] || p.k < 1 || p.k > int64_t{1} << 40)
    parts.misfit(p.packed, fmt::format("words of [{}, {}]", p.n, p.k));
  p.bits = bits_of_words(parts, bits, p.packed, p.k);
  Grid grid = parts.grid_of(p.scale, p.n, p.k);
  if (grid.bn != 1) parts.misfit(p.scale, fmt::format("[{}, groups]", p.n));
  p.columns = grid.columns;
  p.group_size = grid.bk;
  p.zero = parts.part(module + ".weight_zero_point", DType::kInt32, 2, false);
  if (p.zero.has_data() && p.zero.shape != std::vector<int64_t>{div_up(p.n * p.bits, 32), p.columns})
    parts.misfit(p.zero, fmt::format("[{}, {}]", div_up(p.n * p.bits, 32), p.columns));
  p.group = parts.groups_of(module + ".weight_g_idx", p.k, p.columns);
  parts.check_scheme(module, "packed", p.n, p.k, p.scale, parts.schemes().symmetric() && p.has_zero_points());
  const int64_t bytes = p.packed.bytes + p.scale.bytes + p.zero.bytes + p.group.bytes;
  parts.put(module + ".weight", {p.n, p.k}, bytes, std::make_shared<PackedIntRows>(std::move(p)));
}

}  // namespace

void add_scaled(Parts& parts, const std::string& suffix) {
  const bool codes_activations = int8_activations(parts.config(), parts.where());
  for (const std::string& module : parts.modules(suffix)) {
    const TensorEntry* found = parts.files().find(module + ".weight");
    if (found == nullptr) continue;  // packed: add_packed takes it
    const bool integer = found->dtype == DType::kInt8,
               floating = found->dtype == DType::kFloat8E4M3 || found->dtype == DType::kFloat8E5M2;
    if ((!integer && !floating) || found->shape.size() != 2) {
      unsupported(parts.where(), "{}: got {} {}, need a matrix of int8, float8_e4m3fn or float8_e5m2", found->name,
                  dtype_name(found->dtype), shape_text(found->shape));
    }
    const TensorEntry weight = parts.part(module + ".weight", true);
    const int64_t n = weight.shape[0], k = weight.shape[1];
    Grid grid = parts.grid_of(parts.part(module + suffix, true), n, k);
    const TensorEntry zero = parts.part(module + ".weight_zero_point", false);
    if (zero.has_data() && zero.shape != grid.scale.shape) parts.misfit(zero, shape_text(grid.scale.shape));
    if (zero.has_data() && !is_element(zero.dtype))
      unsupported(parts.where(), "{}: got {}, need int8 or the dtype of the weight or its scale", zero.name,
                  dtype_name(zero.dtype));
    bool zero_points = false;
    for (int64_t i = 0; parts.schemes().symmetric() && zero.has_data() && i < element_count(zero); ++i)
      zero_points = zero_points || element(zero, i) != 0;
    parts.check_scheme(module, integer ? "int8" : "float8", n, k, grid.scale, zero_points);
    parts.use(module + ".input_scale");
    parts.use(module + ".input_zero_point");
    const int64_t bytes = weight.bytes + grid.scale.bytes + zero.bytes;
    parts.put(module + ".weight", weight.shape, bytes,
              std::make_shared<Scaled>(weight, std::move(grid), zero, integer ? "int8" : dtype_name(weight.dtype),
                                       integer && codes_activations));
  }
}

void add_compressed_tensors(Parts& parts) {
  add_scaled(parts, ".weight_scale");
  const std::vector<std::string> packed = parts.modules(".weight_packed");
  if (packed.empty()) return;
  std::vector<int> bits = bits_of_config(parts.config(), parts.where());
  if (bits.empty()) bits = {4, 1, 2, 3, 5, 6, 7, 8};
  for (const std::string& module : packed) add_packed(parts, bits, module);
}

}  // namespace pagoda::quantized
