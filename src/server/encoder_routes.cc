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
constexpr size_t kLongestFirst = 1 << 17;  // bytes of the text that every document is paired with

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

// Each no longer than it may be.
std::vector<std::string> fit_all(std::vector<std::string> texts, std::string_view where, const TextLimit& limit,
                                 const std::optional<int64_t>& truncate) {
  for (std::string& text : texts) text = limit.fit(std::move(text), where, {truncate, false});
  return texts;
}

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
  return model.input_of(cut(model.encode(text), truncate, model.max_length()));
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

// How a model of embeddings makes its vectors: as its folder says, but that --pooler-config may say how it pools, and that
// requests normalize.
SentenceOptions vector_options(const SequenceModel& model, PoolingType asked, const std::string& prompt_name = "") {
  SentenceOptions options = sentence_options(model, prompt_name);
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
  explicit PairScorer(const SequenceModel& model) : model_(model), cross_(model.head() == Head::kSequenceClassification) {
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
                                    const std::optional<int64_t>& truncate) const {
    std::vector<SequenceInput> sequences;
    if (firsts.size() == 1 && firsts[0].size() > kLongestFirst) {
      invalid("text_1 or query", "too long: got {} bytes, need at most {}", firsts[0].size(), kLongestFirst);
    }
    if (cross_) {
      const std::string prompt = prompt_text(model_.sentence(), "");
      for (std::string& text : firsts) text = sentence_text(model_, prompt + text);
      for (std::string& text : seconds) text = sentence_text(model_, std::move(text));
    }
    if (cross_ && firsts.size() == 1) {
      const PairEncoder pairs(model_, firsts[0]);
      for (const std::string& text : seconds) sequences.push_back(pair_input(model_, pairs.with(text), truncate));
      return sequences;
    }
    if (cross_) {
      for (size_t i = 0; i < seconds.size(); ++i) {
        sequences.push_back(pair_input(model_, model_.encode(firsts[i], &seconds[i]), truncate));
      }
      return sequences;
    }
    const SentenceOptions options = vector_options(model_, PoolingType::kLast);
    for (const std::string& text : firsts) sequences.push_back(vector_input(model_, text, options, truncate));
    for (const std::string& text : seconds) sequences.push_back(vector_input(model_, text, options, truncate));
    return sequences;
  }

  std::vector<double> scores(const std::vector<SequenceOutput>& outputs, size_t firsts, bool activate) const {
    std::vector<double> scores;
    if (cross_) {
      for (const SequenceOutput& output : outputs) {
        const float score = activate ? pair_score(model_.labels(), output) : output.row(0)[0];
        scores.push_back(static_cast<double>(score));
      }
      return scores;
    }
    std::vector<std::vector<float>> vectors;
    for (const SequenceOutput& output : outputs) vectors.push_back(unit_vector(output));
    for (size_t i = firsts; i < vectors.size(); ++i) scores.push_back(dot(vectors[firsts == 1 ? 0 : i - firsts], vectors[i]));
    return scores;
  }

 private:
  const SequenceModel& model_;
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
  const auto ticket =
      encoder_->submit(std::move(sequences), [response, answer](std::vector<SequenceOutput> outputs, const Error* error) {
        const auto kept = std::make_shared<const std::vector<SequenceOutput>>(std::move(outputs));
        response->post([answer, kept, failed = error == nullptr ? std::optional<Error>() : *error] { answer(*kept, failed); });
      });
  if (!ticket) {
    metrics_.count_rejection();
    return response->send(503, kJson, error_body(503, "[server] too many requests are open: try again later"),
                          {{"retry-after", "1"}});
  }
  response->on_disconnect([this, timer, ticket = *ticket] {
    encoder_->cancel(ticket);
    metrics_.finish(*timer, "abort");
  });
}

void App::encoder_embeddings(const HttpRequest& http, const std::shared_ptr<HttpResponse>& response) {
  const Json json = Json::parse(http.body, "request");
  Fields fields(json, "request");
  const EmbeddingBody body = read_embedding(fields);
  const SequenceModel& model = encoder_->model();
  const int64_t vocab = model.model().vocab_size();
  const SentenceOptions options = vector_options(model, body.pooling.type, body.prompt_name);
  std::vector<SequenceInput> sequences;
  for (PromptInput& input : read_prompt_input(*body.input, "input", options_.limits.max_inputs, vocab)) {
    auto* text = std::get_if<std::string>(&input);
    if (text != nullptr) *text = text_limit_.fit(std::move(*text), "input", body.truncation);
    if (text != nullptr && body.add_special_tokens) {
      sequences.push_back(vector_input(model, *text, options, body.truncation.tokens));
    } else {
      Encoding encoding;
      encoding.ids =
          text != nullptr ? model.tokenizer()->encode_ids(*text, false) : std::move(std::get<std::vector<int32_t>>(input));
      truncate_prompt(encoding.ids, body.truncation);
      encoding.type_ids.assign(encoding.ids.size(), 0);
      SentenceOptions plain = options;
      plain.prompt.clear();
      sequences.push_back(sentence_input(model, encoding, plain));
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
  const PairScorer scorer(encoder_->model());
  const std::vector<std::string> documents = document_list(*body.documents, options_.limits.max_inputs);
  std::vector<SequenceInput> sequences =
      scorer.inputs(fit_all({body.query}, "query", text_limit_, body.pairs.truncate),
                    fit_all(documents, "documents", text_limit_, body.pairs.truncate), body.pairs.truncate);
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
  const PairScorer scorer(encoder_->model());
  const std::vector<std::string> firsts = string_list(*body.first, "text_1", options_.limits.max_inputs);
  const std::vector<std::string> seconds = string_list(*body.second, "text_2", options_.limits.max_inputs);
  if (firsts.size() != 1 && firsts.size() != seconds.size()) {
    invalid("text_2", "got {} texts, need {}, one for each of text_1", seconds.size(), firsts.size());
  }
  std::vector<SequenceInput> sequences =
      scorer.inputs(fit_all(firsts, "text_1", text_limit_, body.pairs.truncate),
                    fit_all(seconds, "text_2", text_limit_, body.pairs.truncate), body.pairs.truncate);
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
  for (const std::string& text :
       fit_all(string_list(*body.input, "input", options_.limits.max_inputs), "input", text_limit_, body.pairs.truncate)) {
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
      for (const float score : scores) probabilities.push_back(static_cast<double>(score));
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
  if (body.inputs->is_array() && static_cast<int64_t>(body.inputs->size()) > options_.limits.max_inputs) {
    invalid("inputs", "too many: got {}, need at most {}", body.inputs->size(), options_.limits.max_inputs);
  }
  PreparedInput prepared = pipeline.prepare(*body.inputs, body.parameters == nullptr ? Json() : *body.parameters);
  submit(
      std::move(prepared.sequences),
      [finish = std::move(prepared.finish)](const std::vector<SequenceOutput>& outputs) { return finish(outputs).dump(); },
      response);
}

}  // namespace pagoda::server
