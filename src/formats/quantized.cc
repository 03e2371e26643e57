// Which tensors of a checkpoint belong together, what each method means by them, and their decoding.
#include "formats/quantized.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <mutex>
#include <set>

#include "base/checked.h"
#include "base/error.h"
#include "formats/quantized_scheme.h"

namespace pagoda {

namespace {

template <class T>
T read(const TensorEntry& entry, int64_t index) {
  T value;
  std::memcpy(&value, entry.data + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

// Sign, 4 bits of exponent, 3 of mantissa, no infinities (OCP 8-bit floating point, E4M3).
float float8_e4m3(uint8_t bits) {
  const int exponent = bits >> 3 & 15, mantissa = bits & 7;
  float value = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                              : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  if (exponent == 15 && mantissa == 7) value = bits_to_float(0x7FC00000);
  return bits & 0x80 ? -value : value;
}

// The upper half of a float16.
float float8_e5m2(uint8_t bits) { return float16_to_float(static_cast<uint16_t>(bits << 8)); }

float element(const TensorEntry& entry, int64_t index) {
  switch (entry.dtype) {
    case DType::kFloat32: return read<float>(entry, index);
    case DType::kFloat16: return float16_to_float(read<uint16_t>(entry, index));
    case DType::kBFloat16: return bits_to_float(uint32_t{read<uint16_t>(entry, index)} << 16);
    case DType::kInt8: return static_cast<float>(read<int8_t>(entry, index));
    case DType::kUInt8: return static_cast<float>(read<uint8_t>(entry, index));
    case DType::kInt32: return static_cast<float>(read<int32_t>(entry, index));
    case DType::kFloat8E4M3: return float8_e4m3(entry.data[index]);
    case DType::kFloat8E5M2: return float8_e5m2(entry.data[index]);
    default: return 0;
  }
}

// What element() reads.
bool is_element(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
    case DType::kFloat16:
    case DType::kBFloat16:
    case DType::kInt8:
    case DType::kUInt8:
    case DType::kInt32:
    case DType::kFloat8E4M3:
    case DType::kFloat8E5M2: return true;
    default: return false;
  }
}

bool is_scale(DType dtype) { return dtype == DType::kFloat32 || dtype == DType::kFloat16 || dtype == DType::kBFloat16; }

// `bits` bits of a dense stream of little-endian words, from bit `at`.
uint32_t bits_at(const uint8_t* stream, int64_t at, int bits) {
  const uint8_t* byte = stream + at / 8;
  const int shift = static_cast<int>(at % 8);
  uint32_t value = byte[0];
  if (shift + bits > 8) value |= uint32_t{byte[1]} << 8;
  return value >> shift & ((1u << bits) - 1);
}

int64_t element_count(const TensorEntry& entry) {
  int64_t count = 1;
  for (const int64_t dim : entry.shape) count *= dim;
  return count;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

// A scale (and a zero) for each block of bn x bk elements of [N, K].
struct Grid {
  TensorEntry scale;  // [N / bn, K / bk], rounded up
  int64_t bn = 1, bk = 1, columns = 1;
  float at(int64_t n, int64_t k) const { return element(scale, n / bn * columns + k / bk); }
};

// Integers whose scales (and zeros) are each for a run of inputs: what kernels need to know of them. Element (n, k) is
// (code - zero) * scale, codes and zeros signed.
class Integers : public EncodedTensor {
 public:
  GroupCoding groups() const final {
    std::call_once(once_, [this] { groups_ = find_groups(); });
    return groups_;
  }
  void read_groups(int64_t begin, GroupRows& rows) const final {
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

 protected:
  struct Runs {
    int bits = 0;  // of a code; 0: no integers, or no runs
    int64_t n = 0, k = 0, run = 0;
    bool zeros = false;
  };
  virtual Runs runs() const = 0;
  virtual float scale_at(int64_t n, int64_t k) const = 0;
  virtual float zero_at(int64_t n, int64_t k) const = 0;
  virtual void read_codes(int64_t begin, int64_t end, int8_t* codes) const = 0;  // [rows, k]

 private:
  GroupCoding find_groups() const {
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
  mutable std::once_flag once_;
  mutable GroupCoding groups_;
};

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
        const float zero = zero_.data == nullptr ? 0 : element(zero_, n / grid_.bn * grid_.columns + first / grid_.bk);
        for (int64_t i = first; i < std::min(first + grid_.bk, k); ++i) *out++ = (element(weight_, n * k + i) - zero) * scale;
      }
    }
  }

 protected:
  Runs runs() const override {
    if (weight_.dtype != DType::kInt8) return {};
    return {8, weight_.shape[0], weight_.shape[1], grid_.bk, zero_.data != nullptr};
  }
  float scale_at(int64_t n, int64_t k) const override { return grid_.at(n, k); }
  float zero_at(int64_t n, int64_t k) const override { return element(zero_, n / grid_.bn * grid_.columns + k / grid_.bk); }
  void read_codes(int64_t begin, int64_t end, int8_t* codes) const override {
    const int64_t k = weight_.shape[1];
    std::memcpy(codes, weight_.data + begin * k, static_cast<size_t>((end - begin) * k));
  }

 private:
  TensorEntry weight_;
  Grid grid_;
  TensorEntry zero_;  // of the scale's shape; data null: none
  std::string coding_;
  bool int8_activations_;
};

// compressed-tensors' pack-quantized: `bits` of each element, dense along K in int32 words (also 3, 5, 6 and 7 bits, where an
// element may lie in two words: its pack_to_int32 of version 0.20), offset to be unsigned.
struct PackedInt {
  TensorEntry packed, scale;
  TensorEntry zero;   // packed along N; data null: none
  TensorEntry group;  // weight_g_idx [K]; data null: k / group_size
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
    for (int64_t row = 0; zero.data != nullptr && row < n; ++row) {
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
        scales[static_cast<size_t>(g)] = element(p_.scale, n * p_.columns + g);
        if (p_.zero.data != nullptr) zeros[static_cast<size_t>(g)] = static_cast<float>(p_.zero_code(n, g) - offset);
      }
      const uint8_t* row = p_.packed.data + n * words * 4;
      for (int64_t k = 0; k < p_.k; ++k) {
        const size_t g = static_cast<size_t>(p_.group.data == nullptr ? k / p_.group_size : read<int32_t>(p_.group, k));
        const int code = static_cast<int>(bits_at(row, k * p_.bits, p_.bits)) - offset;
        *out++ = (static_cast<float>(code) - zeros[g]) * scales[g];
      }
    }
  }

 protected:
  Runs runs() const override {
    if (p_.group.data != nullptr) return {};
    return {p_.bits, p_.n, p_.k, p_.group_size, p_.zero.data != nullptr};
  }
  float scale_at(int64_t n, int64_t k) const override { return element(p_.scale, n * p_.columns + k / p_.group_size); }
  float zero_at(int64_t n, int64_t k) const override {
    return static_cast<float>(p_.zero_code(n, k / p_.group_size) - (1 << (p_.bits - 1)));
  }
  void read_codes(int64_t begin, int64_t end, int8_t* codes) const override {
    const int offset = 1 << (p_.bits - 1);
    for (int64_t n = begin; n < end; ++n) {
      const uint8_t* row = p_.packed.data + n * p_.packed.shape[1] * 4;
      for (int64_t k = 0; k < p_.k; ++k) {
        *codes++ = static_cast<int8_t>(static_cast<int>(bits_at(row, k * p_.bits, p_.bits)) - offset);
      }
    }
  }

 private:
  PackedInt p_;
};

// GPTQ and AWQ: words along K (GPTQ) or along N (AWQ) of qweight, along N of qzeros; scales [groups, N].
struct Transposed {
  TensorEntry qweight, qzeros, scales;
  TensorEntry group;  // g_idx [K]; data null: k / group_size
  int bits = 4, zero_offset = 0;
  bool along_k = true;
  int64_t n = 0, k = 0, group_size = 1;
};

class TransposedInt : public Integers {
 public:
  explicit TransposedInt(Transposed parts) : p_(std::move(parts)) {}
  std::string coding() const override { return (p_.along_k ? "gptq int" : "awq int") + std::to_string(p_.bits); }
  void decode(int64_t begin, int64_t end, float* out) const override {
    const int64_t per_word = 32 / p_.bits, columns = end - begin;
    std::vector<float> scales(static_cast<size_t>(columns));
    std::vector<int> zeros(scales.size());
    int64_t known = -1;
    for (int64_t k = 0; k < p_.k; ++k) {
      const int64_t g = p_.group.data == nullptr ? k / p_.group_size : read<int32_t>(p_.group, k);
      if (g != known) {
        for (int64_t i = 0; i < columns; ++i) {
          scales[static_cast<size_t>(i)] = element(p_.scales, g * p_.n + begin + i);
          zeros[static_cast<size_t>(i)] = along_n(p_.qzeros, g, begin + i) + p_.zero_offset;
        }
        known = g;
      }
      for (int64_t i = 0; i < columns; ++i) {
        const int64_t n = begin + i;
        const int code =
            p_.along_k
                ? static_cast<int>(read<uint32_t>(p_.qweight, k / per_word * p_.n + n) >> (k % per_word * p_.bits) & mask())
                : along_n(p_.qweight, k, n);
        out[i * p_.k + k] = static_cast<float>(code - zeros[static_cast<size_t>(i)]) * scales[static_cast<size_t>(i)];
      }
    }
  }

 protected:
  Runs runs() const override {
    // An index that says what the group's size says is none.
    for (int64_t k = 0; p_.group.data != nullptr && k < p_.k; ++k) {
      if (read<int32_t>(p_.group, k) != k / p_.group_size) return {};
    }
    return {p_.bits, p_.n, p_.k, p_.group_size, true};
  }
  float scale_at(int64_t n, int64_t k) const override { return element(p_.scales, k / p_.group_size * p_.n + n); }
  float zero_at(int64_t n, int64_t k) const override {
    return static_cast<float>(along_n(p_.qzeros, k / p_.group_size, n) + p_.zero_offset - (1 << (p_.bits - 1)));
  }
  void read_codes(int64_t begin, int64_t end, int8_t* codes) const override {
    const int64_t per_word = 32 / p_.bits;
    for (int64_t k = 0; k < p_.k; ++k) {
      for (int64_t n = begin; n < end; ++n) {
        const int code =
            p_.along_k
                ? static_cast<int>(read<uint32_t>(p_.qweight, k / per_word * p_.n + n) >> (k % per_word * p_.bits) & mask())
                : along_n(p_.qweight, k, n);
        codes[(n - begin) * p_.k + k] = static_cast<int8_t>(code - (1 << (p_.bits - 1)));
      }
    }
  }

 private:
  uint32_t mask() const { return (1u << p_.bits) - 1; }
  int along_n(const TensorEntry& words, int64_t row, int64_t n) const {
    static constexpr int kAwqOrder[] = {0, 4, 1, 5, 2, 6, 3, 7};  // where AWQ puts column n % 8 in its word
    const int64_t per_word = 32 / p_.bits;
    const int64_t place = p_.along_k ? n % per_word : kAwqOrder[n % 8];
    return static_cast<int>(read<uint32_t>(words, row * (p_.n / per_word) + n / per_word) >> (place * p_.bits) & mask());
  }
  Transposed p_;
};

// MXFP4: two E2M1 values a byte, a power of two (E8M0) for 32 of them (OCP Microscaling formats).
class Mxfp4 : public EncodedTensor {
 public:
  // blocks: [N, K / 2] bytes in whatever shape; scales [N, K / 32].
  Mxfp4(TensorEntry blocks, TensorEntry scales, int64_t k) : blocks_(std::move(blocks)), scales_(std::move(scales)), k_(k) {}
  std::string coding() const override { return "mxfp4"; }
  void decode(int64_t begin, int64_t end, float* out) const override {
    static constexpr float kValues[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
    for (int64_t n = begin; n < end; ++n) {
      for (int64_t group = 0; group < k_ / 32; ++group) {
        const uint8_t exponent = scales_.data[n * (k_ / 32) + group];
        const float scale = exponent == 255 ? bits_to_float(0x7FC00000) : std::ldexp(1.0f, exponent - 127);
        const uint8_t* bytes = blocks_.data + (n * k_ + group * 32) / 2;
        for (int i = 0; i < 16; ++i) {
          *out++ = kValues[bytes[i] & 15] * scale;
          *out++ = kValues[bytes[i] >> 4] * scale;
        }
      }
    }
  }

 private:
  TensorEntry blocks_, scales_;
  int64_t k_;
};

// More than any dimension; sums with a dimension do not overflow.
constexpr int64_t kMostBlock = int64_t{1} << 40;

class QuantizedSource : public WeightSource {
 public:
  QuantizedSource(std::shared_ptr<WeightSource> files, const Json& config, const std::string& where)
      : files_(std::move(files)), config_(config), where_(where + ": quantization_config"), schemes_(config, where_) {
    const std::string method = config.get_string("quant_method", "compressed-tensors", where_);
    const auto all = files_->names();
    const std::set<std::string> names(all.begin(), all.end());
    void (QuantizedSource::*add)(const std::string&) = nullptr;
    const char* mark = "";
    if (method == "compressed-tensors") {
      add_scaled(names, ".weight_scale");
      add = &QuantizedSource::add_packed;
      mark = ".weight_packed";
    } else if (method == "gptq") {
      add = &QuantizedSource::add_gptq;
      mark = ".qweight";
    } else if (method == "awq") {
      const std::string version = config.get_string("version", "gemm", where_);
      if (version != "gemm" && version != "GEMM") unsupported(where_, "awq version: got '{}', need gemm", version);
      add = &QuantizedSource::add_awq;
      mark = ".qweight";
    } else if (method == "fp8") {
      add_scaled(names, ".weight_scale_inv");
    } else if (method == "fbgemm_fp8") {
      add_scaled(names, ".weight_scale");
    } else if (method == "mxfp4") {
      add = &QuantizedSource::add_mxfp4;
      mark = "_blocks";
    } else {
      unsupported(where_, "quant_method: got '{}', need awq, compressed-tensors, fbgemm_fp8, fp8, gptq or mxfp4",
                  method.substr(0, 64));
    }
    const std::string_view end = mark;
    for (const std::string& name : names) {
      if (add != nullptr && name.size() > end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0) {
        (this->*add)(name.substr(0, name.size() - end.size()));
      }
    }
  }

  const TensorEntry* find(const std::string& name) const override {
    const auto it = entries_.find(name);
    if (it != entries_.end()) return &it->second;
    return used_.count(name) == 0 ? files_->find(name) : nullptr;
  }
  std::vector<std::string> names() const override {
    std::vector<std::string> all;
    for (const auto& [name, entry] : entries_) all.push_back(name);
    for (const std::string& name : files_->names()) {
      if (used_.count(name) == 0) all.push_back(name);
    }
    std::sort(all.begin(), all.end());
    return all;
  }
  void drop_pages() const override { files_->drop_pages(); }

 private:
  // A tensor that belongs to a quantised weight; it no longer shows by itself. Empty where it is optional and missing.
  TensorEntry part(const std::string& name, bool required) {
    const TensorEntry* entry = files_->find(name);
    if (entry == nullptr) {
      if (required) invalid(where_, "tensor missing: need '{}'", name);
      return {};
    }
    used_.insert(name);
    return *entry;
  }
  TensorEntry part(const std::string& name, DType dtype, size_t rank, bool required = true) {
    TensorEntry entry = part(name, required);
    if (entry.data != nullptr && (entry.dtype != dtype || entry.shape.size() != rank)) {
      unsupported(where_, "{}: got {} {}, need {} of {} dimensions", name, dtype_name(entry.dtype), shape_text(entry.shape),
                  dtype_name(dtype), rank);
    }
    return entry;
  }
  // Of a tensor, rows or groups, as a scale of [rows, columns] has them.
  void check_scheme(const std::string& module, const char* storage, int64_t n, int64_t k, const TensorEntry& scale,
                    bool zero_points) const {
    QuantizedWeightFacts facts{module + ".weight", storage, n, k, 1, 1};
    if (!scale.shape.empty()) facts.scale_rows = scale.shape[0];
    if (scale.shape.size() > 1) facts.scale_columns = scale.shape[1];
    schemes_.check(facts);
    if (zero_points && schemes_.symmetric())
      invalid(where_, "{} is not what the configuration says: symmetric, but it has zero points", facts.tensor);
  }
  [[noreturn]] void misfit(const TensorEntry& entry, const std::string& need) const {
    invalid(where_, "{}: got shape {}, need {}", entry.name, shape_text(entry.shape), need);
  }

  void put(const std::string& name, std::vector<int64_t> shape, int64_t bytes, std::shared_ptr<const EncodedTensor> encoded) {
    TensorEntry entry;
    entry.name = name;
    entry.shape = std::move(shape);
    entry.bytes = bytes;
    entry.encoded = std::move(encoded);
    entries_.emplace(name, std::move(entry));
  }

  // Rows and columns of the blocks of a scale by blocks, where the configuration names them.
  std::pair<int64_t, int64_t> block_of() const {
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

  // Which part of [n, k] each scale is for: all, rows, groups of columns, or blocks.
  Grid grid_of(TensorEntry scale, int64_t n, int64_t k) const {
    if (!is_scale(scale.dtype))
      unsupported(where_, "{}: got {}, need float32, bfloat16 or float16", scale.name, dtype_name(scale.dtype));
    const std::vector<int64_t>& shape = scale.shape;
    const int64_t rows = shape.empty() ? 1 : shape[0], columns = shape.size() < 2 ? 1 : shape[1];
    if (shape.size() > 2) misfit(scale, "at most 2 dimensions");
    Grid grid;
    grid.columns = columns;
    const auto [bn, bk] = block_of();
    // fp8's configuration names blocks or nothing; that of compressed-tensors is held against the file by its schemes.
    if (bn > 0 && config_.find("weight_block_size") != nullptr && (rows != div_up(n, bn) || columns != div_up(k, bk)))
      misfit(scale, fmt::format("[{}, {}] by weight_block_size", div_up(n, bn), div_up(k, bk)));
    if (rows == 1 && columns == 1) {
      grid.bn = n;
      grid.bk = k;
    } else if (bn > 0 && shape.size() == 2 && rows == div_up(n, bn) && columns == div_up(k, bk)) {
      grid.bn = bn;
      grid.bk = bk;
    } else if (rows == n && columns >= 1 && k % columns == 0) {
      grid.bk = k / columns;
    } else {
      misfit(scale, fmt::format("a scale for each of [{}, {}]'s tensor, rows, groups or blocks", n, k));
    }
    grid.scale = std::move(scale);
    return grid;
  }

  // weight of 8 bits with `suffix`.
  void add_scaled(const std::set<std::string>& names, const std::string& suffix) {
    for (const std::string& name : names) {
      if (name.size() <= suffix.size() || name.compare(name.size() - suffix.size(), suffix.size(), suffix) != 0) continue;
      const std::string module = name.substr(0, name.size() - suffix.size());
      const TensorEntry* found = files_->find(module + ".weight");
      if (found == nullptr) continue;  // packed: add_packed takes it
      const bool integer = found->dtype == DType::kInt8,
                 floating = found->dtype == DType::kFloat8E4M3 || found->dtype == DType::kFloat8E5M2;
      if ((!integer && !floating) || found->shape.size() != 2) {
        unsupported(where_, "{}: got {} {}, need a matrix of int8, float8_e4m3fn or float8_e5m2", found->name,
                    dtype_name(found->dtype), shape_text(found->shape));
      }
      const TensorEntry weight = part(module + ".weight", true);
      const int64_t n = weight.shape[0], k = weight.shape[1];
      Grid grid = grid_of(part(name, true), n, k);
      const TensorEntry zero = part(module + ".weight_zero_point", false);
      if (zero.data != nullptr && zero.shape != grid.scale.shape) misfit(zero, shape_text(grid.scale.shape));
      if (zero.data != nullptr && !is_element(zero.dtype))
        unsupported(where_, "{}: got {}, need int8 or the dtype of the weight or its scale", zero.name, dtype_name(zero.dtype));
      bool zero_points = false;
      for (int64_t i = 0; schemes_.symmetric() && zero.data != nullptr && i < element_count(zero); ++i)
        zero_points = zero_points || element(zero, i) != 0;
      check_scheme(module, integer ? "int8" : "float8", n, k, grid.scale, zero_points);
      used_.insert(module + ".input_scale");
      used_.insert(module + ".input_zero_point");
      const int64_t bytes = weight.bytes + grid.scale.bytes + zero.bytes;
      put(module + ".weight", weight.shape, bytes,
          std::make_shared<Scaled>(weight, std::move(grid), zero, integer ? "int8" : dtype_name(weight.dtype),
                                   integer && int8_activations()));
    }
  }

  void add_packed(const std::string& module) {
    const TensorEntry* found = files_->find(module + ".weight_packed");
    if (found->dtype == DType::kUInt8) {
      add_packed_mxfp4(module);
      return;
    }
    PackedInt p;
    p.packed = part(module + ".weight_packed", DType::kInt32, 2);
    p.scale = part(module + ".weight_scale", true);
    const TensorEntry shape = part(module + ".weight_shape", true);
    if ((shape.dtype != DType::kInt64 && shape.dtype != DType::kInt32) || shape.shape != std::vector<int64_t>{2})
      misfit(shape, "[2] of int64");
    p.n = shape.dtype == DType::kInt64 ? read<int64_t>(shape, 0) : read<int32_t>(shape, 0);
    p.k = shape.dtype == DType::kInt64 ? read<int64_t>(shape, 1) : read<int32_t>(shape, 1);
    if (p.n != p.packed.shape[0] || p.k < 1 || p.k > int64_t{1} << 40)
      misfit(p.packed, fmt::format("words of [{}, {}]", p.n, p.k));
    p.bits = bits_of_words(p.packed, p.k);
    Grid grid = grid_of(p.scale, p.n, p.k);
    if (grid.bn != 1) misfit(p.scale, fmt::format("[{}, groups]", p.n));
    p.columns = grid.columns;
    p.group_size = grid.bk;
    p.zero = part(module + ".weight_zero_point", DType::kInt32, 2, false);
    if (p.zero.data != nullptr && p.zero.shape != std::vector<int64_t>{div_up(p.n * p.bits, 32), p.columns})
      misfit(p.zero, fmt::format("[{}, {}]", div_up(p.n * p.bits, 32), p.columns));
    p.group = groups_of(module + ".weight_g_idx", p.k, p.columns);
    check_scheme(module, "packed", p.n, p.k, p.scale, schemes_.symmetric() && p.has_zero_points());
    const int64_t bytes = p.packed.bytes + p.scale.bytes + p.zero.bytes + p.group.bytes;
    put(module + ".weight", {p.n, p.k}, bytes, std::make_shared<PackedIntRows>(std::move(p)));
  }

  // Whether a group of the configuration wants activations in int8 with a scale a token, found when they are met.
  bool int8_activations() const {
    const Json* groups = config_.find("config_groups");
    if (groups == nullptr || !groups->is_object()) return false;
    for (const JsonMember& group : groups->as_object(where_)) {
      const Json* inputs = group.value.find("input_activations");
      if (inputs == nullptr || !inputs->is_object()) continue;
      const Json* dynamic = inputs->find("dynamic");
      if (inputs->get_int("num_bits", 8, where_) == 8 && inputs->get_string("type", "int", where_) == "int" &&
          inputs->get_string("strategy", "tensor", where_) == "token" && inputs->get_bool("symmetric", true, where_) &&
          dynamic != nullptr && dynamic->is_bool() && dynamic->as_bool(where_)) {
        return true;
      }
    }
    return false;
  }

  // num_bits of each group of the configuration; empty where it says none.
  std::vector<int> bits_of_config() const {
    std::vector<int> all;
    const Json* groups = config_.find("config_groups");
    if (groups == nullptr || !groups->is_object()) return all;
    for (const JsonMember& group : groups->as_object(where_)) {
      const Json* weights = group.value.find("weights");
      if (weights == nullptr || !weights->is_object() || weights->find("num_bits") == nullptr) continue;
      const int64_t bits = weights->get_int("num_bits", 4, where_);
      if (bits < 1 || bits > 8) unsupported(where_, "num_bits: got {}, need 1 to 8", bits);
      all.push_back(static_cast<int>(bits));
    }
    return all;
  }
  // The bits in which [n, k] has so many words. Those of the configuration only: words that hold 32 / bits whole elements and
  // padding, as older versions wrote 3, 5, 6 and 7 bits, could pass for dense ones of more bits (7 for 8).
  int bits_of_words(const TensorEntry& packed, int64_t k) const {
    std::vector<int> all = bits_of_config();
    if (all.empty()) all = {4, 1, 2, 3, 5, 6, 7, 8};
    std::string names;
    for (const int bits : all) {
      if (div_up(k * bits, 32) == packed.shape[1]) return bits;
      names += (names.empty() ? "" : ", ") + std::to_string(bits);
    }
    misfit(packed, fmt::format("words of [{}, {}] in {} bits, dense (words with padding are not supported: save the "
                               "checkpoint anew with compressed-tensors 0.20)",
                               packed.shape[0], k, names));
  }

  // The group of each column: [k] int32 below `groups`; empty where there is no such tensor.
  TensorEntry groups_of(const std::string& name, int64_t k, int64_t groups) {
    TensorEntry entry = part(name, DType::kInt32, 1, false);
    if (entry.data == nullptr) return entry;
    if (entry.shape[0] != k) misfit(entry, fmt::format("[{}]", k));
    for (int64_t i = 0; i < k; ++i) {
      const int32_t group = read<int32_t>(entry, i);
      if (group < 0 || group >= groups) invalid(where_, "{}: got group {}, need 0 to {}", name, group, groups - 1);
    }
    return entry;
  }

  void add_packed_mxfp4(const std::string& module) {
    if (files_->find(module + ".weight_global_scale") != nullptr) unsupported(where_, "{}: NVFP4 weights", module);
    const TensorEntry packed = part(module + ".weight_packed", DType::kUInt8, 2),
                      scale = part(module + ".weight_scale", DType::kUInt8, 2);
    const int64_t n = packed.shape[0], k = checked_mul(packed.shape[1], 2, where_);
    if (k % 32 != 0 || scale.shape != std::vector<int64_t>{n, k / 32}) misfit(scale, fmt::format("[{}, {} / 32]", n, k));
    check_scheme(module, "mxfp4", n, k, scale, false);
    put(module + ".weight", {n, k}, packed.bytes + scale.bytes, std::make_shared<Mxfp4>(packed, scale, k));
  }

  void add_mxfp4(const std::string& name) {
    const TensorEntry blocks = part(name + "_blocks", true), scales = part(name + "_scales", true);
    if (blocks.dtype != DType::kUInt8 || scales.dtype != DType::kUInt8) unsupported(where_, "{}_blocks: need uint8", name);
    if (blocks.shape.size() != 3)
      unsupported(where_, "{}_blocks: got shape {}, need [rows, groups, 16] (mixtures of experts)", name,
                  shape_text(blocks.shape));
    const int64_t n = blocks.shape[0], k = checked_mul(blocks.shape[1], 32, where_);
    if (blocks.shape[2] != 16 || scales.shape != std::vector<int64_t>{n, k / 32})
      misfit(scales, fmt::format("[{}, {}]", n, k / 32));
    put(name, {n, k}, blocks.bytes + scales.bytes, std::make_shared<Mxfp4>(blocks, scales, k));
  }

  void add_gptq(const std::string& module) {
    Transposed p;
    p.bits = static_cast<int>(config_.get_int("bits", 4, where_));
    if (p.bits != 2 && p.bits != 4 && p.bits != 8) unsupported(where_, "bits: got {}, need 2, 4 or 8 for gptq", p.bits);
    p.zero_offset = config_.get_string("checkpoint_format", "gptq", where_) == "gptq_v2" ? 0 : 1;
    p.qweight = part(module + ".qweight", DType::kInt32, 2);
    p.k = checked_mul(p.qweight.shape[0], 32 / p.bits, where_);
    p.n = p.qweight.shape[1];
    add_transposed(module, std::move(p));
  }

  void add_awq(const std::string& module) {
    Transposed p;
    p.bits = static_cast<int>(config_.get_int("bits", config_.get_int("w_bit", 4, where_), where_));
    if (p.bits != 4) unsupported(where_, "bits: got {}, need 4 for awq", p.bits);
    p.along_k = false;
    p.qweight = part(module + ".qweight", DType::kInt32, 2);
    p.k = p.qweight.shape[0];
    p.n = checked_mul(p.qweight.shape[1], 8, where_);
    add_transposed(module, std::move(p));
  }

  void add_transposed(const std::string& module, Transposed p) {
    p.scales = part(module + ".scales", true);
    p.qzeros = part(module + ".qzeros", DType::kInt32, 2);
    if (!is_scale(p.scales.dtype)) unsupported(where_, "{}: got {}, need float16", p.scales.name, dtype_name(p.scales.dtype));
    if (p.scales.shape.size() != 2 || p.scales.shape[1] != p.n || p.scales.shape[0] < 1)
      misfit(p.scales, fmt::format("[groups, {}]", p.n));
    const int64_t groups = p.scales.shape[0], per_word = 32 / p.bits;
    if (p.n % per_word != 0) misfit(p.qweight, fmt::format("outputs that are a multiple of {}", per_word));
    if (p.qzeros.shape != std::vector<int64_t>{groups, p.n / per_word})
      misfit(p.qzeros, fmt::format("[{}, {}]", groups, p.n / per_word));
    const bool said = config_.find("group_size") != nullptr || config_.find("q_group_size") != nullptr;
    const int64_t named = config_.get_int("group_size", config_.get_int("q_group_size", 128, where_), where_);
    if (named > kMostBlock) invalid(where_, "group_size: got {}, need at most {}", named, kMostBlock);
    p.group_size = named > 0 ? named : std::max<int64_t>(p.k, 1);
    p.group = groups_of(module + ".g_idx", p.k, groups);
    if ((p.group.data == nullptr || said) && div_up(p.k, p.group_size) != groups)
      misfit(p.scales, fmt::format("[{}, {}] by group_size {}", div_up(p.k, p.group_size), p.n, named));
    if (p.along_k && config_.get_bool("sym", false, where_)) check_symmetric(p);
    const int64_t bytes = p.qweight.bytes + p.qzeros.bytes + p.scales.bytes + p.group.bytes;
    const std::vector<int64_t> shape = {p.n, p.k};
    put(module + ".weight", shape, bytes, std::make_shared<TransposedInt>(std::move(p)));
  }

  // GPTQ's symmetric zero is the middle of the codes, in each of the words.
  void check_symmetric(const Transposed& p) const {
    const uint32_t middle = (1u << (p.bits - 1)) - static_cast<uint32_t>(p.zero_offset);
    uint32_t need = 0;
    for (int at = 0; at < 32; at += p.bits) need |= middle << at;
    for (int64_t i = 0; i < element_count(p.qzeros); ++i) {
      const uint32_t word = read<uint32_t>(p.qzeros, i);
      if (word != need)
        invalid(where_, "{} is not what the configuration says: sym, but it has a word {:#x}, need {:#x}", p.qzeros.name, word,
                need);
    }
  }

  std::shared_ptr<WeightSource> files_;
  Json config_;
  std::string where_;
  QuantizationSchemes schemes_;
  std::set<std::string> used_;
  std::map<std::string, TensorEntry> entries_;
};

}  // namespace

std::shared_ptr<WeightSource> open_quantized(std::shared_ptr<WeightSource> files, const Json& config,
                                             const std::string& where) {
  return std::make_shared<QuantizedSource>(std::move(files), config, where);
}

}  // namespace pagoda
