// A model folder with its linear layers in int8 or int4, as compressed-tensors writes and `transformers` and vLLM load them.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/task_hooks.h"
#include "convert/int_weight.h"
#include "models/model.h"

namespace pagoda {

struct QuantizeOptions {
  int bits = 8;  // 8: int-quantized, a scale a row; 4: pack-quantized, groups
  // int4: columns that share a scale; 0: the largest of 128, 64 and 32 that divides most weights. Those that it does not divide
  // are int8 with a scale a row.
  int64_t group_size = 0;
  bool symmetric = true;       // int4 alone
  bool int8_head = false;      // int4 alone: a decoder's head in int8, groups too; a tied one gets a weight of its own
  std::optional<DType> dtype;  // of what stays: embeddings, norms, heads; empty: as it is
  GptqOptions gptq;
  // Of calibration: token ids of a text, cut into windows of max_length.
  std::vector<int32_t> ids;
  int64_t max_length = 0;  // 0: the model's context, at most 512
  std::function<void(const std::string& what, int64_t done, int64_t total)> progress;
  const std::atomic<bool>* cancel = nullptr;  // when it turns true: Cancelled is thrown, no model is left behind
};

struct QuantizedMatrix {
  std::string name;
  int64_t n = 0, k = 0;
  int bits = 0;
  double error = 0;  // |w - decoded| / |w|, root of the sums of squares
};

struct QuantizeReport {
  int bits = 0;
  int64_t group_size = 0;  // 0: a scale a row
  std::string format;      // "int-quantized", "pack-quantized"
  std::vector<QuantizedMatrix> matrices;
  std::vector<std::pair<std::string, std::string>> in_int8;  // of int4: those in int8 with a scale a row, and why
  int64_t bytes_before = 0, bytes_after = 0;                 // of the weights
  int64_t calibration_tokens = 0;
  std::string no_tokenizer;  // of a GGUF file: why its tokenizer is not beside the weights; empty: it is
};

// Writes `out`: first what belongs beside the weights (convert/beside_weights.h; of a GGUF file tokenizer.json and
// tokenizer_config.json), then model.safetensors and config.json with quantization_config. Only the linear layers of decoder
// and encoder blocks are quantised; embeddings, norms and heads stay as they are. kUnsupported: a family whose state dict has
// other matrices than torch's Linear (GPT-2's Conv1D). calibrated: null to round to nearest; else the folder's model (a
// decoder) prepared for training (float32 parameters), which are overwritten by the decoded ones, layer by layer, so that each
// is calibrated on what the quantised ones before it give.
QuantizeReport quantize(Device& device, const ModelFolder& folder, Model* calibrated, const std::string& out,
                        const QuantizeOptions& options);

}  // namespace pagoda
