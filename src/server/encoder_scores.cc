// Rerank, score and classify of encoders, as vLLM has them.
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/stable_sort.h"
#include "server/answer_json.h"
#include "server/encoder_inputs.h"
#include "server/encoder_routes.h"
#include "server/served_encoder.h"

namespace pagoda::server {

namespace {

constexpr int64_t kMostTokens = int64_t{1} << 31;

// What all of them are asked.
struct ScoringBody {
  std::optional<int64_t> truncate;  // tokens; below 0: what the model takes
  bool activate = true;             // scores instead of logits
  std::string request_id;
};

struct RerankBody {
  std::string query;
  const Json* documents = nullptr;
  int64_t top_n = 0;  // 0: all
  bool return_documents = true;
  ScoringBody scoring;
};

struct ScoreBody {
  const Json *first = nullptr, *second = nullptr;
  ScoringBody scoring;
};

struct ClassifyBody {
  const Json* input = nullptr;
  ScoringBody scoring;
};

std::string strings_schema(int64_t most) {
  return fmt::format(
      R"({{"anyOf": [{{"type": "string"}}, {{"type": "array", "minItems": 1, "maxItems": {}, "items": {{"type": "string"}}}}]}})",
      most);
}

std::string documents_schema(int64_t most) {
  return fmt::format(
      R"({{"type": "array", "minItems": 1, "maxItems": {}, "items": {{"anyOf": [{{"type": "string"}}, {{"type": "object", "properties": {{"text": {{"type": "string"}}}}, "required": ["text"]}}]}}}})",
      most);
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

ScoringBody read_scoring(const ServedEncoder& served, Fields& fields) {
  ScoringBody body;
  body.activate = served.pooling().normalize;  // --pooler-config's use_activation
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

RerankBody read_rerank(const ServedEncoder& served, Fields& fields) {
  served.serving().check_model(fields);
  RerankBody body;
  body.query = fields.string("query", kAnyLength).value_or("");
  fields.require("query", "a string");
  body.documents = fields.take("documents", documents_schema(served.serving().limits().max_inputs));
  fields.require("documents", R"(a list of strings or of {"text": ...})");
  body.top_n = fields.integer("top_n", 0, kMostTokens).value_or(0);
  body.return_documents = fields.boolean("return_documents").value_or(true);
  body.scoring = read_scoring(served, fields);
  fields.finish();
  return body;
}

ScoreBody read_score(const ServedEncoder& served, Fields& fields) {
  served.serving().check_model(fields);
  ScoreBody body;
  const std::string schema = strings_schema(served.serving().limits().max_inputs);
  // vLLM's names, and its newer ones.
  for (const char* key : {"text_1", "queries"}) {
    if (const Json* value = fields.take(key, schema)) body.first = value;
  }
  for (const char* key : {"text_2", "documents"}) {
    if (const Json* value = fields.take(key, schema)) body.second = value;
  }
  body.scoring = read_scoring(served, fields);
  fields.finish();
  if (!fields.is_describing() && (body.first == nullptr || body.second == nullptr)) {
    invalid(body.first == nullptr ? "text_1" : "text_2", "missing: need a string or a list of strings");
  }
  return body;
}

ClassifyBody read_classify(const ServedEncoder& served, Fields& fields) {
  served.serving().check_model(fields);
  ClassifyBody body;
  body.input = fields.take("input", strings_schema(served.serving().limits().max_inputs));
  fields.require("input", "a string or a list of strings");
  body.scoring = read_scoring(served, fields);
  fields.finish();
  return body;
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
      for (const std::string& text : seconds) add(head_input(model_, pairs.with(text), truncate));
      return sequences;
    }
    if (cross_) {
      for (size_t i = 0; i < seconds.size(); ++i) {
        add(head_input(model_, model_.encode(firsts[i], &seconds[i]), truncate));
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
        check_score(score);
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

// What an answer tells beside its results.
struct AnswerHead {
  std::string id, model;
  int64_t tokens, created;
};

AnswerHead head_of(const ServedEncoder& served, const Call& call, const char* prefix, const ScoringBody& scoring,
                   const std::vector<SequenceInput>& sequences) {
  return {call.answer_id(prefix, scoring.request_id), served.serving().model_name(), tokens_of(sequences), unix_seconds()};
}

Json usage_json(int64_t tokens) {
  Json usage = Json::object();
  usage.set("prompt_tokens", tokens).set("total_tokens", tokens).set("completion_tokens", 0);
  return usage.set("prompt_tokens_details", Json());
}

std::string list_answer(const AnswerHead& head, Json data) {
  Json answer = Json::object();
  answer.set("id", head.id).set("object", "list").set("created", head.created).set("model", head.model);
  return answer.set("data", std::move(data)).set("usage", usage_json(head.tokens)).dump();
}

// Texts in a list, each no longer than it may be.
std::vector<std::string> fitted(const ServedEncoder& served, std::vector<std::string> texts, std::string_view where,
                                const ScoringBody& scoring) {
  return fit_all(std::move(texts), where, served.texts().limit(), served.cut_as_model(scoring.truncate));
}

// The likeliest first; top_n: 0: all.
std::vector<size_t> ranking(const std::vector<double>& scores, int64_t top_n) {
  std::vector<size_t> order(scores.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  stable_sort(order, [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  if (top_n > 0 && top_n < static_cast<int64_t>(order.size())) order.resize(static_cast<size_t>(top_n));
  return order;
}

void rerank(ServedEncoder& served, const Call& call) {
  RequestBody in(call.http);
  const RerankBody body = read_rerank(served, in.fields);
  const PairScorer scorer(served.model(), served.pooling());
  const std::vector<std::string> documents = document_list(*body.documents, served.serving().limits().max_inputs);
  std::vector<SequenceInput> sequences =
      scorer.inputs(fitted(served, {body.query}, "query", body.scoring), fitted(served, documents, "documents", body.scoring),
                    body.scoring.truncate, *call.response);
  const auto write =
      [scorer, documents, top_n = body.top_n, with_text = body.return_documents, activate = body.scoring.activate,
       head = head_of(served, call, "rerank-", body.scoring, sequences)](const std::vector<SequenceOutput>& outputs) {
        const std::vector<double> scores = scorer.scores(outputs, 1, activate);
        Json results = Json::array(), answer = Json::object();
        for (const size_t i : ranking(scores, top_n)) {
          Json result = Json::object();
          result.set("index", static_cast<int64_t>(i));
          if (with_text) result.set("document", Json::object().set("text", documents[i]));
          results.push_back(std::move(result.set("relevance_score", scores[i])));
        }
        answer.set("id", head.id).set("model", head.model).set("usage", usage_json(head.tokens));
        return answer.set("results", std::move(results)).dump();
      };
  served.submit(std::move(sequences), write, call.response);
}

void score(ServedEncoder& served, const Call& call) {
  RequestBody in(call.http);
  const ScoreBody body = read_score(served, in.fields);
  const PairScorer scorer(served.model(), served.pooling());
  const int64_t most = served.serving().limits().max_inputs;
  const std::vector<std::string> firsts = string_list(*body.first, "text_1", most);
  const std::vector<std::string> seconds = string_list(*body.second, "text_2", most);
  if (firsts.size() != 1 && firsts.size() != seconds.size()) {
    invalid("text_2", "got {} texts, need {}, one for each of text_1", seconds.size(), firsts.size());
  }
  std::vector<SequenceInput> sequences =
      scorer.inputs(fitted(served, firsts, "text_1", body.scoring), fitted(served, seconds, "text_2", body.scoring),
                    body.scoring.truncate, *call.response);
  const auto write =
      [scorer, count = firsts.size(), activate = body.scoring.activate,
       head = head_of(served, call, "score-", body.scoring, sequences)](const std::vector<SequenceOutput>& outputs) {
        const std::vector<double> scores = scorer.scores(outputs, count, activate);
        Json data = Json::array();
        for (size_t i = 0; i < scores.size(); ++i) {
          Json each = Json::object();
          data.push_back(std::move(each.set("index", static_cast<int64_t>(i)).set("object", "score").set("score", scores[i])));
        }
        return list_answer(head, std::move(data));
      };
  served.submit(std::move(sequences), write, call.response);
}

Json class_json(const Labels& labels, size_t index, const std::vector<float>& scores) {
  const auto best = static_cast<size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
  Json result = Json::object(), probabilities = Json::array();
  for (const float each : scores) {
    check_score(static_cast<double>(each));
    probabilities.push_back(static_cast<double>(each));
  }
  result.set("index", static_cast<int64_t>(index)).set("label", labels.names[best]);
  return result.set("probs", std::move(probabilities)).set("num_classes", static_cast<int64_t>(scores.size()));
}

void classify(ServedEncoder& served, const Call& call) {
  RequestBody in(call.http);
  const ClassifyBody body = read_classify(served, in.fields);
  const SequenceModel& model = served.model();
  if (model.head() != Head::kSequenceClassification) {
    unsupported("model", "{} does not classify texts", model.model().architecture());
  }
  std::vector<std::string> texts = string_list(*body.input, "input", served.serving().limits().max_inputs);
  std::vector<SequenceInput> sequences;
  for (const std::string& text : fitted(served, std::move(texts), "input", body.scoring)) {
    check_there(*call.response);
    sequences.push_back(head_input(model, model.encode(text), body.scoring.truncate));
  }
  const auto write = [&model, activate = body.scoring.activate,
                      head = head_of(served, call, "classify-", body.scoring, sequences)](
                         const std::vector<SequenceOutput>& outputs) {
    Json data = Json::array();
    for (size_t i = 0; i < outputs.size(); ++i) {
      data.push_back(class_json(model.labels(), i, activate ? class_scores(model.labels(), outputs[i]) : outputs[i].values));
    }
    return list_answer(head, std::move(data));
  };
  served.submit(std::move(sequences), write, call.response);
}

}  // namespace

std::vector<RouteOf<ServedEncoder>> score_routes() {
  std::vector<RouteOf<ServedEncoder>> list;
  const auto add = [&](const char* path, const RouteDoc& doc, auto answer, auto read) {
    list.push_back({{"POST", path, doc}, answer, read});
  };
  for (const char* path : {"/v1/rerank", "/rerank", "/v2/rerank"}) {
    add(path, {"Documents by how well they fit a query", "Reranked"}, rerank,
        [](const ServedEncoder& served, Fields& fields) { read_rerank(served, fields); });
  }
  for (const char* path : {"/v1/score", "/score"}) {
    add(path, {"How well pairs of texts fit", "ScoreList"}, score,
        [](const ServedEncoder& served, Fields& fields) { read_score(served, fields); });
  }
  add("/classify", {"Labels of texts", "ClassificationList"}, classify,
      [](const ServedEncoder& served, Fields& fields) { read_classify(served, fields); });
  return list;
}

}  // namespace pagoda::server
