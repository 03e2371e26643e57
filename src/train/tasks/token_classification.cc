// Words are encoded one by one, as HF's tokenizers do with texts that are split already.
#include "train/tasks/token_classification.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "formats/type_ids.h"
#include "metrics/entities.h"
#include "ops/loss.h"
#include "text/encoded_text.h"
#include "train/tasks/label_names.h"

namespace pagoda::train {

namespace {

std::string column_of(const Json& record, const std::string& given, std::initializer_list<const char*> usual, size_t place,
                      const char* flag, const std::string& where) {
  if (!given.empty()) return given;
  for (const char* name : usual) {
    if (record.contains(name)) return name;
  }
  // As run_ner: the first column, and the second.
  const Json::Object& all = record.as_object(where);
  if (all.size() > place) return all[place].key;
  invalid(where, "no column {}: name it with {}", *usual.begin(), flag);
}

struct Columns {
  std::string text, label;
};

Columns columns_of(const Json& record, const TokenClassificationOptions& options, const std::string& where) {
  return {column_of(record, options.text_column, {"tokens", "words"}, 0, "--text-column-name", where),
          column_of(record, options.label_column, {"ner_tags", "tags", "labels", "pos_tags", "chunk_tags"}, 1,
                    "--label-column-name", where)};
}

// A list as it is, a text cut at its spaces.
std::vector<std::string> list_of(const Json& value, const std::string& where) {
  std::vector<std::string> items;
  if (value.is_array()) {
    for (const Json& item : value.as_array(where))
      items.push_back(item.is_string() ? item.as_string(where) : label_name(item, where));
    return items;
  }
  if (value.is_number()) return {label_name(value, where)};
  const std::string& text = value.as_string(where);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    if (end > begin) items.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return items;
}

// HF's run_ner asks for add_prefix_space of these.
bool wants_prefix_space(const std::string& model_type) {
  return model_type == "roberta" || model_type == "gpt2" || model_type == "bloom" || model_type == "deberta";
}

}  // namespace

Json tagging_overrides(const Json& config, const TokenClassificationOptions& options) {
  LabelCollector labels;
  for_each_record(options.train_files, options.records, [&](const Json& record, const std::string& where) {
    const Columns columns = columns_of(record, options, where);
    for (const std::string& tag : list_of(record.at(columns.label, where), where)) labels.add(Json(tag), where);
  });
  const std::vector<std::string> names = labels.names();
  if (keeps_labels(config, names, "config.json")) return Json::object();
  return label_overrides(config, names, "");
}

TokenClassificationTask::TokenClassificationTask(TrainingModel& model, const TrainingArguments& arguments,
                                                 const TokenClassificationOptions& options, const TaskHooks& hooks)
    : MemoryTask(model, arguments),
      labels_(read_labels(model.config(), "config.json")),
      entity_level_(options.return_entity_level_metrics) {
  if (model.model().head_kind() != Head::kTokenClassification) {
    invalid(model.path(), "got {}, need a model with a head of token classification", model.model().architecture());
  }
  const int64_t longest = model.model().max_positions();
  max_length_ = checked_length(options.max_seq_length > 0 ? options.max_seq_length : longest, "--max-seq-length");
  const std::string type = model.config().get_string("model_type", "", "config.json");
  types_ = gives_type_ids(model.tokenizer_config(), type);
  prefix_space_ = wants_prefix_space(type);
  const EncodedText sample = encode_text(*model.tokenizer(), "a");
  const auto part = [](const std::vector<int32_t>& values, size_t begin, size_t end) {
    return std::vector<int32_t>(values.begin() + static_cast<int64_t>(begin), values.begin() + static_cast<int64_t>(end));
  };
  const Encoding& encoding = sample.encoding;
  before_ = part(encoding.ids, 0, sample.first_begin);
  after_ = part(encoding.ids, sample.first_end, encoding.size());
  before_types_ = part(encoding.type_ids, 0, sample.first_begin);
  after_types_ = part(encoding.type_ids, sample.first_end, encoding.size());
  if (sample.first_end > sample.first_begin) word_type_ = encoding.type_ids[sample.first_begin];
  for (size_t id = 0; id < labels_.names.size(); ++id) {
    inside_.push_back(static_cast<int64_t>(id));
    if (labels_.names[id].rfind("B-", 0) != 0) continue;
    const auto found = std::find(labels_.names.begin(), labels_.names.end(), "I-" + labels_.names[id].substr(2));
    if (found != labels_.names.end()) inside_.back() = found - labels_.names.begin();
  }
  if (!options.train_files.empty())
    train_ = read(options.train_files, options, arguments.max_train_samples, hooks, "reading training data");
  if (!options.validation_files.empty())
    validation_ = read(options.validation_files, options, arguments.max_eval_samples, hooks, "reading validation data");
  uint64_t contents = hash_ids({});
  for (const Sample& each : train_) {
    contents = hash_ids({each.labels.begin(), each.labels.end()}, hash_ids(each.ids, contents));
  }
  set_sizes(static_cast<int64_t>(train_.size()), static_cast<int64_t>(validation_.size()), contents);
}

std::vector<TokenClassificationTask::Sample> TokenClassificationTask::read(const std::vector<std::string>& files,
                                                                           const TokenClassificationOptions& options,
                                                                           int64_t most, const TaskHooks& hooks,
                                                                           const char* stage) {
  std::vector<Sample> samples;
  int64_t rows = 0;
  for_each_record(files, options.records, [&](const Json& record, const std::string& where) {
    if (most > 0 && rows++ >= most) return;
    if (samples.size() % 256 == 0) hooks.at(stage, static_cast<int64_t>(samples.size()), 0);
    const Columns columns = columns_of(record, options, where);
    const auto words = list_of(record.at(columns.text, where), where + ": " + columns.text);
    const auto names = list_of(record.at(columns.label, where), where + ": " + columns.label);
    if (words.size() != names.size()) {
      invalid(where, "words and tags differ: got {} {} and {} {}, need as many", words.size(), columns.text, names.size(),
              columns.label);
    }
    if (words.empty()) return;  // blank sentences of CoNLL files
    std::vector<int64_t> tags;
    for (const std::string& name : names) tags.push_back(label_id(labels_, name, where));
    samples.push_back(sample_of(words, tags, options.label_all_tokens));
  });
  return samples;
}

TokenClassificationTask::Sample TokenClassificationTask::sample_of(const std::vector<std::string>& words,
                                                                   const std::vector<int64_t>& tags,
                                                                   bool label_all_tokens) const {
  const auto room =
      static_cast<size_t>(max_length_) - std::min(static_cast<size_t>(max_length_), before_.size() + after_.size());
  struct Token {
    int32_t id;
    size_t word;
  };
  const bool left = model_.tokenizer_config().truncation_left;
  std::vector<Token> tokens;
  for (size_t word = 0; word < words.size() && (left || tokens.size() < room); ++word) {
    const bool prefix = prefix_space_ && words[word].substr(0, 1) != " ";
    for (const int32_t id : model_.tokenizer()->encode_ids(prefix ? " " + words[word] : words[word], false))
      tokens.push_back({id, word});
  }
  const size_t kept = std::min(room, tokens.size()), begin = left ? tokens.size() - kept : 0;
  Sample sample;
  sample.ids = before_;
  sample.labels.assign(before_.size(), -1);
  for (size_t t = begin; t < begin + kept; ++t) {
    const auto tag = static_cast<size_t>(tags[tokens[t].word]);
    const bool first = t == begin || tokens[t].word != tokens[t - 1].word;  // of what is left of its word
    sample.ids.push_back(tokens[t].id);
    sample.labels.push_back(first ? static_cast<int64_t>(tag) : label_all_tokens ? inside_[tag] : -1);
  }
  if (types_) {
    sample.types = before_types_;
    sample.types.insert(sample.types.end(), sample.ids.size() - before_.size(), word_type_);
    sample.types.insert(sample.types.end(), after_types_.begin(), after_types_.end());
  }
  sample.ids.insert(sample.ids.end(), after_.begin(), after_.end());
  sample.labels.resize(sample.ids.size(), -1);
  return sample;
}

MicroBatch TokenClassificationTask::batch(Split split, const std::vector<int64_t>& examples,
                                          const std::vector<uint64_t>& numbers) const {
  const std::vector<Sample>& samples = split == Split::kTrain ? train_ : validation_;
  BatchRows rows;
  for (size_t i = 0; i < examples.size(); ++i) {
    const Sample& sample = samples[static_cast<size_t>(examples[i])];
    const int32_t first = rows.add_sequence(sample.ids, sample.types, numbers[i]);
    for (size_t t = 0; t < sample.labels.size(); ++t) {
      if (sample.labels[t] >= 0) rows.want(first + static_cast<int32_t>(t), sample.labels[t]);
    }
    ++rows.num_examples;
  }
  return make_micro_batch(model_.device(), rows, dropout_seed(split));
}

Tensor TokenClassificationTask::loss_of(const Tensor& logits, const MicroBatch& batch, int64_t count) const {
  return ops::cross_entropy(logits, batch.labels, count, smoothing());
}

void TokenClassificationTask::begin_scores() {
  predicted_.clear();
  truth_.clear();
}

void TokenClassificationTask::take_scores(const std::vector<int64_t>& examples, const MicroBatch& batch, const Tensor& logits) {
  int64_t row = 0;
  for (const int64_t example : examples) {
    predicted_.emplace_back();
    truth_.emplace_back();
    for (const int64_t label : validation_[static_cast<size_t>(example)].labels) {
      if (label < 0) continue;
      const float* scores = logits.data<float>() + row * logits.dim(1);
      const int64_t best = std::max_element(scores, scores + logits.dim(1)) - scores;
      predicted_.back().push_back(labels_.names[static_cast<size_t>(best)]);
      truth_.back().push_back(labels_.names[static_cast<size_t>(batch.labels.data<int64_t>()[row])]);
      ++row;
    }
  }
}

std::vector<std::string> TokenClassificationTask::score_names() const {
  std::set<std::string> types;
  for (const std::string& tag : labels_.names) {
    for (const Entity& entity : find_entities({tag})) types.insert(entity.type);
  }
  std::vector<std::string> names;
  const auto add = [&](const std::string& prefix, const char* last) {
    for (const char* name : {"precision", "recall", "f1", last}) names.push_back(prefix + name);
  };
  for (const std::string& type : types) {
    if (entity_level_) add(type + "_", "number");
  }
  add(entity_level_ ? "overall_" : "", "accuracy");
  return names;
}

Metrics TokenClassificationTask::end_scores() {
  const EntityScores scores = score_entities(predicted_, truth_);
  Metrics metrics;
  if (entity_level_) {
    for (const auto& [type, one] : scores.types) {
      metrics.emplace_back(type + "_precision", one.precision);
      metrics.emplace_back(type + "_recall", one.recall);
      metrics.emplace_back(type + "_f1", one.f1);
      metrics.emplace_back(type + "_number", static_cast<double>(one.support));
    }
  }
  const std::string prefix = entity_level_ ? "overall_" : "";
  metrics.emplace_back(prefix + "precision", scores.overall.precision);
  metrics.emplace_back(prefix + "recall", scores.overall.recall);
  metrics.emplace_back(prefix + "f1", scores.overall.f1);
  metrics.emplace_back(prefix + "accuracy", scores.accuracy);
  return metrics;
}

}  // namespace pagoda::train
