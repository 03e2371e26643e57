// Tokens, ids and log-probabilities as JSON.
#include "server/answer_json.h"

#include <chrono>

namespace pagoda::server {

int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string token_text(const Tokenizer* tokenizer, int32_t id, bool as_id) {
  if (as_id || tokenizer == nullptr) return "token_id:" + std::to_string(id);
  return tokenizer->decode({id}, false);
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

Json prompt_logprobs_json(const std::vector<PositionLogprobs>& positions, const Tokenizer* tokenizer) {
  Json list = Json::array();
  list.push_back(Json());
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
    list.push_back(std::move(entry));
  }
  return list;
}

}  // namespace pagoda::server
