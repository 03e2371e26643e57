// Tokens, ids and log-probabilities as JSON.
#include "server/answer_json.h"

#include <chrono>

#include "base/utf8.h"

namespace pagoda::server {

int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string token_bytes(const Tokenizer& tokenizer, int32_t id) {
  std::optional<std::string> bytes = tokenizer.token_bytes(id);
  return bytes ? *std::move(bytes) : tokenizer.decode({id}, false);
}

std::string token_text(const Tokenizer* tokenizer, int32_t id, bool as_id) {
  if (as_id || tokenizer == nullptr) return "token_id:" + std::to_string(id);
  return utf8_replace_invalid(token_bytes(*tokenizer, id));
}

std::string TokenTexts::next(const Tokenizer* tokenizer, int32_t id, bool as_id) {
  std::string text;
  if (as_id || tokenizer == nullptr) {
    text = token_text(tokenizer, id, as_id);
  } else if (tokenizer->is_special(id)) {
    text = utf8_replace_invalid(part) + token_bytes(*tokenizer, id);
    part.clear();
  } else {
    part += token_bytes(*tokenizer, id);
    // Where the first token's own text has no space, that of the whole has none either.
    if (!begun && !part.empty() && part.front() == ' ' && tokenizer->decode({id}, false).substr(0, 1) != " ") part.erase(0, 1);
    begun = true;
    const size_t whole = utf8_complete_prefix(part);
    text = utf8_replace_invalid(part.substr(0, whole));
    part.erase(0, whole);
  }
  offset += utf8_length(text);
  return text;
}

Json stop_reason_json(const std::variant<std::monostate, int32_t, std::string>& reason) {
  if (const auto* id = std::get_if<int32_t>(&reason)) return Json(int64_t{*id});
  if (const auto* text = std::get_if<std::string>(&reason)) return Json(*text);
  return Json();
}

Json ids_json(const std::vector<int32_t>& ids) {
  Json list = Json::array();
  for (const int32_t id : ids) list.push_back(int64_t{id});
  return list;
}

std::string prompt_logprobs_text(const std::vector<PositionLogprobs>& positions, const Tokenizer* tokenizer) {
  std::string list = "[null";
  for (const PositionLogprobs& position : positions) {
    Json entry = Json::object();
    const auto add = [&](int32_t id, double logprob, int64_t rank) {
      Json one = Json::object();
      one.set("logprob", logprob).set("rank", rank).set("decoded_token", token_text(tokenizer, id, false));
      entry.set(std::to_string(id), std::move(one));
    };
    add(position.token, position.logprob, position.rank);
    for (size_t i = 0; i < position.top.size(); ++i) {
      if (position.top[i].id != position.token) add(position.top[i].id, position.top[i].logprob, static_cast<int64_t>(i) + 1);
    }
    list += ",";
    list += entry.dump();
  }
  return list + "]";
}

void add_member(std::string& object, std::string_view key, std::string_view json) {
  object.back() = ',';
  object += '"';
  object += key;
  object += "\":";
  object += json;
  object += '}';
}

}  // namespace pagoda::server
