// SentencePiece .model files: a protocol buffer, read by a small wire reader.
#pragma once

#include <string_view>

#include "base/limits.h"
#include "text/sentencepiece.h"

namespace pagoda {

// Throws kInvalidInput with the byte offset; kUnsupported for a denormaliser (no published model has one).
SentencePieceModel parse_sentencepiece(std::string_view bytes, std::string_view where, const Limits& limits = {});

}  // namespace pagoda
