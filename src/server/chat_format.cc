// Answers of chats as OpenAI and vLLM write them.
#include "server/chat_format.h"

#include <optional>

#include "server/answer_json.h"

namespace pagoda::server {

namespace {

class ChatFormat : public AnswerFormat {
 public:
  ChatFormat(FormatContext context, std::string role, AnswerReading reading)
      : context_(std::move(context)), role_(std::move(role)), reading_(std::move(reading)) {}

  std::string whole(const GenerationJob& job, const std::vector<std::vector<size_t>>& order) override {
    const PromptState& prompt = job.prompts()[0];
    std::string choices = "[";
    for (size_t i = 0; i < order[0].size(); ++i) {
      const Answer& answer = prompt.answers[order[0][i]];
      bool called = false;
      Json choice = Json::object();
      choice.set("index", static_cast<int64_t>(i))
          .set("message", message(job, answer, called))
          .set("logprobs", job.request().logprobs ? chat_logprobs(job.request(), context_.tokenizer, answer.logprobs) : Json())
          .set("finish_reason", reading_.finish_reason(answer.finish_reason, called))
          .set("stop_reason", stop_reason_json(answer.stop_reason));
      if (job.request().return_token_ids) choice.set("token_ids", ids_json(answer.token_ids));
      if (i > 0) choices += ',';
      choices += choice.dump();
    }
    std::string answer = head(job, "chat.completion").dump();
    add_member(answer, "choices", choices += ']');
    add_member(answer, "usage", job.usage().json().dump());
    if (job.request().prompt_logprobs) {
      add_member(answer, "prompt_logprobs", prompt_logprobs_text(prompt.logprobs, context_.tokenizer));
    }
    if (job.request().return_token_ids) add_member(answer, "prompt_token_ids", ids_json(prompt.ids).dump());
    if (job.request().return_prompt_text) add_member(answer, "prompt_text", Json(job.request().prompt_text).dump());
    return answer;
  }

  void begin(const GenerationJob& job, size_t, size_t index, std::vector<Json>& chunks) override {
    Json delta = Json::object();
    delta.set("role", role_).set("content", job.request().echo ? job.prompts()[0].text : "");
    Json first = chunk(job, index, std::move(delta));
    if (job.request().return_prompt_text) first.set("prompt_text", job.request().prompt_text);
    chunks.push_back(std::move(first));
    if (streams_.size() <= index) streams_.resize(index + 1);
    streams_[index].parser.emplace(reading_.parser());
  }

  void delta(const GenerationJob& job, size_t, size_t index, const Event& event, std::vector<Json>& chunks) override {
    const bool last = event.finish != FinishReason::kNone;
    const size_t first = chunks.size();
    Stream& stream = streams_[index];
    for (const chat::AnswerPiece& piece : stream.parser->feed(event.text)) add(job, index, piece, chunks);
    if (last) {
      for (const chat::AnswerPiece& piece : stream.parser->finish()) add(job, index, piece, chunks);
    }
    // A chunk a token, half a character and held text too, as vLLM has it: clients time tokens by their chunks.
    const bool news = !event.token_ids.empty() || !event.logprobs.empty() || last;
    if (news && (chunks.size() == first || last)) {
      Json delta = Json::object();
      if (!last) delta.set("content", "");
      chunks.push_back(chunk(job, index, std::move(delta)));
    }
    if (chunks.size() == first) return;
    Json& begun = choice_of(chunks[first]);
    if (job.request().logprobs) begun.set("logprobs", chat_logprobs(job.request(), context_.tokenizer, event.logprobs));
    if (job.request().return_token_ids) begun.set("token_ids", ids_json(event.token_ids));
    if (!last) return;
    choice_of(chunks.back())
        .set("finish_reason", reading_.finish_reason(finish_reason_name(event.finish), stream.calls > 0))
        .set("stop_reason", stop_reason_json(event.stop_reason));
  }

  Json usage_chunk(const GenerationJob& job) override {
    Json answer = head(job, "chat.completion.chunk");
    answer.set("choices", Json::array()).set("usage", job.usage().json());
    return answer;
  }

 private:
  // What is known of one choice while it is streamed.
  struct Stream {
    std::optional<chat::AnswerParser> parser;
    int64_t calls = 0;
  };

  // Of a call; `id` only where it begins.
  static Json call_json(const std::string* id, const std::string* name, const std::string& arguments) {
    Json call = Json::object(), function = Json::object();
    if (id != nullptr) call.set("id", *id).set("type", "function");
    if (name != nullptr) function.set("name", *name);
    function.set("arguments", arguments);
    call.set("function", std::move(function));
    return call;
  }

  Json message(const GenerationJob& job, const Answer& answer, bool& called) const {
    std::string content = job.request().echo ? job.prompts()[0].text : "", reasoning;
    chat::AnswerParser parser = reading_.parser();
    std::vector<chat::AnswerPiece> pieces = parser.feed(answer.text);
    for (chat::AnswerPiece& piece : parser.finish()) pieces.push_back(std::move(piece));
    std::vector<std::pair<std::string, std::string>> calls;
    for (const chat::AnswerPiece& piece : pieces) {
      switch (piece.kind) {
        case chat::AnswerPiece::Kind::kContent: content += piece.text; break;
        case chat::AnswerPiece::Kind::kReasoning: reasoning += piece.text; break;
        case chat::AnswerPiece::Kind::kCall: calls.emplace_back(piece.text, ""); break;
        case chat::AnswerPiece::Kind::kArguments: calls.back().second += piece.text; break;
      }
    }
    called = !calls.empty();
    Json message = Json::object();
    message.set("role", role_).set("content", content.empty() && (called || !reasoning.empty()) ? Json() : Json(content));
    if (reading_.reasoning && reading_.show_reasoning) message.set("reasoning", reasoning.empty() ? Json() : Json(reasoning));
    if (!called) return message;
    if (!reading_.tools.parallel) calls.resize(1);
    Json list = Json::array();
    for (const auto& [name, arguments] : calls) {
      const std::string id = make_call_id(reading_.format);
      list.push_back(call_json(&id, &name, arguments));
    }
    message.set("tool_calls", std::move(list));
    return message;
  }

  void add(const GenerationJob& job, size_t index, const chat::AnswerPiece& piece, std::vector<Json>& chunks) {
    Json delta = Json::object(), call, calls = Json::array();
    int64_t& count = streams_[index].calls;
    switch (piece.kind) {
      case chat::AnswerPiece::Kind::kContent: delta.set("content", piece.text); break;
      case chat::AnswerPiece::Kind::kReasoning:
        if (!reading_.show_reasoning) return;
        delta.set("reasoning", piece.text);
        break;
      case chat::AnswerPiece::Kind::kCall: {
        ++count;
        const std::string id = make_call_id(reading_.format);
        call = call_json(&id, &piece.text, "");
        break;
      }
      case chat::AnswerPiece::Kind::kArguments: call = call_json(nullptr, nullptr, piece.text); break;
    }
    if (!call.is_null()) {
      if (count > 1 && !reading_.tools.parallel) return;
      Json numbered = Json::object();
      numbered.set("index", count - 1);
      for (JsonMember& member : call.as_object("call")) numbered.set(member.key, std::move(member.value));
      calls.push_back(std::move(numbered));
      delta.set("tool_calls", std::move(calls));
    }
    chunks.push_back(chunk(job, index, std::move(delta)));
  }

  Json head(const GenerationJob& job, const char* object) const {
    Json answer = Json::object();
    answer.set("id", context_.id).set("object", object).set("created", job.created()).set("model", context_.model);
    return answer;
  }
  static Json& choice_of(Json& chunk) { return chunk.find("choices")->as_array("choices")[0]; }
  Json chunk(const GenerationJob& job, size_t index, Json delta) const {
    Json choice = Json::object(), choices = Json::array(), answer = head(job, "chat.completion.chunk");
    choice.set("index", static_cast<int64_t>(index))
        .set("delta", std::move(delta))
        .set("logprobs", Json())
        .set("finish_reason", Json())
        .set("stop_reason", Json());
    choices.push_back(std::move(choice));
    answer.set("choices", std::move(choices));
    if (job.request().usage_always) answer.set("usage", job.usage(0, index).json());
    return answer;
  }

  FormatContext context_;
  std::string role_;
  AnswerReading reading_;
  std::vector<Stream> streams_;  // by choice
};

}  // namespace

Json chat_logprobs(const GenerationRequest& request, const Tokenizer* tokenizer,
                   const std::vector<PositionLogprobs>& positions) {
  const auto one = [&](int32_t id, double logprob) {
    const std::string text = token_text(tokenizer, id, request.tokens_as_token_ids);
    Json bytes = Json::array(), entry = Json::object();
    // The token's own, also where they are a part of a character: those of all tokens join to the text.
    const bool spelled = request.tokens_as_token_ids || tokenizer == nullptr;
    for (const char c : spelled ? text : token_bytes(*tokenizer, id))
      bytes.push_back(static_cast<int64_t>(static_cast<unsigned char>(c)));
    entry.set("token", text).set("logprob", logprob).set("bytes", std::move(bytes));
    return entry;
  };
  Json content = Json::array(), result = Json::object();
  for (const PositionLogprobs& position : positions) {
    Json entry = one(position.token, position.logprob), top = Json::array();
    for (const TokenLogprob& each : position.top) top.push_back(one(each.id, each.logprob));
    entry.set("top_logprobs", std::move(top));
    content.push_back(std::move(entry));
  }
  result.set("content", std::move(content));
  return result;
}

std::unique_ptr<AnswerFormat> make_chat_format(FormatContext context, std::string role, AnswerReading reading) {
  return std::make_unique<ChatFormat>(std::move(context), std::move(role), std::move(reading));
}

}  // namespace pagoda::server
