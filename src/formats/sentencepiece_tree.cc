// Source: transformers 5.24, convert_slow_tokenizer.py (build_tokenizer_from_spm_proto) and tokenization_utils_tokenizers.py.
#include "formats/sentencepiece_tree.h"

#include <algorithm>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/stable_sort.h"
#include "base/utf8.h"
#include "formats/tokenizer_rules.h"
#include "formats/tokenizer_tree.h"

namespace pagoda {

namespace {

using tokenizer_tree::kMark;
using Piece = SentencePieceModel::Piece;
using Type = SentencePieceModel::Type;

// Null and false are "no" in Python; nothing said is "yes".
bool is_legacy(const TokenizerConfig& config) {
  const Json* const legacy = config.raw.is_object() ? config.raw.find("legacy") : nullptr;
  return legacy == nullptr || !(legacy->is_null() || *legacy == Json(false));
}

// The pieces' texts, with the names that the configuration gives to ids. A name that another piece keeps is not given.
std::vector<std::string> texts_of(const SentencePieceModel& model, const TokenizerConfig& config) {
  const auto count = static_cast<int64_t>(model.pieces.size());
  std::unordered_map<int64_t, const std::string*> names;
  if (model.kind != SentencePieceModel::Kind::kUnigram) {
    for (const auto& [id, token] : config.added_tokens) {
      if (id < count) names[id] = &token.content;
    }
  }
  std::unordered_set<std::string_view> kept;
  std::vector<std::string> texts;
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    texts.push_back(model.pieces[i].text);
    if (names.count(static_cast<int64_t>(i)) == 0) kept.insert(model.pieces[i].text);
  }
  for (const auto& [id, name] : names) {
    if (kept.count(*name) == 0) texts[static_cast<size_t>(id)] = *name;
  }
  return texts;
}

struct Merge {
  float score;
  size_t id;  // of what it makes
  std::string_view left, right;
  bool operator<(const Merge& other) const {
    return std::tuple(-score, id, left, right) < std::tuple(-other.score, other.id, other.left, other.right);
  }
};

// Every way to cut a normal piece into two, best pieces first.
Json ranked_merges(const SentencePieceModel& model, const std::vector<std::string>& texts) {
  std::unordered_map<std::string_view, size_t> normal;
  for (size_t i = 0; i < texts.size(); ++i) {
    if (model.pieces[i].type == Type::kNormal) normal[texts[i]] = i;
  }
  std::vector<Merge> merges;
  for (const auto& [text, id] : normal) {
    size_t cut = 0;
    while (cut < text.size()) {
      utf8_next(text, cut);
      const std::string_view left = text.substr(0, cut), right = text.substr(cut);
      if (right.empty() || normal.count(left) == 0 || normal.count(right) == 0) continue;
      merges.push_back({model.pieces[id].score, id, left, right});
    }
  }
  std::sort(merges.begin(), merges.end());
  Json::Array list;
  list.reserve(merges.size());
  for (const Merge& merge : merges) list.push_back(Json(Json::Array{Json(merge.left), Json(merge.right)}));
  return Json(std::move(list));
}

std::vector<std::string_view> user_defined_of(const SentencePieceModel& model, const std::vector<std::string>& texts) {
  std::vector<std::string_view> found;
  for (size_t i = 0; i < texts.size(); ++i) {
    if (model.pieces[i].type == Type::kUserDefined) found.push_back(texts[i]);
  }
  return found;
}

Json model_node(const SentencePieceModel& model, const std::vector<std::string>& texts, bool has_user_defined) {
  Json node = Json::object();
  if (model.kind == SentencePieceModel::Kind::kUnigram) {
    Json::Array pieces;
    for (const Piece& piece : model.pieces)
      pieces.push_back(Json(Json::Array{Json(piece.text), Json(static_cast<double>(piece.score))}));
    node.set("type", "Unigram").set("vocab", Json(std::move(pieces))).set("unk_id", model.unk_id);
    return std::move(node.set("byte_fallback", model.byte_fallback));
  }
  Json::Object vocab;
  for (size_t i = 0; i < texts.size(); ++i) vocab.push_back({texts[i], Json(static_cast<int64_t>(i))});
  node.set("type", "BPE").set("vocab", Json(std::move(vocab))).set("merges", ranked_merges(model, texts));
  node.set("unk_token", model.unk_piece).set("fuse_unk", true).set("byte_fallback", model.byte_fallback);
  // Whole user-defined pieces are found so: no merge makes them.
  return std::move(node.set("ignore_merges", has_user_defined));
}

Json normalizer_node(const SentencePieceModel& model, bool legacy) {
  Json::Array steps;
  if (!model.charsmap_bytes.empty()) steps.push_back(tokenizer_tree::precompiled(model.charsmap_bytes));
  if (model.remove_extra_whitespaces) {
    steps.push_back(tokenizer_tree::replace_regex(R"(\A +| +\z)", ""));
    steps.push_back(tokenizer_tree::replace_regex(" {2,}", " "));
  }
  if (model.escape_whitespaces) steps.push_back(tokenizer_tree::replace(" ", kMark));
  // Metaspace puts no mark before a text that begins with one; SentencePiece does.
  const std::string mark = kMark;
  if (model.add_dummy_prefix && legacy) steps.push_back(tokenizer_tree::replace_regex("\\A" + mark, (mark + mark).c_str()));
  return tokenizer_tree::sequence("normalizers", std::move(steps));
}

// A pattern that matches any of these texts, the longest first.
std::string any_of(std::vector<std::string_view> texts) {
  stable_sort(texts, [](std::string_view a, std::string_view b) { return utf8_length(a) > utf8_length(b); });
  std::string pattern;
  for (const std::string_view text : texts) {
    if (!pattern.empty()) pattern += '|';
    for (const char c : text) {
      if (std::string_view("\\^$.|?*+()[]{}-#&~ \t\n\r\v\f").find(c) != std::string_view::npos) pattern += '\\';
      pattern += c;
    }
  }
  return pattern;
}

Json decoder_node(const SentencePieceModel& model) {
  using tokenizer_tree::part;
  Json::Array steps = {tokenizer_tree::replace(kMark, " ")};
  if (model.byte_fallback) steps.push_back(part("ByteFallback"));
  if (model.add_dummy_prefix || model.byte_fallback) steps.push_back(part("Fuse"));
  if (model.add_dummy_prefix) steps.push_back(tokenizer_tree::strip_first_space());
  return tokenizer_tree::sequence("decoders", std::move(steps));
}

}  // namespace

Json sentencepiece_own_tree(const SentencePieceModel& model, const TokenizerConfig& config, std::string_view where) {
  check_pieces(model, where);
  const std::vector<std::string> texts = texts_of(model, config);
  const std::vector<std::string_view> user_defined = user_defined_of(model, texts);
  const bool legacy = is_legacy(config);
  Json::Array splits;
  if (model.add_dummy_prefix) splits.push_back(tokenizer_tree::metaspace(legacy ? "always" : "first", false));
  if (!user_defined.empty()) splits.push_back(tokenizer_tree::split_regex(any_of(user_defined)));
  Json tree = Json::object();
  tree.set("normalizer", normalizer_node(model, legacy));
  if (!splits.empty()) tree.set("pre_tokenizer", tokenizer_tree::sequence("pretokenizers", std::move(splits)));
  tree.set("model", model_node(model, texts, !user_defined.empty()));
  return std::move(tree.set("decoder", decoder_node(model)));
}

TokenizerConfig completed_by_model(const SentencePieceModel& model, TokenizerConfig config) {
  const auto name = [](int64_t id, const std::string& piece, const char* usual) -> const char* {
    return id < 0 ? nullptr : piece.empty() ? usual : piece.c_str();
  };
  complete_names(config, {name(model.bos_id, model.bos_piece, "<s>"), name(model.eos_id, model.eos_piece, "</s>"),
                          name(model.unk_id, model.unk_piece, "<unk>")});
  if (config.extra_tokens_given) return config;
  config.extra_tokens.clear();
  for (const Piece& piece : model.pieces) {
    if (piece.type == Type::kControl) config.extra_tokens.push_back(special_token(piece.text));
  }
  return config;
}

}  // namespace pagoda
