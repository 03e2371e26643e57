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
// A folder: tokenizer.json; else Mistral's tekken.json, a SentencePiece model, vocab.json with merges.txt, or vocab.txt, as its
// class has it (named in tokenizer_config.json or config.json, or by model_type); else the one .tiktoken or .gguf file in it.
// The ids are those of transformers' AutoTokenizer (docs/decisions/0025-tokenizer-classes.md); the file's truncation and
// padding are left out. kNotFound says what was looked for, kUnsupported names a class whose rules are not known.
std::shared_ptr<const Tokenizer> load_tokenizer(const std::string& path, const TokenizerOptions& options = {});

// load_tokenizer_config() of a folder or a .gguf file, with the special tokens of the tokenizer's class where the files name
// none.
TokenizerConfig load_complete_tokenizer_config(const std::string& path, const Limits& limits = {});

// True where load_tokenizer would find something to read.
bool has_tokenizer(const std::string& path);

}  // namespace pagoda
