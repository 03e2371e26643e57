// A GGUF file as a model folder: what its metadata and tensors are under Hugging Face's names.
#pragma once

#include <memory>

#include "base/json.h"
#include "formats/gguf.h"
#include "formats/model_folder.h"

namespace pagoda {

// config.json as it would stand beside the same model in Hugging Face's format: architectures llama (LLaMA, Mistral), qwen2,
// gpt2, starcoder (GPT-BigCode of one key-value head) and bert, which also has `pooling_type`: how llama.cpp makes one vector
// of a text, "none", "mean", "cls" or "last"; another architecture is kUnsupported. Scaled rotary positions keep their meaning:
// rope_freqs.weight becomes the field `frequency_factors` of rope_parameters, which Hugging Face does not have. "dtype" is
// bfloat16 where tensors are quantised.
Json gguf_config(const GgufFile& file);

// tokenizer_config.json likewise: special tokens and chat templates. Null where the file has no tokenizer.
Json gguf_tokenizer_config(const GgufFile& file);

// The tensors under state-dict names and in the shapes and orders of the state dict: LLaMA's permuted rows of q and k are put
// back, GPT-2's matrices are [in, out] again. Blocks stay as they are until they are decoded (TensorEntry::encoded). Every
// tensor is checked first: kInvalidInput or kUnsupported name it and its type; one without a place in the model is refused.
std::shared_ptr<WeightSource> open_gguf_weights(std::shared_ptr<const GgufFile> file);

}  // namespace pagoda
