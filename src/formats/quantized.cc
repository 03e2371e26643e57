// A checkpoint's quantised weights by its method, beside the tensors that it left plain.
#include "formats/quantized.h"

#include <algorithm>

#include "base/error.h"
#include "formats/quantized_parts.h"

namespace pagoda {

namespace {

void add_weights(quantized::Parts& parts) {
  const std::string method = parts.config().get_string("quant_method", "compressed-tensors", parts.where());
  if (method == "compressed-tensors") return add_compressed_tensors(parts);
  if (method == "gptq") return add_gptq(parts);
  if (method == "awq") return add_awq(parts);
  if (method == "fp8") {
    add_scaled(parts, ".weight_scale_inv");
    return add_scaled(parts, ".weight_scale");  // AutoFP8's and vLLM's, of a whole tensor or by channel
  }
  if (method == "fbgemm_fp8") return add_scaled(parts, ".weight_scale");
  if (method == "mxfp4") return add_mxfp4(parts);
  unsupported(parts.where(), "quant_method: got '{}', need awq, compressed-tensors, fbgemm_fp8, fp8, gptq or mxfp4",
              method.substr(0, 64));
}

class QuantizedSource : public WeightSource {
 public:
  QuantizedSource(std::shared_ptr<WeightSource> files, const Json& config, const std::string& where)
      : files_(std::move(files)), parts_(files_, config, where + ": quantization_config") {
    add_weights(parts_);
    // Of an 8-bit KV cache, which is none of ours.
    for (const char* suffix : {".k_scale", ".v_scale", ".q_scale", ".kv_scale", ".prob_scale", ".output_scale"}) {
      for (const std::string& module : parts_.modules(suffix)) parts_.use(module + suffix);
    }
  }

  const TensorEntry* find(const std::string& name) const override {
    const auto it = parts_.weights().find(name);
    if (it != parts_.weights().end()) return &it->second;
    return parts_.used(name) ? nullptr : files_->find(name);
  }
  std::vector<std::string> names() const override {
    std::vector<std::string> all;
    for (const auto& [name, entry] : parts_.weights()) all.push_back(name);
    for (const std::string& name : files_->names()) {
      if (!parts_.used(name)) all.push_back(name);
    }
    std::sort(all.begin(), all.end());
    return all;
  }
  void drop_pages() const override { files_->drop_pages(); }

 private:
  std::shared_ptr<WeightSource> files_;
  quantized::Parts parts_;
};

}  // namespace

std::shared_ptr<WeightSource> open_quantized(std::shared_ptr<WeightSource> files, const Json& config,
                                             const std::string& where) {
  return std::make_shared<QuantizedSource>(std::move(files), config, where);
}

}  // namespace pagoda
