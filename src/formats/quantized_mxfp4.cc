// MXFP4 in both packagings: NAME_blocks with NAME_scales, and compressed-tensors' weight_packed.
#include "formats/quantized_parts.h"

namespace pagoda::quantized {

namespace {

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
        const float scale = float8_e8m0(scales_.data()[n * (k_ / 32) + group]);
        const uint8_t* bytes = blocks_.data() + (n * k_ + group * 32) / 2;
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

void add_blocks(Parts& parts, const std::string& name) {
  const TensorEntry blocks = parts.part(name + "_blocks", true), scales = parts.part(name + "_scales", true);
  if (blocks.dtype != DType::kUInt8 || scales.dtype != DType::kUInt8) unsupported(parts.where(), "{}_blocks: need uint8", name);
  if (blocks.shape.size() != 3)
    unsupported(parts.where(), "{}_blocks: got shape {}, need [rows, groups, 16] (mixtures of experts)", name,
                shape_text(blocks.shape));
  const int64_t n = blocks.shape[0], k = checked_mul(blocks.shape[1], 32, parts.where());
  if (blocks.shape[2] != 16 || scales.shape != std::vector<int64_t>{n, k / 32})
    parts.misfit(scales, fmt::format("[{}, {}]", n, k / 32));
  parts.put(name, {n, k}, blocks.bytes + scales.bytes, std::make_shared<Mxfp4>(blocks, scales, k));
}

}  // namespace

void add_packed_mxfp4(Parts& parts, const std::string& module) {
  if (parts.files().find(module + ".weight_global_scale") != nullptr) unsupported(parts.where(), "{}: NVFP4 weights", module);
  const TensorEntry packed = parts.part(module + ".weight_packed", DType::kUInt8, 2),
                    scale = parts.part(module + ".weight_scale", DType::kUInt8, 2);
  const int64_t n = packed.shape[0], k = checked_mul(packed.shape[1], 2, parts.where());
  if (k % 32 != 0 || scale.shape != std::vector<int64_t>{n, k / 32}) parts.misfit(scale, fmt::format("[{}, {} / 32]", n, k));
  parts.check_scheme(module, "mxfp4", n, k, scale, false);
  parts.put(module + ".weight", {n, k}, packed.bytes + scale.bytes, std::make_shared<Mxfp4>(packed, scale, k));
}

void add_mxfp4(Parts& parts) {
  for (const std::string& name : parts.modules("_blocks")) add_blocks(parts, name);
}

}  // namespace pagoda::quantized
