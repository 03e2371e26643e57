// What the readers of quantised weights share: the elements of their tensors, integers in runs, a checkpoint taken apart.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/checked.h"
#include "base/error.h"
#include "base/json.h"
#include "formats/model_folder.h"
#include "formats/quantized_scheme.h"

namespace pagoda::quantized {

// More than any dimension; sums with a dimension do not overflow.
constexpr int64_t kMostBlock = int64_t{1} << 40;

template <class T>
T read(const TensorEntry& entry, int64_t index) {
  T value;
  std::memcpy(&value, entry.data() + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

// Sign, 4 bits of exponent, 3 of mantissa, no infinities (OCP 8-bit floating point, E4M3).
inline float float8_e4m3(uint8_t bits) {
  const int exponent = bits >> 3 & 15, mantissa = bits & 7;
  float value = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                              : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  if (exponent == 15 && mantissa == 7) value = bits_to_float(0x7FC00000);
  return bits & 0x80 ? -value : value;
}

// The upper half of a float16.
inline float float8_e5m2(uint8_t bits) { return float16_to_float(static_cast<uint16_t>(bits << 8)); }

// Eight bits of exponent alone (OCP Microscaling formats, E8M0).
inline float float8_e8m0(uint8_t bits) { return bits == 255 ? bits_to_float(0x7FC00000) : std::ldexp(1.0f, bits - 127); }

inline float element(const TensorEntry& entry, int64_t index) {
  switch (entry.dtype) {
    case DType::kFloat32: return read<float>(entry, index);
    case DType::kFloat16: return float16_to_float(read<uint16_t>(entry, index));
    case DType::kBFloat16: return bits_to_float(uint32_t{read<uint16_t>(entry, index)} << 16);
    case DType::kInt8: return static_cast<float>(read<int8_t>(entry, index));
    case DType::kUInt8: return static_cast<float>(read<uint8_t>(entry, index));
    case DType::kInt32: return static_cast<float>(read<int32_t>(entry, index));
    case DType::kFloat8E4M3: return float8_e4m3(entry.data()[index]);
    case DType::kFloat8E5M2: return float8_e5m2(entry.data()[index]);
    default: return 0;
  }
}

// What element() reads.
inline bool is_element(DType dtype) {
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

// Bytes are E8M0.
inline bool is_scale(DType dtype) {
  return dtype == DType::kFloat32 || dtype == DType::kFloat16 || dtype == DType::kBFloat16 || dtype == DType::kUInt8;
}
inline float scale_value(const TensorEntry& scale, int64_t index) {
  return scale.dtype == DType::kUInt8 ? float8_e8m0(scale.data()[index]) : element(scale, index);
}

inline int64_t element_count(const TensorEntry& entry) {
  int64_t count = 1;
  for (const int64_t dim : entry.shape) count *= dim;
  return count;
}

std::string shape_text(const std::vector<int64_t>& shape);

// A scale (and a zero) for each block of bn x bk elements of [N, K].
struct Grid {
  TensorEntry scale;  // [N / bn, K / bk], rounded up
  int64_t bn = 1, bk = 1, columns = 1;
  float at(int64_t n, int64_t k) const { return scale_value(scale, n / bn * columns + k / bk); }
};

// Integers whose scales (and zeros) are each for a run of inputs: what kernels need to know of them. Element (n, k) is
// (code - zero) * scale, codes and zeros signed.
class Integers : public EncodedTensor {
 public:
  GroupCoding groups() const final;
  void read_groups(int64_t begin, GroupRows& rows) const final;

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
  GroupCoding find_groups() const;
  mutable std::once_flag once_;
  mutable GroupCoding groups_;
};

// A checkpoint's tensors under the configuration's account of them, and the weights made of them. Errors: kInvalidInput where
// shapes do not belong together, kUnsupported for another dtype or rank; both name the tensor.
class Parts {
 public:
  // config: quantization_config.
  Parts(std::shared_ptr<WeightSource> files, const Json& config, const std::string& where)
      : files_(std::move(files)), config_(config), where_(where), schemes_(config, where) {}
  const WeightSource& files() const { return *files_; }
  const Json& config() const { return config_; }
  const std::string& where() const { return where_; }
  const QuantizationSchemes& schemes() const { return schemes_; }
  const std::map<std::string, TensorEntry>& weights() const { return weights_; }
  bool used(const std::string& name) const { return used_.count(name) != 0; }

  // What stands before `suffix` in the names of the file's tensors that end so, in order.
  std::vector<std::string> modules(const std::string& suffix) const;

  // A tensor that belongs to a quantised weight; it no longer shows by itself. Empty where it is optional and missing.
  TensorEntry part(const std::string& name, bool required);
  TensorEntry part(const std::string& name, DType dtype, size_t rank, bool required = true);
  void use(const std::string& name) { used_.insert(name); }  // it no longer shows, whether or not there is one
  // The group of each column: [k] int32 below `groups`; empty where there is no such tensor.
  TensorEntry groups_of(const std::string& name, int64_t k, int64_t groups);
  // Which part of [n, k] each scale is for: all, rows, groups of columns, or blocks.
  Grid grid_of(TensorEntry scale, int64_t n, int64_t k) const;
  // Holds module's weight against the configuration: of a tensor, rows or groups, as a scale of [rows, columns] has them.
  void check_scheme(const std::string& module, const char* storage, int64_t n, int64_t k, const TensorEntry& scale,
                    bool zero_points) const;
  [[noreturn]] void misfit(const TensorEntry& entry, const std::string& need) const;

  void put(const std::string& name, std::vector<int64_t> shape, int64_t bytes, std::shared_ptr<const EncodedTensor> encoded);

 private:
  std::pair<int64_t, int64_t> read_block() const;
  std::shared_ptr<WeightSource> files_;
  Json config_;
  std::string where_;
  QuantizationSchemes schemes_;
  mutable std::optional<std::pair<int64_t, int64_t>> block_;  // read where a grid first asks for it
  std::set<std::string> used_;
  std::map<std::string, TensorEntry> weights_;
};

// The weights of a method's checkpoint, each put into `parts`.
void add_compressed_tensors(Parts& parts);                 // also what it packs as MXFP4
void add_scaled(Parts& parts, const std::string& suffix);  // 8-bit weights whose scales are the tensors of that suffix
void add_gptq(Parts& parts);
void add_awq(Parts& parts);
void add_mxfp4(Parts& parts);                                    // NAME_blocks with NAME_scales
void add_packed_mxfp4(Parts& parts, const std::string& module);  // compressed-tensors' weight_packed with weight_scale

}  // namespace pagoda::quantized
