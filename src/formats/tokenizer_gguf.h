// The tokenizer inside a GGUF file.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "formats/gguf.h"
#include "text/tokenizer.h"

namespace pagoda {

// tokenizer.ggml.model: gpt2 (byte-level BPE; its pattern by tokenizer.ggml.pre), llama (SentencePiece BPE), t5 (Unigram),
// bert (WordPiece). Another one, or an unknown pattern name, is kUnsupported and lists what is known.
std::shared_ptr<const Tokenizer> read_gguf_tokenizer(const GgufFile& file, const Limits& limits = {});

// The same as a tokenizer.json that Hugging Face's libraries load and that gives the same ids: kinds gpt2 and llama.
// kUnsupported says what has no such form: t5, bert, normalisers beyond SentencePiece's marks of
// words, and scores that leave the order of merges open.
Json gguf_tokenizer_json(const GgufFile& file, const Limits& limits = {});

// The names of tokenizer.ggml.pre that are known, sorted.
std::vector<std::string> known_gguf_patterns();

}  // namespace pagoda
