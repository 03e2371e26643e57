// SentencePiece's own algorithms: normalisation, BPE by score, Unigram, characters and words, and decoding.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "text/charsmap.h"
#include "text/tokenizer.h"

namespace pagoda {

struct SentencePieceModel {
  enum class Kind { kUnigram = 1, kBpe = 2, kWord = 3, kChar = 4 };
  enum class Type { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };
  struct Piece {
    std::string text;
    float score = 0;
    Type type = Type::kNormal;
  };
  Kind kind = Kind::kUnigram;
  std::vector<Piece> pieces;  // the id is the position
  Charsmap charsmap;
  std::string charsmap_bytes;  // that it was parsed from
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  bool treat_whitespace_as_suffix = false;
  bool byte_fallback = false;
  std::string unk_surface = " \xE2\x81\x87 ";
  // What the trainer was told of its special pieces; id below 0: there is none.
  std::string unk_piece = "<unk>", bos_piece = "<s>", eos_piece = "</s>";
  int64_t unk_id = 0, bos_id = 1, eos_id = 2;
};

struct SentencePieceOptions {
  // Ids put around a text when special tokens are asked for; -1: none. A bare model file has none.
  int32_t bos_id = -1, eos_id = -1;
  // Strings taken out of the text first, as the host of the model wants; a bare model has none.
  std::vector<std::pair<AddedToken, int32_t>> added;
};

// Throws kInvalidInput where the model contradicts itself (empty or double pieces, missing bytes, no unknown piece).
std::shared_ptr<const Tokenizer> make_sentencepiece_tokenizer(SentencePieceModel model, const SentencePieceOptions& options,
                                                              std::string_view where);

}  // namespace pagoda
