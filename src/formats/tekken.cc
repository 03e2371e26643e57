// Source: transformers 5.24, integrations/mistral/tokenizer.py (MistralConverter).
#include "formats/tekken.h"

#include <algorithm>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"
#include "formats/base64.h"
#include "formats/tokenizer_tree.h"
#include "text/byte_chars.h"

namespace pagoda {

namespace {

constexpr size_t kMaxTokenBytes = 1000;  // its cuts cost the square

std::string in_byte_chars(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) utf8_append(text, kByteChars[static_cast<unsigned char>(c)]);
  return text;
}

// In the order of their ranks, with fillers up to the number that the file was made for.
std::vector<std::string> special_tokens(const Json& tekken, const Json& config, std::string_view where, const Limits& limits) {
  const Json* const list = tekken.find("special_tokens");
  if (list == nullptr || list->is_null()) unsupported(where, "no special_tokens: files of tekken's first version are not read");
  std::map<int64_t, std::string> by_rank;
  for (const Json& token : list->as_array(where))
    by_rank[token.at("rank", where).as_int(where)] = token.at("token_str", where).as_string(where);
  std::vector<std::string> tokens;
  for (auto& [rank, text] : by_rank) {
    if (rank != static_cast<int64_t>(tokens.size()))
      invalid(where, "special_tokens: got rank {}, need {}: ranks have no gaps", rank, tokens.size());
    tokens.push_back(std::move(text));
  }
  const int64_t count = config.get_int("default_num_special_tokens", static_cast<int64_t>(tokens.size()), where);
  if (count < static_cast<int64_t>(tokens.size()) || count > limits.max_items)
    invalid(where, "default_num_special_tokens: got {}, need {} to {}", count, tokens.size(), limits.max_items);
  while (static_cast<int64_t>(tokens.size()) < count) tokens.push_back(fmt::format("<SPECIAL_{}>", tokens.size()));
  return tokens;
}

// The bytes of the tokens that the model has, by rank; what the file pads its vocabulary with is left out.
std::vector<std::string> ranked_tokens(const Json& tekken, const Json& config, size_t specials, std::string_view where,
                                       const Limits& limits) {
  const Json::Array& list = tekken.at("vocab", where).as_array(where);
  int64_t count = static_cast<int64_t>(list.size());
  if (const Json* const size = config.find("default_vocab_size"); size != nullptr && !size->is_null())
    count = std::min(count, size->as_int(where) - static_cast<int64_t>(specials));
  if (count < 1 || count > limits.max_items) invalid(where, "vocab: got {} tokens, need 1 to {}", count, limits.max_items);
  std::vector<std::string> tokens;
  for (int64_t i = 0; i < count; ++i) {
    tokens.push_back(decode_base64(list[static_cast<size_t>(i)].at("token_bytes", where).as_string(where), where));
    if (tokens.back().empty() || tokens.back().size() > kMaxTokenBytes)
      invalid(where, "vocab: token {}: got {} bytes, need 1 to {}", i, tokens.back().size(), kMaxTokenBytes);
  }
  return tokens;
}

// Every way to cut a token into two, tokens in order of rank, cuts in order of their halves' ranks.
Json implied_merges(const std::vector<std::string>& tokens) {
  std::unordered_map<std::string_view, size_t> ranks;
  for (size_t i = 0; i < tokens.size(); ++i) ranks[tokens[i]] = i;
  Json::Array merges;
  std::vector<std::pair<size_t, size_t>> cuts;
  for (const std::string_view token : tokens) {
    cuts.clear();
    for (size_t cut = 1; cut < token.size(); ++cut) {
      const auto left = ranks.find(token.substr(0, cut)), right = ranks.find(token.substr(cut));
      if (left != ranks.end() && right != ranks.end()) cuts.emplace_back(left->second, right->second);
    }
    std::sort(cuts.begin(), cuts.end());
    for (const auto& [left, right] : cuts)
      merges.push_back(Json(Json::Array{Json(in_byte_chars(tokens[left])), Json(in_byte_chars(tokens[right]))}));
  }
  return Json(std::move(merges));
}

Json added_tokens(const std::vector<std::string>& specials) {
  Json::Array tokens;
  for (size_t i = 0; i < specials.size(); ++i) {
    Json token = Json::object();
    token.set("id", static_cast<int64_t>(i)).set("content", specials[i]).set("special", true).set("normalized", false);
    tokens.push_back(std::move(token));
  }
  return Json(std::move(tokens));
}

}  // namespace

Json tekken_tree(const Json& tekken, std::string_view where, const Limits& limits) {
  using tokenizer_tree::part;
  const Json& config = tekken.at("config", where);
  const std::vector<std::string> specials = special_tokens(tekken, config, where, limits);
  const std::vector<std::string> tokens = ranked_tokens(tekken, config, specials.size(), where, limits);
  Json::Object vocab;
  const auto put = [&](std::string text) { vocab.push_back({std::move(text), Json(static_cast<int64_t>(vocab.size()))}); };
  for (const std::string& token : specials) put(token);
  for (const std::string& token : tokens) put(in_byte_chars(token));
  Json model = part("BPE");
  model.set("vocab", Json(std::move(vocab))).set("merges", implied_merges(tokens)).set("ignore_merges", true);
  Json bytes = part("ByteLevel");
  bytes.set("add_prefix_space", false).set("use_regex", false).set("trim_offsets", false);
  Json tree = Json::object();
  tree.set("added_tokens", added_tokens(specials));
  tree.set("pre_tokenizer",
           tokenizer_tree::sequence("pretokenizers",
                                    {tokenizer_tree::split_regex(config.at("pattern", where).as_string(where)), bytes}));
  tree.set("post_processor", bytes);
  tree.set("decoder", bytes);
  return std::move(tree.set("model", std::move(model)));
}

}  // namespace pagoda
