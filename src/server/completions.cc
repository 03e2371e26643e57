// /v1/completions: prompts as text or ids, answers as OpenAI and vLLM write them.
#include <algorithm>

#include "base/error.h"
#include "base/utf8.h"
#include "server/answer_json.h"
#include "server/generation_job.h"
#include "server/generation_routes.h"
#include "server/prompt_input.h"
#include "server/served_generator.h"

namespace pagoda::server {

namespace {

class CompletionFormat : public AnswerFormat {
 public:
  explicit CompletionFormat(FormatContext context) : context_(std::move(context)) {}

  // Choice by choice: as one tree all of them would take many times the memory of their text.
  std::string whole(const GenerationJob& job, const std::vector<std::vector<size_t>>& order) override {
    std::string choices = "[";
    for (size_t p = 0; p < order.size(); ++p) {
      const PromptState& prompt = job.prompts()[p];
      const std::string prompt_logprobs =
          job.request().prompt_logprobs ? prompt_logprobs_text(prompt.logprobs, context_.tokenizer) : "";
      for (size_t i = 0; i < order[p].size(); ++i) {
        const Answer& answer = prompt.answers[order[p][i]];
        Json choice = Json::object();
        const std::string echoed = job.request().echo ? echo_text(prompt) : "";
        choice.set("index", number(job, p, i)).set("text", echoed + answer.text);
        Json logprobs;
        if (job.request().logprobs) {
          TokenTexts texts = texts_after(job, prompt);
          logprobs = Json::object();
          if (job.request().echo) add_logprobs(logprobs, prompt.ids, prompt.logprobs, true, texts, job.request());
          add_logprobs(logprobs, answer.token_ids, answer.logprobs, false, texts, job.request());
        }
        choice.set("logprobs", std::move(logprobs))
            .set("finish_reason", answer.finish_reason)
            .set("stop_reason", stop_reason_json(answer.stop_reason));
        if (job.request().return_token_ids) {
          choice.set("token_ids", ids_json(answer.token_ids)).set("prompt_token_ids", ids_json(prompt.ids));
        }
        std::string text = choice.dump();
        if (job.request().prompt_logprobs) add_member(text, "prompt_logprobs", prompt_logprobs);
        if (choices.size() > 1) choices += ',';
        choices += text;
      }
    }
    std::string answer = head(job).dump();
    add_member(answer, "choices", choices += ']');
    add_member(answer, "usage", job.usage().json().dump());
    return answer;
  }

  bool repeats_prompts() const override { return true; }

  void begin(const GenerationJob& job, size_t prompt, size_t index, std::vector<Json>& chunks) override {
    texts_.resize(job.prompts().size() * static_cast<size_t>(job.request().best_of));
    const PromptState& state = job.prompts()[prompt];
    texts(job, prompt, index) = texts_after(job, state);
    if (!job.request().echo) return;
    Json choice = Json::object(), logprobs;
    if (job.request().logprobs) {
      logprobs = Json::object();
      add_logprobs(logprobs, state.ids, state.logprobs, true, texts(job, prompt, index), job.request());
    }
    choice.set("index", number(job, prompt, index))
        .set("text", echo_text(state))
        .set("logprobs", std::move(logprobs))
        .set("finish_reason", Json())
        .set("stop_reason", Json());
    chunks.push_back(chunk(job, prompt, index, std::move(choice)));
  }

  void delta(const GenerationJob& job, size_t prompt, size_t index, const Event& event, std::vector<Json>& chunks) override {
    const bool last = event.finish != FinishReason::kNone;
    // A chunk a token, half a character too, as vLLM has it: clients time tokens by their chunks.
    if (event.text.empty() && event.token_ids.empty() && !last) return;
    Json choice = Json::object(), logprobs;
    if (job.request().logprobs) {
      logprobs = Json::object();
      add_logprobs(logprobs, event.token_ids, event.logprobs, false, texts(job, prompt, index), job.request());
    }
    choice.set("index", number(job, prompt, index))
        .set("text", event.text)
        .set("logprobs", std::move(logprobs))
        .set("finish_reason", last ? Json(finish_reason_name(event.finish)) : Json())
        .set("stop_reason", stop_reason_json(event.stop_reason));
    if (job.request().return_token_ids) choice.set("token_ids", ids_json(event.token_ids));
    chunks.push_back(chunk(job, prompt, index, std::move(choice)));
  }

  Json usage_chunk(const GenerationJob& job) override {
    Json answer = head(job);
    answer.set("choices", Json::array()).set("usage", job.usage().json());
    return answer;
  }

 private:
  Json head(const GenerationJob& job) const {
    Json answer = Json::object();
    answer.set("id", context_.id).set("object", "text_completion").set("created", job.created()).set("model", context_.model);
    return answer;
  }
  Json chunk(const GenerationJob& job, size_t prompt, size_t index, Json choice) const {
    Json choices = Json::array(), answer = head(job);
    choices.push_back(std::move(choice));
    answer.set("choices", std::move(choices));
    if (job.request().usage_always) answer.set("usage", job.usage(prompt, index).json());
    return answer;
  }
  static int64_t number(const GenerationJob& job, size_t prompt, size_t index) {
    return static_cast<int64_t>(prompt) * job.request().n + static_cast<int64_t>(index);
  }
  TokenTexts& texts(const GenerationJob& job, size_t prompt, size_t index) {
    return texts_[prompt * static_cast<size_t>(job.request().best_of) + index];
  }
  // Those of what is told: the prompt's tokens are where they are echoed.
  TokenTexts texts_after(const GenerationJob& job, const PromptState& prompt) const {
    TokenTexts texts;
    const auto is_text = [&](int32_t id) { return !context_.tokenizer->is_special(id); };
    texts.begun =
        context_.tokenizer != nullptr && !job.request().echo && std::any_of(prompt.ids.begin(), prompt.ids.end(), is_text);
    return texts;
  }
  std::string echo_text(const PromptState& prompt) const {
    if (!prompt.text.empty() || context_.tokenizer == nullptr) return prompt.text;
    return context_.tokenizer->decode(prompt.ids, true);
  }
  // Appends to OpenAI's four lists. A prompt's first token has no log-probability.
  void add_logprobs(Json& lists, const std::vector<int32_t>& ids, const std::vector<PositionLogprobs>& positions, bool prompt,
                    TokenTexts& texts, const GenerationRequest& request) const {
    for (const char* key : {"text_offset", "token_logprobs", "tokens", "top_logprobs"}) {
      if (!lists.contains(key)) lists.set(key, Json::array());
    }
    const size_t skipped = prompt ? 1 : 0;
    for (size_t i = 0; i < ids.size(); ++i) {
      lists.find("text_offset")->push_back(static_cast<int64_t>(texts.offset));
      const std::string text = texts.next(context_.tokenizer, ids[i], request.tokens_as_token_ids);
      lists.find("tokens")->push_back(text);
      const bool known = i >= skipped && i - skipped < positions.size();
      lists.find("token_logprobs")->push_back(known ? Json(positions[i - skipped].logprob) : Json());
      Json top;
      if (known) {
        const PositionLogprobs& position = positions[i - skipped];
        top = Json::object();
        for (const TokenLogprob& each : position.top) {
          if (each.id != position.token) {
            top.set(token_text(context_.tokenizer, each.id, request.tokens_as_token_ids), each.logprob);
          }
        }
        top.set(text, position.logprob);  // whatever its rank
      }
      lists.find("top_logprobs")->push_back(std::move(top));
    }
  }

  FormatContext context_;
  std::vector<TokenTexts> texts_;
};

struct CompletionBody {
  GenerationRequest request;
  const Json* prompt = nullptr;
};

CompletionBody read_completion(const ServedGenerator& served, Fields& fields) {
  const RequestLimits& limits = served.serving().limits();
  served.serving().check_model(fields);
  CompletionBody body;
  body.request = parse_generation(fields, Endpoint::kCompletions, served.defaults(), limits, served.generation());
  body.prompt = fields.take("prompt", prompt_input_schema(limits.max_prompts, served.texts().vocab_size()));
  fields.require("prompt", "a string, a list of strings, a list of ids or a list of such lists");
  fields.refuse({"suffix", "prompt_embeds"}, "not supported by this server");
  fields.finish();
  return body;
}

PromptState prompt_of(const ServedGenerator& served, PromptInput input, const GenerationRequest& request) {
  PromptState prompt;
  if (auto* text = std::get_if<std::string>(&input)) {
    prompt.text = served.texts().limit().fit(std::move(*text), "prompt", request.truncation);
    prompt.ids = served.encode(prompt.text, "prompt", request.add_special_tokens.value_or(true));
  } else {
    prompt.ids = std::move(std::get<std::vector<int32_t>>(input));
  }
  const size_t before = prompt.ids.size();
  truncate_prompt(prompt.ids, request.truncation);
  if (prompt.ids.size() < before) prompt.text.clear();
  return prompt;
}

void complete(ServedGenerator& served, const Call& call) {
  RequestBody in(call.http);
  CompletionBody body = read_completion(served, in.fields);
  std::vector<PromptState> prompts;
  const int64_t most = served.serving().limits().max_prompts;
  for (PromptInput& input : read_prompt_input(*body.prompt, "prompt", most, served.texts().vocab_size())) {
    prompts.push_back(prompt_of(served, std::move(input), body.request));
  }
  auto format = std::make_unique<CompletionFormat>(served.format_context("cmpl-", body.request, call));
  served.start(std::move(body.request), std::move(prompts), std::move(format), call);
}

}  // namespace

RouteOf<ServedGenerator> completions_route() {
  return {{"POST", "/v1/completions", {"Text that follows prompts", "Completion", "CompletionChunk"}},
          complete,
          [](const ServedGenerator& served, Fields& fields) { read_completion(served, fields); }};
}

}  // namespace pagoda::server
