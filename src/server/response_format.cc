// Responses as items, and as the events of their growth.
#include "server/response_format.h"

#include <algorithm>

#include "server/answer_json.h"
#include "server/chat_format.h"

namespace pagoda::server {

namespace {

using Kind = chat::AnswerPiece::Kind;

// One item of the output while it grows.
struct Item {
  Kind kind = Kind::kContent;  // kCall: name and arguments
  std::string id, call_id, name, text;
  Json logprobs = Json::array();  // of content
};

class ResponsesFormat : public AnswerFormat {
 public:
  ResponsesFormat(FormatContext context, const ResponseRequest& request, AnswerReading reading, ResponseStore& store,
                  std::string owner)
      : context_(std::move(context)),
        frame_(request.frame.dump()),
        messages_(request.stores ? request.messages.dump() : ""),
        stores_(request.stores),
        background_(request.background),
        reading_(std::move(reading)),
        store_(store),
        owner_(std::move(owner)),
        parser_(reading_.parser()) {}

  std::string whole(const GenerationJob& job, const std::vector<std::vector<size_t>>&) override {
    const Answer& answer = job.prompts()[0].answers[0];
    take(parser_.feed(answer.text), nullptr);
    take(parser_.finish(), nullptr);
    if (job.request().logprobs) {
      const auto first = answer.logprobs.begin() + std::min<std::ptrdiff_t>(thoughts_end(job), std::ssize(answer.logprobs));
      const Json all = logprobs_of(job, {first, answer.logprobs.end()});
      for (Item& item : items_) {
        if (item.kind == Kind::kContent) item.logprobs = all;
      }
    }
    return finished(job).dump();
  }

  void begin(const GenerationJob& job, size_t, size_t, std::vector<Json>& chunks) override {
    for (const char* type : {"response.created", "response.in_progress"}) {
      Json event = begin_event(type);
      event.set("response", response(job, "in_progress"));
      chunks.push_back(std::move(event));
    }
  }

  void delta(const GenerationJob& job, size_t, size_t, const Event& event, std::vector<Json>& chunks) override {
    if (job.request().logprobs) {
      Json more = logprobs_of(job, event.logprobs);
      for (Json& each : more.as_array("logprobs")) waiting_.push_back(std::move(each));
    }
    take(parser_.feed(event.text), &chunks);
    if (event.finish != FinishReason::kNone) take(parser_.finish(), &chunks);
  }

  void end(const GenerationJob& job, std::vector<Json>& chunks) override {
    if (!items_.empty()) close_item(cut_off(job), chunks);
    Json last = finished(job);
    Json event = begin_event(cut_off(job) ? "response.incomplete" : "response.completed");
    event.set("response", std::move(last));
    chunks.push_back(std::move(event));
  }

  Json failure(const GenerationJob& job, const Error& error) override {
    Json event = begin_event("response.failed");
    event.set("response", failed_response(response(job, "failed"), error.message()));
    return event;
  }

  bool repeats_logprobs() const override { return true; }
  int64_t bytes_of_logprob() const override { return 600; }  // kept as JSON values
  // The store has the frame too while the response is under way, and who answers for it.
  int64_t kept_bytes() const override { return std::ssize(messages_) + (background_ ? 3 : 1) * std::ssize(frame_); }

  Json usage_chunk(const GenerationJob&) override { return {}; }  // usage is in the last event

  std::string bytes(const Json& chunk) const override {
    return "event: " + chunk.get_string("type", "", "event") + "\n" + AnswerFormat::bytes(chunk);
  }
  std::string closing() const override { return ""; }

 private:
  Json response(const GenerationJob& job, const char* status) const {
    return response_frame(Json::parse(frame_, "response"), context_, job.request().params, job.created(), status);
  }
  static bool cut_off(const GenerationJob& job) { return job.prompts()[0].answers[0].finish_reason == "length"; }

  Json begin_event(const char* type) {
    Json event = Json::object();
    event.set("type", type).set("sequence_number", sequence_++);
    return event;
  }
  // An event about the last item.
  Json item_event(const char* type, bool content) {
    Json event = begin_event(type);
    event.set("output_index", static_cast<int64_t>(items_.size()) - 1).set("item_id", items_.back().id);
    if (content) event.set("content_index", 0);
    return event;
  }

  Json logprobs_of(const GenerationJob& job, const std::vector<PositionLogprobs>& positions) const {
    return *chat_logprobs(job.request(), context_.tokenizer, positions).find("content");
  }

  static Json part_json(const Item& item) {
    Json part = Json::object();
    part.set("type", item.kind == Kind::kContent ? "output_text" : "reasoning_text").set("text", item.text);
    if (item.kind == Kind::kContent) part.set("annotations", Json::array()).set("logprobs", item.logprobs);
    return part;
  }
  static Json item_json(const Item& item, const char* status) {
    Json json = Json::object(), content = Json::array();
    json.set("id", item.id);
    const bool begun = std::string_view(status) != "in_progress";
    if (item.kind == Kind::kCall) {
      json.set("type", "function_call")
          .set("call_id", item.call_id)
          .set("name", item.name)
          .set("arguments", item.text)
          .set("status", status);
      return json;
    }
    if (begun) content.push_back(part_json(item));
    if (item.kind == Kind::kContent) {
      json.set("type", "message").set("role", "assistant");
    } else {
      json.set("type", "reasoning").set("summary", Json::array());
    }
    json.set("status", status).set("content", std::move(content));
    return json;
  }

  // Pieces of the answer into items, and into events where there is a stream.
  void take(const std::vector<chat::AnswerPiece>& pieces, std::vector<Json>* chunks) {
    for (const chat::AnswerPiece& piece : pieces) {
      thought_ = thought_ || piece.kind == Kind::kReasoning;
      if (piece.kind == Kind::kReasoning && !reading_.show_reasoning) continue;
      const Kind kind = piece.kind == Kind::kArguments ? Kind::kCall : piece.kind;
      if (piece.kind == Kind::kCall) ++calls_;
      if (kind == Kind::kCall && calls_ > 1 && !reading_.tools.parallel) continue;
      if (piece.kind == Kind::kCall || items_.empty() || items_.back().kind != kind) open_item(piece, kind, chunks);
      if (piece.kind != Kind::kCall) grow(piece, chunks);
    }
  }

  void open_item(const chat::AnswerPiece& piece, Kind kind, std::vector<Json>* chunks) {
    if (chunks != nullptr && !items_.empty()) close_item(false, *chunks);
    Item item;
    item.kind = kind;
    item.id = (kind == Kind::kContent ? "msg_" : kind == Kind::kReasoning ? "rs_" : "fc_") + random_text(32);
    if (kind == Kind::kCall) {
      item.call_id = make_call_id(reading_.format);
      item.name = piece.text;
    }
    items_.push_back(std::move(item));
    if (chunks == nullptr) return;
    Json event = begin_event("response.output_item.added");
    event.set("output_index", static_cast<int64_t>(items_.size()) - 1).set("item", item_json(items_.back(), "in_progress"));
    chunks->push_back(std::move(event));
    if (kind == Kind::kCall) return;
    Json part = item_event("response.content_part.added", true);
    part.set("part", part_json(items_.back()));
    chunks->push_back(std::move(part));
  }

  void grow(const chat::AnswerPiece& piece, std::vector<Json>* chunks) {
    Item& item = items_.back();
    item.text += piece.text;
    if (chunks == nullptr) return;
    const bool content = item.kind == Kind::kContent;
    Json event = item_event(content                         ? "response.output_text.delta"
                            : item.kind == Kind::kReasoning ? "response.reasoning_text.delta"
                                                            : "response.function_call_arguments.delta",
                            item.kind != Kind::kCall);
    event.set("delta", piece.text);
    if (content) {
      for (const Json& each : waiting_.as_array("logprobs")) item.logprobs.push_back(each);
      event.set("logprobs", waiting_);
    }
    waiting_ = Json::array();
    chunks->push_back(std::move(event));
  }

  void close_item(bool cut, std::vector<Json>& chunks) {
    const Item& item = items_.back();
    if (item.kind == Kind::kCall) {
      Json event = item_event("response.function_call_arguments.done", false);
      event.set("name", item.name).set("arguments", item.text);
      chunks.push_back(std::move(event));
    } else {
      const bool content = item.kind == Kind::kContent;
      Json event = item_event(content ? "response.output_text.done" : "response.reasoning_text.done", true);
      event.set("text", item.text);
      if (content) event.set("logprobs", item.logprobs);
      chunks.push_back(std::move(event));
      Json part = item_event("response.content_part.done", true);
      part.set("part", part_json(item));
      chunks.push_back(std::move(part));
    }
    Json event = begin_event("response.output_item.done");
    event.set("output_index", static_cast<int64_t>(items_.size()) - 1)
        .set("item", item_json(item, cut ? "incomplete" : "completed"));
    chunks.push_back(std::move(event));
  }

  // Tokens up to the end of the thoughts, marks included; all, where they did not end.
  int64_t thoughts_end(const GenerationJob& job) const {
    if (!thought_) return 0;
    const Answer& answer = job.prompts()[0].answers[0];
    const auto end = context_.tokenizer->token_to_id(chat::kThinkClose);
    const auto at = end ? std::find(answer.token_ids.begin(), answer.token_ids.end(), *end) : answer.token_ids.end();
    if (at != answer.token_ids.end()) return at - answer.token_ids.begin() + 1;
    int64_t tokens = 0;
    for (const Item& item : items_) {
      if (item.kind == Kind::kReasoning) tokens += std::ssize(context_.tokenizer->encode_ids(item.text, false));
    }
    return std::min(tokens, std::ssize(answer.token_ids));
  }

  // Without their marks, as vLLM counts.
  int64_t reasoning_tokens(const GenerationJob& job) const {
    const std::vector<int32_t>& ids = job.prompts()[0].answers[0].token_ids;
    const int64_t end = thoughts_end(job);
    int64_t marks = 0;
    for (const std::string_view mark : {chat::kThinkOpen, chat::kThinkClose}) {
      if (const auto id = context_.tokenizer->token_to_id(mark)) marks += std::count(ids.begin(), ids.begin() + end, *id);
    }
    return end - marks;
  }

  Json usage(const GenerationJob& job) const {
    const Usage used = job.usage();
    Json in = Json::object(), out = Json::object(), usage = Json::object();
    in.set("cached_tokens", used.cached_tokens).set("cache_write_tokens", 0);
    out.set("reasoning_tokens", reasoning_tokens(job));
    usage.set("input_tokens", used.prompt_tokens)
        .set("input_tokens_details", std::move(in))
        .set("output_tokens", used.completion_tokens)
        .set("output_tokens_details", std::move(out))
        .set("total_tokens", used.prompt_tokens + used.completion_tokens);
    return usage;
  }

  // The response as it is answered, and kept where it shall be.
  Json finished(const GenerationJob& job) {
    const bool cut = cut_off(job);
    Json answer = response(job, cut ? "incomplete" : "completed"), output = Json::array(), reason = Json::object();
    for (size_t i = 0; i < items_.size(); ++i) {
      output.push_back(item_json(items_[i], cut && i + 1 == items_.size() ? "incomplete" : "completed"));
    }
    if (cut) answer.set("incomplete_details", reason.set("reason", "max_output_tokens"));
    answer.set("usage", usage(job));
    answer.set("output", output);
    if (!stores_) return answer;
    Json messages = Json::parse(messages_, "response");
    append_items(messages, output);
    if (background_) {
      store_.close(context_.id, answer.dump(), messages.dump());
    } else {
      store_.put(context_.id, {owner_, answer.dump(), messages.dump(), nullptr});
    }
    return answer;
  }

  FormatContext context_;
  const std::string frame_, messages_;  // as text: as JSON values they would take many times the memory
  const bool stores_, background_;
  AnswerReading reading_;
  ResponseStore& store_;
  std::string owner_;
  chat::AnswerParser parser_;
  std::vector<Item> items_;
  Json waiting_ = Json::array();  // log-probabilities of text that is held back
  int64_t sequence_ = 0, calls_ = 0;
  bool thought_ = false;
};

}  // namespace

std::unique_ptr<AnswerFormat> make_response_format(FormatContext context, const ResponseRequest& request, AnswerReading reading,
                                                   ResponseStore& store, std::string owner) {
  return std::make_unique<ResponsesFormat>(std::move(context), request, std::move(reading), store, std::move(owner));
}

Json response_frame(const Json& fields, const FormatContext& context, const SamplingParams& params, int64_t created,
                    const char* status) {
  Json answer = Json::object();
  answer.set("id", context.id)
      .set("object", "response")
      .set("created_at", created)
      .set("status", status)
      .set("error", Json())
      .set("incomplete_details", Json())
      .set("model", context.model)
      .set("output", Json::array())
      .set("temperature", params.temperature)
      .set("top_p", params.top_p);
  for (const JsonMember& member : fields.as_object("response")) answer.set(member.key, member.value);
  answer.set("usage", Json());
  return answer;
}

Json failed_response(Json response, const std::string& message) {
  Json error = Json::object();
  error.set("code", "server_error").set("message", message);
  response.set("status", "failed").set("error", std::move(error));
  return response;
}

}  // namespace pagoda::server
