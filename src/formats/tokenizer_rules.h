// What transformers' tokenizer classes make of a vocabulary: splitting, decoding, special tokens.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "formats/tokenizer_class.h"
#include "formats/tokenizer_config.h"
#include "text/sentencepiece.h"
#include "text/tokenizer.h"

namespace pagoda {

// The vocabulary files a class reads where there is no tokenizer.json.
enum class VocabularyFiles { kVocabTxt, kVocabAndMerges, kSentencePiece };
VocabularyFiles vocabulary_files(TokenizerKind kind);

// True where this class makes its own tokenizer of the vocabulary in this "model" of a tokenizer.json; else the file stands.
bool rebuilds(const TokenizerClass& known, const Json& model);

// `tree` is a tokenizer.json, of which "model" with its vocabulary is needed at least; comes back with the class's own
// normalizer, pre_tokenizer, model options and decoder. Its post_processor stays, its added tokens go: the class adds them
// anew. kInvalidInput for options of the wrong type.
void rebuild(TokenizerKind kind, const TokenizerConfig& config, Json& tree, std::string_view where);

// kInvalidInput for a piece whose cuts in two would cost too much (the square of its length), or whose score is no number.
void check_pieces(const SentencePieceModel& model, std::string_view where);

// A SentencePiece model as such a tree, with the ids that the class gives its pieces.
Json sentencepiece_tree(TokenizerKind kind, const TokenizerConfig& config, const SentencePieceModel& model,
                        std::string_view where);

using DefaultTokens = std::array<const char*, 7>;  // bos, eos, unk, sep, pad, cls, mask; null: none
// Names the special tokens that `config` says nothing of, in transformers' order.
void complete_names(TokenizerConfig& config, const DefaultTokens& defaults);

// `config` with the class's own special tokens where it names none. `model`: what the class took its pieces from, if anything.
TokenizerConfig completed(TokenizerKind kind, TokenizerConfig config, std::string_view where,
                          const SentencePieceModel* model = nullptr);

// The post-processor that the class insists on; null: it keeps what it has. find_id: -1 for what is no token. kInvalidInput
// where the class puts around every text what the tokenizer lacks.
PostProcessorPtr own_post_processor(TokenizerKind kind, const TokenizerConfig& config,
                                    const std::function<int32_t(const std::string&)>& find_id, std::string_view where);

// A token that decoding leaves out, found in the text as it stands.
AddedToken special_token(std::string content);

}  // namespace pagoda
