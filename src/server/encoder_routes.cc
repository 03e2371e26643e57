// The routes over an encoder: embeddings, rerank, score, classify as vLLM has them, and HF's pipelines by task.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/stable_sort.h"
#include "server/answer_json.h"
#include "server/app.h"
#include "server/pooling_job.h"
#include "server/prompt_input.h"

namespace pagoda::server {

namespace {

constexpr const char* kJson = "application/json";
constexpr int64_t kMostTokens = int64_t{1} << 31;
constexpr size_t kHeadBytes = 4096;         // of long answers
constexpr size_t kLongFirst = 1 << 17;      // bytes of a text that every document is paired with: its tokens are counted first
constexpr size_t kMostInWindows = 1 << 22;  // bytes of a text for tasks that read it in parts

int64_t tokens_of(const std::vector<SequenceInput>& sequences) {
  int64_t count = 0;
  for (const SequenceInput& sequence : sequences) count += static_cast<int64_t>(sequence.ids.size());
  return count;
}

Json usage_json(int64_t tokens) {
  Json usage = Json::object();
  usage.set("prompt_tokens", tokens).set("total_tokens", tokens).set("completion_tokens", 0);
  return usage.set("prompt_tokens_details", Json());
}

std::string strings_schema(int64_t most, bool or_one) {
  const std::string list =
      fmt::format(R"({{"type": "array", "minItems": 1, "maxItems": {}, "items": {{"type": "string"}}}})", most);
  return or_one ? fmt::format(R"({{"anyOf": [{{"type": "string"}}, {}]}})", list) : list;
}

std::string documents_schema(int64_t most) {
  return fmt::format(
      R"({{"type": "array", "minItems": 1, "maxItems": {}, "items": {{"anyOf": [{{"type": "string"}}, {{"type": "object", "properties": {{"text": {{"type": "string"}}}}, "required": ["text"]}}]}}}})",
      most);
}

// Between the texts of a request: nobody reads the error.
void check_there(const HttpResponse& response) {
  if (response.gone()) fail(ErrorKind::kDevice, "http", "the client is gone");
}

// Each no longer than it may be. One text is what all others are paired with, or the only one.
std::vector<std::string> fit_all(std::vector<std::string> texts, std::string_view where, const TextLimit& limit,
                                 const Truncation& truncation) {
  const size_t tokenized = texts.size() == 1 ? kLongFirst : TextLimit::kAlwaysTokenized;
  for (std::string& text : texts) text = limit.fit(std::move(text), where, truncation, tokenized);
  return texts;
}

// All texts in what a task takes.
void check_texts(const Json& value, const TextLimit& limit, size_t tokenized) {
  if (value.is_string()) return limit.check(value.as_string("inputs"), "inputs", tokenized);
  if (value.is_array()) {
    for (const Json& each : value.as_array("inputs")) check_texts(each, limit, tokenized);
  } else if (value.is_object()) {
    for (const JsonMember& member : value.as_object("inputs")) check_texts(member.value, limit, tokenized);
  }
}

// Of a task's inputs: they are a list, or one object with lists (of questions, say).
size_t longest_list(const Json& inputs) {
  if (!inputs.is_object()) return inputs.is_array() ? inputs.size() : 0;
  size_t longest = 0;
  for (const JsonMember& member : inputs.as_object("inputs")) {
    if (member.value.is_array()) longest = std::max(longest, member.value.size());
  }
  return longest;
}

// JSON has no word for what is not finite, and readers stop at it.
void check_finite(double value) {
  if (!std::isfinite(value)) fail(ErrorKind::kInternal, "scores", "the model's outputs make a score of {}", value);
}

void check_finite(const Json& value) {
  if (value.is_array()) {
    for (const Json& each : value.as_array("result")) check_finite(each);
  } else if (value.is_object()) {
    for (const JsonMember& member : value.as_object("result")) check_finite(member.value);
  } else if (value.is_number()) {
    check_finite(value.as_double("result"));
  }
}

// What feature-extraction makes of texts: [[[...], ...]] each, all rows; one vector each where they are pooled.
struct FeatureFormat {
  bool list, pooled, unit;
  std::string operator()(const std::vector<SequenceOutput>& outputs) const {
    std::string out = list ? "[" : "";
    size_t numbers = 0;
    for (const SequenceOutput& output : outputs) numbers += output.values.size();
    out.reserve(numbers * kBytesOfNumber + kHeadBytes);  // room that is made once
    for (size_t i = 0; i < outputs.size(); ++i) {
      const SequenceOutput& output = outputs[i];
      check_finite(output);
      if (i > 0) out += ',';
      if (pooled) {
        append_vector(out, unit ? unit_vector(output) : output.values, false);
        continue;
      }
      out += "[[";
      for (int64_t row = 0; row < output.rows; ++row) {
        if (row > 0) out += ',';
        append_vector(out, {output.row(row), static_cast<size_t>(output.columns)}, false);
      }
      out += "]]";
    }
    if (list) out += ']';
    return out;
  }
};

std::vector<std::string> string_list(const Json& value, std::string_view where, int64_t most) {
  if (value.is_string()) return {value.as_string(where)};
  std::vector<std::string> list;
  for (const Json& each : value.as_array(where)) list.push_back(each.as_string(where));
  if (list.empty()) invalid(where, "empty list: need at least one text");
  if (static_cast<int64_t>(list.size()) > most) invalid(where, "too many: got {}, need at most {}", list.size(), most);
  return list;
}

// A document of /rerank is a text, or {"text": ...} as Jina's and Cohere's clients may send it.
std::vector<std::string> document_list(const Json& value, int64_t most) {
  Json texts = Json::array();
  for (const Json& each : value.as_array("documents")) {
    texts.push_back(each.is_object() ? each.at("text", "documents") : each);
  }
  return string_list(texts, "documents", most);
}

// Cut as asked, else held against what there is room for.
Encoding cut(EncodedText encoded, const std::optional<int64_t>& truncate, int64_t most) {
  if (truncate)
    truncate_text(encoded, std::min(*truncate < 0 ? most : *truncate, most), pagoda::Truncation::Strategy::kLongestFirst);
  if (static_cast<int64_t>(encoded.encoding.size()) > most) {
    invalid("input", "too long: got {} tokens, need at most {} (or truncate_prompt_tokens)", encoded.encoding.size(), most);
  }
  return std::move(encoded.encoding);
}

// What a text is to become: rows of the head.
SequenceInput text_input(const SequenceModel& model, const std::string& text, const std::optional<int64_t>& truncate) {
  return model.input_of(cut(model.encode(text), truncate, sentence_length(model)));
}

// ... of a CrossEncoder's pair
SequenceInput pair_input(const SequenceModel& model, EncodedText pair, const std::optional<int64_t>& truncate) {
  return model.input_of(cut(std::move(pair), truncate, sentence_length(model)));
}

// ... or one vector.
SequenceInput vector_input(const SequenceModel& model, const std::string& text, const SentenceOptions& options,
                           const std::optional<int64_t>& truncate) {
  return sentence_input(model, cut(encode_sentence(model, text, options.prompt), truncate, sentence_length(model)), options);
}

// ... of ids, which have their special tokens and their prompt, or shall have none.
SequenceInput ids_input(const SequenceModel& model, std::vector<int32_t> ids, SentenceOptions options,
                        const Truncation& truncation) {
  truncate_prompt(ids, truncation);
  const int64_t most = sentence_length(model);
  if (std::ssize(ids) > most) {
    invalid("input", "too long: got {} tokens, need at most {} (or truncate_prompt_tokens)", ids.size(), most);
  }
  Encoding encoding;
  encoding.type_ids.assign(ids.size(), 0);
  encoding.ids = std::move(ids);
  options.prompt.clear();
  return sentence_input(model, encoding, options);
}

// ... of a text without special tokens; its prompt stands before it all the same.
SequenceInput bare_input(const SequenceModel& model, const std::string& text, const SentenceOptions& options,
                         const Truncation& truncation) {
  const auto ids_of = [&](const std::string& part) { return model.tokenizer()->encode_ids(sentence_text(model, part), false); };
  SequenceInput input = ids_input(model, ids_of(options.prompt + text), options, truncation);
  if (options.layers && !model.sentence().include_prompt) input.pooled_from = std::ssize(ids_of(options.prompt));
  return input;
}

// How a model of embeddings makes its vectors: as its folder says, but that --pooler-config may say how it pools, and that
// requests normalize.
SentenceOptions vector_options(const SequenceModel& model, const std::optional<PoolingType>& asked,
                               const std::string& prompt_name = "") {
  SentenceOptions options = sentence_options(model, prompt_name);
  if (asked == PoolingType::kLast) options.pooling = {RowPooling::kLastToken};
  if (asked == PoolingType::kMean) options.pooling = {RowPooling::kMean};
  if (asked == PoolingType::kCls) options.pooling = {RowPooling::kCls};
  return options;
}

std::vector<float> vector_of(const SequenceOutput& output, const PoolingParams& params) {
  if (params.dimensions <= 0 || params.dimensions >= output.columns) {
    return params.normalize ? unit_vector(output) : output.values;
  }
  SequenceOutput cut;
  cut.rows = 1;
  cut.columns = params.dimensions;
  cut.values.assign(output.values.begin(), output.values.begin() + params.dimensions);
  return params.normalize ? unit_vector(cut) : cut.values;
}

double dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

// Scores of pairs of texts: by a classifier of one label that reads both, or as cosines of their vectors.
class PairScorer {
 public:
  PairScorer(const SequenceModel& model, const PoolingParams& pooling)
      : model_(model), pooling_(pooling), cross_(model.head() == Head::kSequenceClassification) {
    pooling_.normalize = true;  // of cosines
    if (cross_ && model.labels().names.size() != 1) {
      unsupported("model", "scores need a classifier of one label: got {}", model.labels().names.size());
    }
    if (!cross_ && model.head() != Head::kNone) {
      unsupported("model", "{} gives no scores of pairs: need a classifier of one label or a model of embeddings",
                  model.model().architecture());
    }
  }

  // firsts and seconds are of one length, or there is one first for all.
  std::vector<SequenceInput> inputs(std::vector<std::string> firsts, std::vector<std::string> seconds,
                                    const std::optional<int64_t>& truncate, const HttpResponse& response) const {
    std::vector<SequenceInput> sequences;
    const auto add = [&](SequenceInput sequence) {
      check_there(response);
      sequences.push_back(std::move(sequence));
    };
    if (cross_ && firsts.size() == 1 && firsts[0].size() > kLongFirst && !truncate) check_first(firsts[0]);
    if (cross_) {
      const std::string prompt = prompt_text(model_.sentence(), "");
      for (std::string& text : firsts) text = sentence_text(model_, prompt + text);
      for (std::string& text : seconds) text = sentence_text(model_, std::move(text));
    }
    if (cross_ && firsts.size() == 1) {
      const PairEncoder pairs(model_, firsts[0]);
      for (const std::string& text : seconds) add(pair_input(model_, pairs.with(text), truncate));
      return sequences;
    }
    if (cross_) {
      for (size_t i = 0; i < seconds.size(); ++i) {
        add(pair_input(model_, model_.encode(firsts[i], &seconds[i]), truncate));
      }
      return sequences;
    }
    const SentenceOptions options = vector_options(model_, pooling_.type);
    for (const std::string& text : firsts) add(vector_input(model_, text, options, truncate));
    for (const std::string& text : seconds) add(vector_input(model_, text, options, truncate));
    return sequences;
  }

  std::vector<double> scores(const std::vector<SequenceOutput>& outputs, size_t firsts, bool activate) const {
    std::vector<double> scores;
    if (cross_) {
      for (const SequenceOutput& output : outputs) {
        const auto score = static_cast<double>(activate ? pair_score(model_.labels(), output) : output.row(0)[0]);
        check_finite(score);
        scores.push_back(score);
      }
      return scores;
    }
    std::vector<std::vector<float>> vectors;
    for (const SequenceOutput& output : outputs) vectors.push_back(vector_of(output, pooling_));
    for (size_t i = firsts; i < vectors.size(); ++i) scores.push_back(dot(vectors[firsts == 1 ? 0 : i - firsts], vectors[i]));
    return scores;
  }

 private:
  // Told once, not by the first pair of many that copies it.
  void check_first(const std::string& text) const {
    const int64_t most = sentence_length(model_), count = std::ssize(model_.tokenizer()->encode_ids(text, false));
    if (count > most) {
      invalid("text_1 or query", "too long: got {} tokens, need at most {} (or truncate_prompt_tokens)", count, most);
    }
  }

  const SequenceModel& model_;
  PoolingParams pooling_;
  bool cross_;
};

}  // namespace

const std::vector<App::Entry>& App::encoder_routes() {
  static const std::vector<Entry> kEntries = [] {
    std::vector<Entry> list;
    for (const Entry& entry : routes()) {
      for (const char* path : {"/health", "/ping", "/version", "/openapi.json", "/metrics", "/v1/models", "/v1/models/{model}",
                               "/tokenize", "/detokenize"}) {
        if (entry.path == path) list.push_back(entry);
      }
    }
    const auto add = [&](const char* path, Route route, RouteDoc doc, void (*read)(const App&, Fields&)) {
      list.push_back({"POST", path, route, true, true, doc, read});
    };
    add("/v1/embeddings", &App::encoder_embeddings, {"A vector for each input", "EmbeddingList"},
        [](const App& app, Fields& fields) { app.read_embedding(fields); });
    for (const char* path : {"/v1/rerank", "/rerank", "/v2/rerank"}) {
      add(path, &App::rerank, {"Documents by how well they fit a query", "Reranked"},
          [](const App& app, Fields& fields) { app.read_rerank(fields); });
    }
    for (const char* path : {"/v1/score", "/score"}) {
      add(path, &App::score, {"How well pairs of texts fit", "ScoreList"},
          [](const App& app, Fields& fields) { app.read_score(fields); });
    }
    add("/classify", &App::classify, {"Labels of texts", "ClassificationList"},
        [](const App& app, Fields& fields) { app.read_classify(fields); });
    add("/pipelines/{task}", &App::run_task, {"What HF's pipeline of this name gives", "TaskResult"},
        [](const App& app, Fields& fields) { app.read_task(fields); });
    return list;
  }();
  return kEntries;
}

void App::ready(std::shared_ptr<const SequenceModel> model) {
  encoder_ = std::make_unique<EncoderService>(std::move(model), options_.max_open);
  if (encoder_->model().tokenizer()) text_limit_ = TextLimit(*encoder_->model().tokenizer(), max_model_len());
  name_params(encoder_routes());
  ready_ = true;
}

std::vector<std::string> App::encoder_route_names() {
  std::vector<std::string> names;
  for (const Entry& entry : encoder_routes()) names.push_back(entry.method + " " + entry.path);
  return names;
}

// Hands an encoder's request to the batches; its answer follows, written on the connection's thread.
void App::submit(std::vector<SequenceInput> sequences, AnswerWriter write, const std::shared_ptr<HttpResponse>& response) {
  const auto timer = std::make_shared<RequestTimer>(tokens_of(sequences), 1, 0);
  const auto answer = [this, timer, response, write = std::move(write)](const std::vector<SequenceOutput>& outputs,
                                                                        std::optional<Error> error) {
    std::string body;
    try {
      if (!error) body = write(outputs);
    } catch (...) {
      error = current_error();
    }
    metrics_.finish(*timer, error ? "error" : "stop");
    if (!error) return response->send(200, kJson, std::move(body));
    const int status = http_status(error->kind());
    response->send(status, kJson, error_body(status, error->message()));
  };
  const auto done = [response, answer](std::vector<SequenceOutput> outputs, const Error* error) {
    const auto kept = std::make_shared<const std::vector<SequenceOutput>>(std::move(outputs));
    response->post([answer, kept, failed = error == nullptr ? std::optional<Error>() : *error] { answer(*kept, failed); });
  };
  int64_t values = 0;
  for (const SequenceInput& sequence : sequences) values += encoder_->model().num_values(sequence);
  if (!hold_vectors(values, *response)) return;
  const auto ticket = encoder_->submit(std::move(sequences), done);
  if (!ticket) {
    metrics_.count_rejection();
    return send_busy(*response, "[server] too many requests are open: try again later");
  }
  response->on_disconnect([this, timer, ticket = *ticket] {
    encoder_->cancel(ticket);
    metrics_.finish(*timer, "abort");
  });
}

// Encoders cut at the side that their tokenizer names.
Truncation App::cut_as_model(const std::optional<int64_t>& tokens) const {
  return {tokens, encoder_->model().tokenizer_config().truncation_left};
}

void App::encoder_embeddings(const HttpRequest& http, const std::shared_ptr<HttpResponse>& response) {
  const Json json = Json::parse(http.body, "request");
  Fields fields(json, "request");
  const EmbeddingBody body = read_embedding(fields);
  const SequenceModel& model = encoder_->model();
  const int64_t vocab = model.model().vocab_size();
  const SentenceOptions options = vector_options(model, body.pooling.type, body.prompt_name);
  const Truncation truncation = cut_as_model(body.truncation.tokens);
  std::vector<SequenceInput> sequences;
  for (PromptInput& input : read_prompt_input(*body.input, "input", options_.limits.max_inputs, vocab)) {
    check_there(*response);
    auto* text = std::get_if<std::string>(&input);
    if (text != nullptr) *text = text_limit_.fit(std::move(*text), "input", truncation);
    if (text == nullptr) {
      if (!body.prompt_name.empty()) invalid("prompt_name", "a prompt stands before texts: got ids");
      sequences.push_back(ids_input(model, std::move(std::get<std::vector<int32_t>>(input)), options, truncation));
    } else if (body.add_special_tokens) {
      sequences.push_back(vector_input(model, *text, options, truncation.tokens));
    } else {
      sequences.push_back(bare_input(model, *text, options, truncation));
    }
  }
  const std::string id = "embd-" + (body.request_id.empty() ? http.id : body.request_id);
  const auto write = [id, name = model_name(), tokens = tokens_of(sequences), pooling = body.pooling, base64 = body.base64,
                      created = unix_seconds()](const std::vector<SequenceOutput>& outputs) {
    PoolingResult result;
    result.prompt_tokens = tokens;
    for (const SequenceOutput& output : outputs) result.vectors.push_back(vector_of(output, pooling));
    return embeddings_body(result, id, name, base64, created);
  };
  submit(std::move(sequences), write, response);
}

App::PairsBody App::read_pairs(Fields& fields) const {
  PairsBody body;
  body.activate = options_.pooling.normalize;  // --pooler-config's use_activation
  body.truncate = fields.integer("truncate_prompt_tokens", -1, kMostTokens);
  for (const char* key : {"use_activation", "activation"}) {
    if (const auto value = fields.boolean(key)) body.activate = *value;
  }
  body.request_id = fields.string("request_id", kLongestId).value_or("");
  take_priority(fields, false);
  fields.ignore({"user"});
  fields.refuse({"mm_processor_kwargs", "media_io_kwargs"}, "not supported by this server");
  return body;
}

App::RerankBody App::read_rerank(Fields& fields) const {
  check_model(fields);
  RerankBody body;
  const int64_t most = options_.limits.max_inputs;
  body.query = fields.string("query", kAnyLength).value_or("");
  fields.require("query", "a string");
  body.documents = fields.take("documents", documents_schema(most));
  fields.require("documents", R"(a list of strings or of {"text": ...})");
  body.top_n = fields.integer("top_n", 0, kMostTokens).value_or(0);
  body.return_documents = fields.boolean("return_documents").value_or(true);
  body.pairs = read_pairs(fields);
  fields.finish();
  return body;
}

void App::rerank(const HttpRequest& http, const std::shared_ptr<HttpResponse>& response) {
  const Json json = Json::parse(http.body, "request");
  Fields fields(json, "request");
  const RerankBody body = read_rerank(fields);
  const PairScorer scorer(encoder_->model(), options_.pooling);
  const std::vector<std::string> documents = document_list(*body.documents, options_.limits.max_inputs);
  std::vector<SequenceInput> sequences = scorer.inputs(
      fit_all({body.query}, "query", text_limit_, cut_as_model(body.pairs.truncate)),
      fit_all(documents, "documents", text_limit_, cut_as_model(body.pairs.truncate)), body.pairs.truncate, *response);
  const auto write = [scorer, documents, top_n = body.top_n, with_text = body.return_documents, activate = body.pairs.activate,
                      id = "rerank-" + (body.pairs.request_id.empty() ? http.id : body.pairs.request_id), name = model_name(),
                      tokens = tokens_of(sequences)](const std::vector<SequenceOutput>& outputs) {
    const std::vector<double> scores = scorer.scores(outputs, 1, activate);
    std::vector<size_t> order(scores.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    stable_sort(order, [&](size_t a, size_t b) { return scores[a] > scores[b]; });
    if (top_n > 0 && top_n < static_cast<int64_t>(order.size())) order.resize(static_cast<size_t>(top_n));
    Json results = Json::array(), answer = Json::object();
    for (const size_t i : order) {
      Json result = Json::object();
      result.set("index", static_cast<int64_t>(i));
      if (with_text) result.set("document", Json::object().set("text", documents[i]));
      results.push_back(std::move(result.set("relevance_score", scores[i])));
    }
    answer.set("id", id).set("model", name).set("usage", usage_json(tokens)).set("results", std::move(results));
    return answer.dump();
  };
  submit(std::move(sequences), write, response);
}

App::ScoreBody App::read_score(Fields& fields) const {
  check_model(fields);
  ScoreBody body;
  const std::string schema = strings_schema(options_.limits.max_inputs, true);
  // vLLM's names, and its newer ones.
  for (const char* key : {"text_1", "queries"}) {
    if (const Json* value = fields.take(key, schema)) body.first = value;
  }
  for (const char* key : {"text_2", "documents"}) {
    if (const Json* value = fields.take(key, schema)) body.second = value;
  }
  body.pairs = read_pairs(fields);
  fields.finish();
  if (!fields.is_describing() && (body.first == nullptr || body.second == nullptr)) {
    invalid(body.first == nullptr ? "text_1" : "text_2", "missing: need a string or a list of strings");
  }
  return body;
}

void App::score(const HttpRequest& http, const std::shared_ptr<HttpResponse>& response) {
  const Json json = Json::parse(http.body, "request");
  Fields fields(json, "request");
  const ScoreBody body = read_score(fields);
  const PairScorer scorer(encoder_->model(), options_.pooling);
  const std::vector<std::string> firsts = string_list(*body.first, "text_1", options_.limits.max_inputs);
  const std::vector<std::string> seconds = string_list(*body.second, "text_2", options_.limits.max_inputs);
  if (firsts.size() != 1 && firsts.size() != seconds.size()) {
    invalid("text_2", "got {} texts, need {}, one for each of text_1", seconds.size(), firsts.size());
  }
  std::vector<SequenceInput> sequences =
      scorer.inputs(fit_all(firsts, "text_1", text_limit_, cut_as_model(body.pairs.truncate)),
                    fit_all(seconds, "text_2", text_limit_, cut_as_model(body.pairs.truncate)), body.pairs.truncate, *response);
  const auto write = [scorer, count = firsts.size(), activate = body.pairs.activate,
                      id = "score-" + (body.pairs.request_id.empty() ? http.id : body.pairs.request_id), name = model_name(),
                      tokens = tokens_of(sequences), created = unix_seconds()](const std::vector<SequenceOutput>& outputs) {
    const std::vector<double> scores = scorer.scores(outputs, count, activate);
    Json data = Json::array(), answer = Json::object();
    for (size_t i = 0; i < scores.size(); ++i) {
      Json each = Json::object();
      data.push_back(std::move(each.set("index", static_cast<int64_t>(i)).set("object", "score").set("score", scores[i])));
    }
    answer.set("id", id).set("object", "list").set("created", created).set("model", name);
    return answer.set("data", std::move(data)).set("usage", usage_json(tokens)).dump();
  };
  submit(std::move(sequences), write, response);
}

App::ClassifyBody App::read_classify(Fields& fields) const {
  check_model(fields);
  ClassifyBody body;
  body.input = fields.take("input", strings_schema(options_.limits.max_inputs, true));
  fields.require("input", "a string or a list of strings");
  body.pairs = read_pairs(fields);
  fields.finish();
  return body;
}

void App::classify(const HttpRequest& http, const std::shared_ptr<HttpResponse>& response) {
  const Json json = Json::parse(http.body, "request");
  Fields fields(json, "request");
  const ClassifyBody body = read_classify(fields);
  const SequenceModel& model = encoder_->model();
  if (model.head() != Head::kSequenceClassification) {
    unsupported("model", "{} does not classify texts", model.model().architecture());
  }
  std::vector<SequenceInput> sequences;
  for (const std::string& text : fit_all(string_list(*body.input, "input", options_.limits.max_inputs), "input", text_limit_,
                                         cut_as_model(body.pairs.truncate))) {
    check_there(*response);
    sequences.push_back(text_input(model, text, body.pairs.truncate));
  }
  const auto write = [&model, activate = body.pairs.activate,
                      id = "classify-" + (body.pairs.request_id.empty() ? http.id : body.pairs.request_id), name = model_name(),
                      tokens = tokens_of(sequences), created = unix_seconds()](const std::vector<SequenceOutput>& outputs) {
    Json data = Json::array(), answer = Json::object();
    for (size_t i = 0; i < outputs.size(); ++i) {
      const std::vector<float> scores = activate ? class_scores(model.labels(), outputs[i]) : outputs[i].values;
      const auto best = static_cast<size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
      Json each = Json::object(), probabilities = Json::array();
      for (const float score : scores) {
        check_finite(static_cast<double>(score));
        probabilities.push_back(static_cast<double>(score));
      }
      each.set("index", static_cast<int64_t>(i)).set("label", model.labels().names[best]);
      each.set("probs", std::move(probabilities)).set("num_classes", static_cast<int64_t>(scores.size()));
      data.push_back(std::move(each));
    }
    answer.set("id", id).set("object", "list").set("created", created).set("model", name);
    return answer.set("data", std::move(data)).set("usage", usage_json(tokens)).dump();
  };
  submit(std::move(sequences), write, response);
}

App::TaskBody App::read_task(Fields& fields) const {
  TaskBody body;
  body.inputs = fields.take("inputs");
  fields.require("inputs", "what the task takes: a string, an object, or a list of such");
  body.parameters = fields.take("parameters", R"({"type": "object"})");
  fields.take("options", R"({"type": "object"})");  // of HF's service: caches and waiting, of no effect here
  fields.finish();
  return body;
}

void App::run_task(const HttpRequest& http, const std::shared_ptr<HttpResponse>& response) {
  const std::string task = http.path.substr(std::string_view("/pipelines/").size());
  const Pipeline& pipeline = encoder_->pipeline(task);
  const Json json = Json::parse(http.body, "request");
  Fields fields(json, "request");
  const TaskBody body = read_task(fields);
  const size_t count = longest_list(*body.inputs);
  if (static_cast<int64_t>(count) > options_.limits.max_inputs) {
    invalid("inputs", "too many: got {}, need at most {}", count, options_.limits.max_inputs);
  }
  const bool in_parts = pipeline.task() == "question-answering" || pipeline.task() == "token-classification";
  check_texts(*body.inputs, text_limit_, in_parts ? kMostInWindows : TextLimit::kAlwaysTokenized);
  const Json parameters = body.parameters == nullptr ? Json() : *body.parameters;
  PrepareOptions prepare;
  prepare.check = [&] { check_there(*response); };
  PreparedInput prepared = pipeline.prepare(*body.inputs, parameters, prepare);
  if (pipeline.task() == "feature-extraction") {
    const Json* unit = parameters.find("normalize");
    const bool pooled = !prepared.sequences.empty() && !prepared.sequences[0].pooling.empty();
    const FeatureFormat write{body.inputs->is_array(), pooled, unit != nullptr && *unit == Json(true)};
    return submit(std::move(prepared.sequences), write, response);
  }
  const auto write = [finish = std::move(prepared.finish)](const std::vector<SequenceOutput>& outputs) {
    const Json result = finish(outputs);
    check_finite(result);
    return result.dump();
  };
  submit(std::move(prepared.sequences), write, response);
}

}  // namespace pagoda::server
