// GPTQ and AWQ: integers of 2, 3, 4 or 8 bits in words of transposed matrices.
#include <algorithm>

#include "formats/quantized_parts.h"

namespace pagoda::quantized {

namespace {

// GPTQ and AWQ: words along K (GPTQ) or along N (AWQ) of qweight, along N of qzeros; scales [groups, N].
struct Transposed {
  TensorEntry qweight, qzeros, scales;
  TensorEntry group;  // g_idx [K], or none: k / group_size
  int bits = 4, zero_offset = 0;
  bool along_k = true;
  int64_t n = 0, k = 0, group_size = 1;
};

class TransposedInt : public Integers {
 public:
  explicit TransposedInt(Transposed parts) : p_(std::move(parts)) {}
  std::string coding() const override { return (p_.along_k ? "gptq int" : "awq int") + std::to_string(p_.bits); }
  void decode(int64_t begin, int64_t end, float* out) const override {
    const int64_t columns = end - begin;
    std::vector<float> scales(static_cast<size_t>(columns));
    std::vector<int> zeros(scales.size());
    int64_t known = -1;
    for (int64_t k = 0; k < p_.k; ++k) {
      const int64_t g = p_.group.has_data() ? read<int32_t>(p_.group, k) : k / p_.group_size;
      if (g != known) {
        for (int64_t i = 0; i < columns; ++i) {
          scales[static_cast<size_t>(i)] = scale_value(p_.scales, g * p_.n + begin + i);
          zeros[static_cast<size_t>(i)] = along_n(p_.qzeros, g, begin + i) + p_.zero_offset;
        }
        known = g;
      }
      for (int64_t i = 0; i < columns; ++i) {
        const int64_t n = begin + i;
        const int code = p_.along_k ? along_k(k, n) : along_n(p_.qweight, k, n);
        out[i * p_.k + k] = static_cast<float>(code - zeros[static_cast<size_t>(i)]) * scales[static_cast<size_t>(i)];
      }
    }
  }

 protected:
  Runs runs() const override {
    // An index that says what the group's size says is none.
    for (int64_t k = 0; p_.group.has_data() && k < p_.k; ++k) {
      if (read<int32_t>(p_.group, k) != k / p_.group_size) return {};
    }
    return {p_.bits, p_.n, p_.k, p_.group_size, true};
  }
  float scale_at(int64_t n, int64_t k) const override { return scale_value(p_.scales, k / p_.group_size * p_.n + n); }
  float zero_at(int64_t n, int64_t k) const override {
    return static_cast<float>(along_n(p_.qzeros, k / p_.group_size, n) + p_.zero_offset - (1 << (p_.bits - 1)));
  }
  void read_codes(int64_t begin, int64_t end, int8_t* codes) const override {
    for (int64_t k = 0; k < p_.k; ++k) {
      for (int64_t n = begin; n < end; ++n) {
        const int code = p_.along_k ? along_k(k, n) : along_n(p_.qweight, k, n);
        codes[(n - begin) * p_.k + k] = static_cast<int8_t>(code - (1 << (p_.bits - 1)));
      }
    }
  }

 private:
  uint32_t mask() const { return (1u << p_.bits) - 1; }
  // The code whose bits begin at bit `at` of a stream of words that lie `stride` apart; those of 3 bits may lie in two.
  int code_at(const TensorEntry& words, int64_t first, int64_t stride, int64_t at) const {
    uint64_t word = read<uint32_t>(words, first + at / 32 * stride);
    if (at % 32 + p_.bits > 32) word |= uint64_t{read<uint32_t>(words, first + (at / 32 + 1) * stride)} << 32;
    return static_cast<int>(word >> (at % 32) & mask());
  }
  int along_k(int64_t k, int64_t n) const { return code_at(p_.qweight, n, p_.n, k * p_.bits); }
  int along_n(const TensorEntry& words, int64_t row, int64_t n) const {
    static constexpr int kAwqOrder[] = {0, 4, 1, 5, 2, 6, 3, 7};  // where AWQ puts column n % 8 in its word
    const int64_t place = p_.along_k ? n : n / 8 * 8 + kAwqOrder[n % 8];
    return code_at(words, row * (p_.n * p_.bits / 32), 1, place * p_.bits);
  }
  Transposed p_;
};

// GPTQ's symmetric zero is the middle of the codes, in each of the words.
void check_symmetric(const Parts& parts, const Transposed& p) {
  const uint32_t middle = (1u << (p.bits - 1)) - static_cast<uint32_t>(p.zero_offset);
  const int64_t words = p.n * p.bits / 32;  // of a row
  for (int64_t i = 0; i < element_count(p.qzeros); ++i) {
    const uint32_t word = read<uint32_t>(p.qzeros, i);
    // Codes that begin in the word before it or reach into the next have some of their bits here.
    uint32_t need = 0;
    const int64_t first = i % words * 32;
    for (int64_t at = first / p.bits * p.bits - first; at < 32; at += p.bits) need |= at < 0 ? middle >> -at : middle << at;
    if (word != need)
      invalid(parts.where(), "{} is not what the configuration says: sym, but it has a word {:#x}, need {:#x}", p.qzeros.name,
              word, need);
  }
}

void add_transposed(Parts& parts, const std::string& module, Transposed p) {
  p.scales = parts.part(module + ".scales", true);
  p.qzeros = parts.part(module + ".qzeros", DType::kInt32, 2);
  if (!is_scale(p.scales.dtype))
    unsupported(parts.where(), "{}: got {}, need float16", p.scales.name, dtype_name(p.scales.dtype));
  if (p.scales.shape.size() != 2 || p.scales.shape[1] != p.n || p.scales.shape[0] < 1)
    parts.misfit(p.scales, fmt::format("[groups, {}]", p.n));
  const int64_t groups = p.scales.shape[0], whole = p.bits == 3 ? 32 : 32 / p.bits, words = p.n / whole * (whole * p.bits / 32);
  if (p.n % whole != 0) parts.misfit(p.qweight, fmt::format("outputs that are a multiple of {}", whole));
  if (p.qzeros.shape != std::vector<int64_t>{groups, words}) parts.misfit(p.qzeros, fmt::format("[{}, {}]", groups, words));
  const bool said = parts.config().find("group_size") != nullptr || parts.config().find("q_group_size") != nullptr;
  const int64_t named =
      parts.config().get_int("group_size", parts.config().get_int("q_group_size", 128, parts.where()), parts.where());
  if (named > kMostBlock) invalid(parts.where(), "group_size: got {}, need at most {}", named, kMostBlock);
  p.group_size = named > 0 ? named : std::max<int64_t>(p.k, 1);
  p.group = parts.groups_of(module + ".g_idx", p.k, groups);
  if ((!p.group.has_data() || said) && div_up(p.k, p.group_size) != groups)
    parts.misfit(p.scales, fmt::format("[{}, {}] by group_size {}", div_up(p.k, p.group_size), p.n, named));
  if (p.along_k && parts.config().get_bool("sym", false, parts.where())) check_symmetric(parts, p);
  const int64_t bytes = p.qweight.bytes + p.qzeros.bytes + p.scales.bytes + p.group.bytes;
  const std::vector<int64_t> shape = {p.n, p.k};
  parts.put(module + ".weight", shape, bytes, std::make_shared<TransposedInt>(std::move(p)));
}

void add_gptq_weight(Parts& parts, const std::string& module) {
  Transposed p;
  p.bits = static_cast<int>(parts.config().get_int("bits", 4, parts.where()));
  if (p.bits != 2 && p.bits != 3 && p.bits != 4 && p.bits != 8)
    unsupported(parts.where(), "bits: got {}, need 2, 3, 4 or 8 for gptq", p.bits);
  p.zero_offset = parts.config().get_string("checkpoint_format", "gptq", parts.where()) == "gptq_v2" ? 0 : 1;
  p.qweight = parts.part(module + ".qweight", DType::kInt32, 2);
  p.k = checked_mul(p.qweight.shape[0], 32, parts.where()) / p.bits;
  p.n = p.qweight.shape[1];
  if (p.bits == 3 && p.qweight.shape[0] % 3 != 0) parts.misfit(p.qweight, "rows that are a multiple of 3");
  if (p.n > kMostBlock) parts.misfit(p.qweight, "fewer columns");
  add_transposed(parts, module, std::move(p));
}

void add_awq_weight(Parts& parts, const std::string& module) {
  Transposed p;
  p.bits = static_cast<int>(parts.config().get_int("bits", parts.config().get_int("w_bit", 4, parts.where()), parts.where()));
  if (p.bits != 4) unsupported(parts.where(), "bits: got {}, need 4 for awq", p.bits);
  p.along_k = false;
  p.qweight = parts.part(module + ".qweight", DType::kInt32, 2);
  p.k = p.qweight.shape[0];
  p.n = checked_mul(p.qweight.shape[1], 8, parts.where());
  add_transposed(parts, module, std::move(p));
}

}  // namespace

void add_gptq(Parts& parts) {
  for (const std::string& module : parts.modules(".qweight")) add_gptq_weight(parts, module);
}

void add_awq(Parts& parts) {
  const std::string version = parts.config().get_string("version", "gemm", parts.where());
  if (version != "gemm" && version != "GEMM") unsupported(parts.where(), "awq version: got '{}', need gemm", version);
  for (const std::string& module : parts.modules(".qweight")) add_awq_weight(parts, module);
}

}  // namespace pagoda::quantized
