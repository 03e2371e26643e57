// Rows to windows, and windows back to answers.
#include "train/tasks/question_answering.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/links.h"
#include "base/utf8.h"
#include "formats/type_ids.h"
#include "ops/task_loss.h"
#include "text/encoded_text.h"
#include "text/python_unicode.h"

namespace pagoda::train {

namespace {

// Python's str.lstrip(): questions with many leading spaces would take all the room.
std::string_view without_leading_space(std::string_view text) {
  size_t begin = 0;
  for (size_t pos = 0; pos < text.size();) {
    if (!python::is_space(utf8_next(text, pos))) break;
    begin = pos;
  }
  return text.substr(begin);
}

size_t byte_of(std::string_view text, int64_t code_point) {
  size_t pos = 0;
  for (int64_t i = 0; i < code_point && pos < text.size(); ++i) utf8_next(text, pos);
  return pos;
}

std::string slice(const std::string& text, int64_t begin, int64_t end) {
  const size_t from = byte_of(text, begin);
  return text.substr(from, byte_of(std::string_view(text).substr(from), end - begin));
}

}  // namespace

QuestionAnsweringTask::QuestionAnsweringTask(TrainingModel& model, const TrainingArguments& arguments,
                                             const QuestionAnsweringOptions& options, const TaskHooks& hooks)
    : MemoryTask(model, arguments), options_(options) {
  if (model.model().head_kind() != Head::kQuestionAnswering) {
    invalid(model.path(), "got {}, need a model with a head of question answering", model.model().architecture());
  }
  if (model.tokenizer_config().padding_left) {
    unsupported("padding_side", "got left, where HF has the context before the question: need right");
  }
  if (arguments.label_smoothing_factor > 0) {
    invalid("--label-smoothing-factor", "has no effect on question answering, whose loss is over positions");
  }
  max_length_ = checked_length(options.max_seq_length, "--max-seq-length");
  if (options.doc_stride < 0 || options.doc_stride >= max_length_) {
    invalid("--doc-stride", "got {}, need 0 to {} (below --max-seq-length)", options.doc_stride, max_length_ - 1);
  }
  types_ = gives_type_ids(model.tokenizer_config(), model.config().get_string("model_type", "", "config.json"));
  const std::string& named = model.tokenizer_config().cls_token;
  for (const std::string& name : {named, std::string("[CLS]"), std::string("<s>")}) {
    if (!cls_ && !name.empty()) cls_ = model.tokenizer()->token_to_id(name);
  }
  if (!options.train_files.empty()) train_ = read(options.train_files, Split::kTrain, hooks);
  if (!options.validation_files.empty()) validation_ = read(options.validation_files, Split::kValidation, hooks);
  uint64_t contents = hash_ids({});
  for (const Window& window : train_) {
    contents = hash_ids(window.ids, contents);
    contents = hash_ids({static_cast<int32_t>(window.start), static_cast<int32_t>(window.end)}, contents);
  }
  set_sizes(static_cast<int64_t>(train_.size()), static_cast<int64_t>(validation_.size()), contents);
}

std::vector<QuestionAnsweringTask::Answer> QuestionAnsweringTask::answers_of(const Json& record,
                                                                             const std::string& where) const {
  std::vector<Answer> answers;
  const Json* value = record.find(options_.answer_column);
  if (value == nullptr || value->is_null()) return answers;
  if (value->is_array()) {  // SQuAD's own: a list of objects
    for (const Json& each : value->as_array(where)) {
      answers.push_back({each.at("text", where).as_string(where), each.at("answer_start", where).as_int(where)});
    }
    return answers;
  }
  const Json::Array& texts = value->at("text", where).as_array(where + ": text");
  const Json::Array& starts = value->at("answer_start", where).as_array(where + ": answer_start");
  if (texts.size() != starts.size())
    invalid(where, "answers: got {} texts and {} starts, need as many", texts.size(), starts.size());
  for (size_t i = 0; i < texts.size(); ++i) answers.push_back({texts[i].as_string(where), starts[i].as_int(where)});
  return answers;
}

void QuestionAnsweringTask::add_windows(const Json& record, const std::string& where, Split split,
                                        std::vector<Window>& windows) {
  const std::string question(without_leading_space(record.at(options_.question_column, where).as_string(where)));
  const std::string& context = record.at(options_.context_column, where).as_string(where);
  const std::vector<Answer> answers = answers_of(record, where);
  const auto length = static_cast<int64_t>(utf8_length(context));
  for (const Answer& answer : answers) {
    const auto end = answer.start + static_cast<int64_t>(utf8_length(answer.text));
    if (answer.start < 0 || end > length) {
      invalid(where, "answer outside the context: got characters {} to {}, need 0 to {}", answer.start, end, length);
    }
  }
  EncodedText text = encode_text(*model_.tokenizer(), question, &context);
  text.cut_left = model_.tokenizer_config().truncation_left;
  const size_t first_window = windows.size();
  const bool fits = static_cast<int64_t>(text.encoding.size()) <= max_length_;
  std::vector<EncodedText> parts;
  try {
    parts = windows_of(text, max_length_, fits ? 0 : options_.doc_stride);
  } catch (const Error& error) {  // the question takes too much of the window
    invalid(where, "{} (a larger --max-seq-length, a smaller --doc-stride)", error.message());
  }
  for (EncodedText& part : parts) {
    Window window;
    const Encoding& encoding = part.encoding;
    const auto cls = cls_ ? std::find(encoding.ids.begin(), encoding.ids.end(), *cls_) : encoding.ids.end();
    const int64_t cls_at = cls == encoding.ids.end() ? 0 : cls - encoding.ids.begin();
    window.start = window.end = cls_at;
    if (!answers.empty() && part.second_end > part.second_begin) {
      const int64_t begin = answers[0].start, end = begin + static_cast<int64_t>(utf8_length(answers[0].text));
      size_t first = part.second_begin, last = part.second_end - 1;
      if (encoding.offsets[first].first <= begin && encoding.offsets[last].second >= end) {
        while (first < part.second_end && encoding.offsets[first].first <= begin) ++first;
        while (last > part.second_begin && encoding.offsets[last].second >= end) --last;
        window.start = static_cast<int64_t>(first) - 1;
        // As run_qa: it steps back until a token ends before the answer does, which the first token may never do.
        window.end = static_cast<int64_t>(encoding.offsets[last].second >= end ? last : last + 1);
      }
    }
    if (split == Split::kValidation) {
      window.question = questions_.size();
      window.offsets.assign(encoding.size(), {-1, -1});
      for (size_t t = part.second_begin; t < part.second_end; ++t) window.offsets[t] = encoding.offsets[t];
    }
    window.ids = std::move(part.encoding.ids);
    if (types_) window.types = std::move(part.encoding.type_ids);
    windows.push_back(std::move(window));
  }
  if (split == Split::kTrain) return;
  Question one{"", context, {}, windows.size() - first_window};
  const Json* id = record.find("id");
  one.id = id == nullptr ? std::to_string(questions_.size()) : id->is_string() ? id->as_string(where) : id->dump();
  for (const Answer& answer : answers) one.answers.push_back(answer.text);
  if (one.answers.empty() && !options_.answers.version_2_with_negative) {
    invalid(where, "question without an answer: need one, or --version-2-with-negative");
  }
  questions_.push_back(std::move(one));
}

std::vector<QuestionAnsweringTask::Window> QuestionAnsweringTask::read(const std::vector<std::string>& files, Split split,
                                                                       const TaskHooks& hooks) {
  std::vector<Window> windows;
  const int64_t most = split == Split::kTrain ? arguments_.max_train_samples : arguments_.max_eval_samples;
  int64_t rows = 0;
  for_each_record(files, options_.records, [&](const Json& record, const std::string& where) {
    if (most > 0 && rows >= most) return;
    if (rows++ % 64 == 0) hooks.at(split == Split::kTrain ? "reading training data" : "reading validation data", rows, 0);
    add_windows(record, where, split, windows);
  });
  return windows;
}

MicroBatch QuestionAnsweringTask::batch(Split split, const std::vector<int64_t>& examples,
                                        const std::vector<uint64_t>& numbers) const {
  const std::vector<Window>& windows = split == Split::kTrain ? train_ : validation_;
  BatchRows rows;
  for (size_t i = 0; i < examples.size(); ++i) {
    const Window& window = windows[static_cast<size_t>(examples[i])];
    const int32_t first = rows.add_sequence(window.ids, window.types, numbers[i]);
    for (size_t t = 0; t < window.ids.size(); ++t) rows.wanted_rows.push_back(first + static_cast<int32_t>(t));
    rows.labels.push_back(window.start);
    rows.labels.push_back(window.end);
    rows.num_labels += 2;  // the loss is the mean of both ends'
    ++rows.num_examples;
  }
  MicroBatch made = make_micro_batch(model_.device(), rows, dropout_seed(split));
  made.labels = made.labels.reshape({static_cast<int64_t>(examples.size()), 2});
  return made;
}

Tensor QuestionAnsweringTask::loss_of(const Tensor& logits, const MicroBatch& batch, int64_t count) const {
  return ops::row_cross_entropy(logits, *batch.layout->starts, batch.labels, count);
}

void QuestionAnsweringTask::begin_scores() {
  open_windows_.clear();
  scored_.clear();
  predictions_.clear();
}

void QuestionAnsweringTask::take_scores(const std::vector<int64_t>& examples, const MicroBatch& batch, const Tensor& logits) {
  for (size_t i = 0; i < examples.size(); ++i) {
    const Window& window = validation_[static_cast<size_t>(examples[i])];
    const Question& question = questions_[window.question];
    AnswerWindow seen;
    for (int32_t row = (*batch.layout->starts)[i]; row < (*batch.layout->starts)[i + 1]; ++row) {
      seen.starts.push_back(logits.data<float>()[2 * row]);
      seen.ends.push_back(logits.data<float>()[2 * row + 1]);
    }
    seen.offsets = window.offsets;
    open_windows_.push_back(std::move(seen));
    if (open_windows_.size() < question.windows) continue;
    const AnswerChoice choice = choose_answer(open_windows_, options_.answers);
    SquadSample sample;
    sample.answers = question.answers;
    if (choice.chosen >= 0) {
      const AnswerSpan& span = choice.spans[static_cast<size_t>(choice.chosen)];
      sample.prediction = slice(question.context, span.begin, span.end);
    } else if (!options_.answers.version_2_with_negative) {
      sample.prediction = "empty";  // as run_qa, where no span is allowed
    }
    predictions_.push_back({question.id, sample.prediction});
    scored_.push_back(std::move(sample));
    open_windows_.clear();
  }
}

// The scorers name what they have of these questions: of those with an answer and those without.
std::vector<std::string> QuestionAnsweringTask::score_names() const {
  std::vector<SquadSample> samples;
  for (const Question& question : questions_) {
    SquadSample sample;
    sample.answers = question.answers;
    samples.push_back(std::move(sample));
  }
  std::vector<std::string> names;
  if (samples.empty()) return names;
  for (const auto& score : options_.answers.version_2_with_negative ? squad_v2_scores(samples) : squad_scores(samples))
    names.push_back(score.first);
  return names;
}

Metrics QuestionAnsweringTask::end_scores() {
  if (!options_.predictions_file.empty()) {
    write_named_file(options_.predictions_file, Json(predictions_).pretty(4) + "\n");
  }
  return options_.answers.version_2_with_negative ? squad_v2_scores(scored_) : squad_scores(scored_);
}

}  // namespace pagoda::train
