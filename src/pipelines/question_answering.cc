// question-answering (HF pipelines/question_answering.py, as of transformers 4.57): spans of a context, long ones in windows.
#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "base/error.h"
#include "base/stable_sort.h"
#include "base/utf8.h"
#include "pipelines/tasks.h"
#include "text/unicode.h"

namespace pagoda::tasks {

namespace {

constexpr int64_t kMostAnswers = 1000, kLongestAnswer = 1000;  // answers; tokens of one

struct Options {
  int64_t top_k = 1, max_answer_len = 15, max_seq_len = 0, stride = 0;
  bool handle_impossible_answer = false, align_to_words = true;
};

struct Window {
  std::vector<int32_t> word_ids;
  std::vector<std::pair<int64_t, int64_t>> offsets;
  size_t begin = 0, end = 0;     // tokens of the context
  std::vector<uint8_t> allowed;  // tokens that may be in an answer: the context's, and those of the id of [CLS]
};

struct Span {
  size_t start, end;  // tokens
  float score;
};

struct Answer {
  float score;
  int64_t start, end;  // code points of the context
  std::string text;
};

// Probabilities of one column (0: starts, 1: ends) over the tokens that may be in an answer; zero elsewhere.
std::vector<float> probabilities(const SequenceOutput& output, int column, const std::vector<uint8_t>& allowed) {
  std::vector<float> logits(allowed.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i] = allowed[i] != 0 ? output.row(static_cast<int64_t>(i))[column] : -10000.0f;
  }
  return softmax_of(logits.data(), static_cast<int64_t>(logits.size()));
}

std::vector<Span> best_spans(const std::vector<float>& starts, const std::vector<float>& ends, const Window& window,
                             const Options& options) {
  std::vector<Span> spans;
  const size_t size = starts.size();
  for (size_t s = 1; s < size; ++s) {  // [CLS] is no answer
    if (window.allowed[s] == 0) continue;
    const size_t last = std::min(size, s + static_cast<size_t>(options.max_answer_len));
    for (size_t e = s; e < last; ++e) {
      if (window.allowed[e] != 0) spans.push_back({s, e, starts[s] * ends[e]});
    }
  }
  // Joining words may make one answer of several spans.
  const size_t most = static_cast<size_t>(options.align_to_words ? options.top_k * 2 + 10 : options.top_k);
  const auto better = [](const Span& a, const Span& b) { return a.score > b.score; };
  if (spans.size() > most) {
    std::nth_element(spans.begin(), spans.begin() + static_cast<std::ptrdiff_t>(most), spans.end(), better);
    spans.resize(most);
  }
  stable_sort(spans, better);
  return spans;
}

// Code points of the context, whole words where words are known.
std::pair<int64_t, int64_t> place_of(const Window& window, const Span& span, bool align_to_words) {
  std::pair<int64_t, int64_t> place = {window.offsets[span.start].first, window.offsets[span.end].second};
  if (!align_to_words || window.word_ids.empty()) return place;
  const int32_t first = window.word_ids[span.start], last = window.word_ids[span.end];
  if (first < 0 || last < 0) return place;
  size_t from = window.begin, to = window.end;
  while (from < window.end && window.word_ids[from] != first) ++from;
  while (to > window.begin && window.word_ids[to - 1] != last) --to;
  if (from < window.end && to > window.begin) place = {window.offsets[from].first, window.offsets[to - 1].second};
  return place;
}

std::string lower(std::string_view text) {
  std::string out;
  for (size_t pos = 0; pos < text.size();) unicode::append_lower(out, utf8_next(text, pos));
  return out;
}

Json answer_json(const Answer& answer) {
  Json json = Json::object();
  json.set("score", static_cast<double>(answer.score)).set("start", answer.start).set("end", answer.end);
  json.set("answer", answer.text);
  return json;
}

class QuestionAnswering final : public Pipeline {
 public:
  QuestionAnswering(std::string task, std::shared_ptr<const SequenceModel> model)
      : Pipeline(std::move(task), std::move(model)) {
    if (this->model().tokenizer_config().padding_left) {
      unsupported("padding_side", "got left, where HF has the context before the question: need right");
    }
  }

 protected:
  InputReader reader(TaskParameters& parameters) const override {
    Options options;
    options.top_k = parameters.integer("top_k", parameters.integer("topk", 1, 1, kMostAnswers), 1, kMostAnswers);
    options.max_answer_len = parameters.integer("max_answer_len", 15, 1, kLongestAnswer);
    options.handle_impossible_answer = parameters.flag("handle_impossible_answer", false);
    options.align_to_words = parameters.flag("align_to_words", true);
    const int64_t most = model().max_length();
    options.max_seq_len = parameters.integer("max_seq_len", std::min<int64_t>(most, 384), 1, model().model().max_positions());
    options.stride = parameters.integer("doc_stride", std::min<int64_t>(options.max_seq_len / 2, 128), 0, options.max_seq_len);
    // Of no effect in HF either where the tokenizer is a fast one; and rows are ragged.
    parameters.take("max_question_len");
    parameters.take("padding");
    return [this, options](const Json& input) { return prepare_one(input, options); };
  }

  // {"question": [...], "context": [...]}, or one context for all questions.
  std::optional<size_t> count_inputs(const Json& input, const Json& parameters) const override {
    const Json *questions = input.find("question"), *contexts = input.find("context");
    if (questions == nullptr || contexts == nullptr || !questions->is_array()) return Pipeline::count_inputs(input, parameters);
    if (contexts->is_array() && contexts->size() != questions->size()) {
      invalid("inputs", "got {} questions and {} contexts, need as many", questions->size(), contexts->size());
    }
    return questions->size();
  }

  const Json& input_at(const Json& input, const Json& parameters, size_t index, Json& made) const override {
    if (input.is_array()) return Pipeline::input_at(input, parameters, index, made);
    const Json& contexts = input.at("context", "inputs");
    made = Json::object();
    made.set("question", input.at("question", "inputs").as_array("question")[index]);
    made.set("context", contexts.is_array() ? contexts.as_array("context")[index] : contexts);
    return made;
  }

  Json list_result(std::vector<Json> results) const override {
    return results.size() == 1 ? std::move(results[0]) : Json(std::move(results));
  }

 private:
  PreparedInput prepare_one(const Json& input, const Options& options) const {
    const std::string question = field(input, "question"), context = field(input, "context");
    PreparedInput prepared;
    std::vector<Window> windows;
    const EncodedText text = model().encode_with_offsets(question, &context);
    if (text.second_begin == text.second_end) invalid("inputs", "'context' has no token");
    const bool whole = static_cast<int64_t>(text.encoding.size()) <= options.max_seq_len;
    for (EncodedText& part : windows_of(text, options.max_seq_len, whole ? 0 : options.stride)) {
      prepared.sequences.push_back(model().input_of(part.encoding));
      Window window;
      window.begin = part.second_begin;
      window.end = part.second_end;
      for (size_t i = 0; i < part.encoding.size(); ++i) {
        const bool inside = i >= window.begin && i < window.end;
        window.allowed.push_back(inside || model().cls_id() == part.encoding.ids[i] ? 1 : 0);
      }
      window.offsets = std::move(part.encoding.offsets);
      window.word_ids = std::move(part.encoding.word_ids);
      windows.push_back(std::move(window));
    }
    CodePoints context_text(context);
    prepared.held = context_text.bytes();
    prepared.finish = [options, windows = std::move(windows),
                       context_text = std::move(context_text)](const std::vector<SequenceOutput>& outputs) {
      return answers_of(options, windows, context_text, outputs);
    };
    return prepared;
  }

  static std::string field(const Json& input, const char* key) {
    constexpr const char* kNeed = R"({"question": ..., "context": ...})";
    const Json* value = input.find(key);
    if (value == nullptr) invalid("inputs", "missing field '{}': need {}", key, kNeed);
    if (text_of(*value, kNeed).empty()) invalid("inputs", "'{}' is empty", key);
    return value->as_string(key);
  }

  static Json answers_of(const Options& options, const std::vector<Window>& windows, const CodePoints& context,
                         const std::vector<SequenceOutput>& outputs) {
    std::vector<Answer> answers;
    std::unordered_map<std::string, size_t> places;  // by lowered text: those that differ in case alone are one
    float no_answer = 1e6f;
    for (size_t w = 0; w < windows.size(); ++w) {
      const Window& window = windows[w];
      std::vector<float> starts = probabilities(outputs[w], 0, window.allowed);
      std::vector<float> ends = probabilities(outputs[w], 1, window.allowed);
      no_answer = std::min(no_answer, starts[0] * ends[0]);
      starts[0] = ends[0] = 0;  // [CLS] stands for no answer alone
      for (const Span& span : best_spans(starts, ends, window, options)) {
        const auto [start, end] = place_of(window, span, options.align_to_words);
        const std::string text(context.slice(start, end));
        const auto [place, fresh] = places.emplace(lower(text), answers.size());
        if (!fresh) {
          answers[place->second].score += span.score;
        } else {
          answers.push_back({span.score, start, end, text});
        }
      }
    }
    if (options.handle_impossible_answer) answers.push_back({no_answer, 0, 0, ""});
    stable_sort(answers, [](const Answer& a, const Answer& b) { return a.score > b.score; });
    if (static_cast<int64_t>(answers.size()) > options.top_k) answers.resize(static_cast<size_t>(options.top_k));
    if (answers.size() == 1) return answer_json(answers[0]);
    Json list = Json::array();
    for (const Answer& answer : answers) list.push_back(answer_json(answer));
    return list;
  }
};

}  // namespace

std::unique_ptr<Pipeline> question_answering(std::string task, std::shared_ptr<const SequenceModel> model) {
  return std::make_unique<QuestionAnswering>(std::move(task), std::move(model));
}

}  // namespace pagoda::tasks
