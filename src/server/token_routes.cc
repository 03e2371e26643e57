// Texts and chats as ids, and back.
#include "server/token_routes.h"

#include "base/error.h"
#include "server/answer_json.h"
#include "server/chat_messages.h"
#include "server/chat_request.h"
#include "server/model_texts.h"
#include "server/serving.h"

namespace pagoda::server {

namespace {

struct TokenizeBody {
  const Json* messages = nullptr;
  std::optional<std::string> prompt;
  ChatRendering rendering;
  std::optional<bool> add_special_tokens;
  bool return_token_strs = false;
};

TokenizeBody read_tokenize(const Serving& serving, const ModelTexts& texts, Fields& fields) {
  serving.check_model(fields);
  TokenizeBody body;
  body.messages = fields.take("messages", messages_schema(serving.limits().max_messages));
  body.prompt = fields.string("prompt", kAnyLength);
  body.rendering = texts.chats().read(fields);
  body.rendering.apply.tools = take_tools(fields).tools;
  body.add_special_tokens = fields.boolean("add_special_tokens");
  body.return_token_strs = fields.boolean("return_token_strs").value_or(false);
  fields.refuse({"mm_processor_kwargs", "media_io_kwargs"}, "not supported by this server");
  fields.finish();
  if (body.messages == nullptr && !body.prompt && !fields.is_describing())
    invalid("prompt", "missing: need prompt or messages");
  return body;
}

void tokenize(const Serving& serving, ModelTexts& texts, const Call& call) {
  RequestBody in(call.http);
  const TokenizeBody body = read_tokenize(serving, texts, in.fields);
  const bool chat = body.messages != nullptr;
  const char* field = chat ? "messages" : "prompt";
  const Tokenizer& tokenizer = texts.require_tokenizer(field);
  const std::string text =
      chat ? texts.chats().render(body.rendering, plain_messages(*body.messages, serving.limits())) : *body.prompt;
  texts.limit().check(text, field);
  const std::vector<int32_t> ids = tokenizer.encode_ids(text, body.add_special_tokens.value_or(!chat));
  Json answer = Json::object();
  answer.set("count", static_cast<int64_t>(ids.size()))
      .set("max_model_len", texts.max_model_len())
      .set("tokens", ids_json(ids));
  Json tokens;
  if (body.return_token_strs) {
    tokens = Json::array();
    for (const int32_t id : ids) tokens.push_back(tokenizer.id_to_token(id));
  }
  call.send(answer.set("token_strs", std::move(tokens)));
}

std::vector<int32_t> read_detokenize(const Serving& serving, Fields& fields) {
  serving.check_model(fields);
  auto ids = fields.ids("tokens", kAnyLength);
  fields.require("tokens", "a list of token ids");
  fields.finish();
  return std::move(ids).value_or(std::vector<int32_t>{});
}

void detokenize(const Serving& serving, const ModelTexts& texts, const Call& call) {
  RequestBody in(call.http);
  const std::vector<int32_t> ids = read_detokenize(serving, in.fields);
  for (const int32_t id : ids) {
    if (id < 0 || id >= texts.vocab_size()) {
      invalid("tokens", "id outside the vocabulary: got {}, need 0 to {}", id, texts.vocab_size() - 1);
    }
  }
  call.send(Json::object().set("prompt", texts.require_tokenizer("tokens").decode(ids, false)));
}

}  // namespace

std::vector<Route> token_routes(const Serving& serving, const std::function<ModelTexts&()>& texts) {
  return {{{"POST", "/tokenize", {"Token ids of a text or a chat", "Tokenized"}, Section::kServer},
           [&serving, texts](const Call& call) { tokenize(serving, texts(), call); },
           [&serving, texts](Fields& fields) { read_tokenize(serving, texts(), fields); }},
          {{"POST", "/detokenize", {"Text of token ids", "Detokenized"}, Section::kServer},
           [&serving, texts](const Call& call) { detokenize(serving, texts(), call); },
           [&serving](Fields& fields) { read_detokenize(serving, fields); }}};
}

}  // namespace pagoda::server
