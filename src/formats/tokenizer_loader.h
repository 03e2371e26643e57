// The one door to tokenizers: a file of any known kind, or a model folder.
#pragma once

#include <memory>
#include <string>

#include "base/limits.h"
#include "formats/tokenizer_config.h"
#include "text/tokenizer.h"

namespace pagoda {

struct TokenizerOptions {
  std::string pattern;  // for .tiktoken files of unknown size
  Limits limits;
};

// A file: tokenizer.json, .gguf, .tiktoken, .model (SentencePiece's own ids), vocab.txt (BERT, lower case).
// A folder: tokenizer.json; else tokenizer.model, spiece.model or sentencepiece.bpe.model; else vocab.json with merges.txt
// (GPT-2); else vocab.txt; else the one .tiktoken or .gguf file in it. tokenizer_config.json is read for special tokens and
// flags. kNotFound says what was looked for.
std::shared_ptr<const Tokenizer> load_tokenizer(const std::string& path, const TokenizerOptions& options = {});

// True where load_tokenizer would find something to read.
bool has_tokenizer(const std::string& path);

}  // namespace pagoda
