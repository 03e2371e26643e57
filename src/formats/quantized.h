// Weights that a checkpoint holds quantised, under the names and shapes of the plain ones.
#pragma once

#include <memory>
#include <string>

#include "base/json.h"
#include "formats/model_folder.h"

namespace pagoda {

// `config`: quantization_config of config.json. Known methods, each decoded by its package's own formula:
// - compressed-tensors: int-quantized, float-quantized, naive-quantized (weight, weight_scale, weight_zero_point by
//   tensor, channel, group or block), pack-quantized (weight_packed of 1 to 8 bits, weight_shape, weight_g_idx),
//   mxfp4-pack-quantized;
// - gptq (2, 3, 4 and 8 bits; qweight, qzeros, scales, g_idx; checkpoint formats gptq and gptq_v2), awq (gemm, 4 bits);
// - fp8 (weight with weight_scale_inv by blocks, or AutoFP8's weight_scale by tensor or channel), fbgemm_fp8 (weight_scale by
// channel);
// - mxfp4 (NAME_blocks [..., K/32, 16] with NAME_scales).
// Scales may be E8M0.
// Another one is kUnsupported. Shapes that do not belong together are kInvalidInput and name the tensor. Activations that the
// configuration would quantise too are not: products are computed in the model's dtype.
std::shared_ptr<WeightSource> open_quantized(std::shared_ptr<WeightSource> files, const Json& config, const std::string& where);

}  // namespace pagoda
