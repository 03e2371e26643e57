// The tokenizer inside a GGUF file.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "formats/gguf.h"
#include "text/tokenizer.h"

namespace pagoda {

// tokenizer.ggml.model: gpt2 (byte-level BPE; its pattern by tokenizer.ggml.pre), llama (SentencePiece BPE), t5 (Unigram),
// bert (WordPiece). Another one, or an unknown pattern name, is kUnsupported and lists what is known.
std::shared_ptr<const Tokenizer> read_gguf_tokenizer(const GgufFile& file, const Limits& limits = {});

// The names of tokenizer.ggml.pre that are known, sorted.
std::vector<std::string> known_gguf_patterns();

}  // namespace pagoda
