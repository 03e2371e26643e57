// Labels of language modelling, and batches of ragged rows.
#include "train/lm_task.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>

#include "base/error.h"
#include "base/random.h"
#include "ops/loss.h"
#include "train/data/fingerprint.h"

namespace pagoda::train {

namespace {

constexpr uint64_t kMaskSeed = 0x6D61736B73ull, kValidationSeed = 0x76616C6964ull, kDropoutSeed = 0x64726F70ull;

// Rows that count, cut where positions begin anew: an example may be several packed sequences, and padding is left out.
std::vector<size_t> rows_that_count(const Example& example, std::vector<size_t>& starts) {
  std::vector<size_t> rows;
  starts.clear();
  for (size_t t = 0; t < example.input_ids.size(); ++t) {
    if (!example.attention_mask.empty() && example.attention_mask[t] == 0) continue;
    const bool begins = !example.position_ids.empty() && example.position_ids[t] == 0;
    if (rows.empty() || begins) starts.push_back(rows.size());
    rows.push_back(t);
  }
  return rows;
}

std::vector<int32_t> pick(const std::vector<int32_t>& column, const std::vector<size_t>& rows) {
  std::vector<int32_t> values;
  if (column.empty()) return values;
  for (const size_t row : rows) values.push_back(column[row]);
  return values;
}

int64_t correct_rows(const Tensor& logits, const Tensor& labels) {
  std::atomic<int64_t> correct{0};
  logits.device().exec.pool->parallel_for(logits.dim(0), 8, [&](int64_t begin, int64_t end, int) {
    int64_t found = 0;
    for (int64_t t = begin; t < end; ++t) {
      const float* row = logits.data<float>() + t * logits.dim(1);
      found += std::max_element(row, row + logits.dim(1)) - row == labels.data<int64_t>()[t] ? 1 : 0;
    }
    correct += found;
  });
  return correct;
}

Json list_of(const std::vector<int32_t>& values) {
  Json list = Json::array();
  for (const int32_t value : values) list.push_back(int64_t{value});
  return list;
}

}  // namespace

LmTask::LmTask(TrainingModel& model, const TrainingArguments& arguments, const LmOptions& options, const TaskHooks& hooks)
    : model_(model), arguments_(arguments), options_(options) {
  const Head head = options_.masked ? Head::kMaskedLm : Head::kCausalLm;
  if (model_.model().head_kind() != head) {
    invalid(model_.path(), "got {}, need a model with a {} head", model_.model().architecture(), head_name(head));
  }
  if (!(options_.mlm_probability > 0 && options_.mlm_probability < 1)) {
    invalid("--mlm-probability", "got {}, need a number between 0 and 1", options_.mlm_probability);
  }
  if (options_.masked) choose_mask_tokens();
  check_split(options_.files.train, arguments_.max_train_samples, "training data", hooks);
  if (has_validation()) {
    validation_rows_ = check_split(options_.files.validation, arguments_.max_eval_samples, "validation data", hooks,
                                   arguments_.seed ^ kValidationSeed);
  }
  DatasetOptions dataset;
  dataset.max_rows = arguments_.max_train_samples;
  dataset.seed = arguments_.order_seed();
  dataset.rank = arguments_.rank;
  dataset.world = arguments_.world;
  reader_ = std::make_unique<DatasetReader>(options_.files.train, dataset);
  if (options_.dump_batches.empty()) return;
  if (arguments_.rank > 0) options_.dump_batches += fmt::format(".{}", arguments_.rank);
  dump_ = std::fopen(options_.dump_batches.c_str(), options_.append_dump ? "a" : "w");
  if (dump_ == nullptr) fail_errno(options_.dump_batches, "cannot open", errno);
}

LmTask::~LmTask() {
  if (dump_ != nullptr) std::fclose(dump_);
}

void LmTask::choose_mask_tokens() {
  special_.assign(static_cast<size_t>(model_.model().vocab_size()), false);
  random_tokens_ = static_cast<int32_t>(model_.model().vocab_size());
  if (!model_.has_tokenizer()) return;  // rows with labels need none; check_split() sees the others
  const Tokenizer& tokenizer = *model_.tokenizer();
  const TokenizerConfig& config = model_.tokenizer_config();
  random_tokens_ = static_cast<int32_t>(tokenizer.id_limit());
  for (int32_t id = 0; id < random_tokens_; ++id) special_[static_cast<size_t>(id)] = tokenizer.is_special(id);
  for (const std::string& name : {config.bos_token, config.eos_token, config.unk_token, config.sep_token, config.pad_token,
                                  config.cls_token, config.mask_token}) {
    if (name.empty()) continue;
    if (const std::optional<int32_t> id = tokenizer.token_to_id(name)) special_[static_cast<size_t>(*id)] = true;
  }
  const std::string name = config.mask_token.empty() ? "[MASK]" : config.mask_token;
  if (const std::optional<int32_t> id = tokenizer.token_to_id(name)) mask_token_ = *id;
}

int64_t LmTask::check_split(const std::vector<std::string>& files, int64_t most, const char* name, const TaskHooks& hooks,
                            std::optional<uint64_t> masks) {
  DatasetOptions in_order;
  in_order.shuffle = false;
  in_order.prefetch = 0;
  in_order.max_rows = most;
  DatasetReader reader(files, in_order);
  const int64_t vocab = model_.model().vocab_size(), longest = model_.model().max_positions();
  int64_t labelled = 0, masked = 0, tokens = 0;
  Fingerprint contents;
  Example example;
  for (int64_t row = 0; reader.next(example); ++row) {
    if (row % 1024 == 0) hooks.at("checking", row, reader.num_rows());
    const auto where = [&] {
      return fmt::format("{}: example {}", options_.files.name.empty() ? files.front() : options_.files.name, row);
    };
    if (options_.masked && example.labels.empty() && mask_token_ < 0) {
      invalid(where(), "got no labels, need them or a tokenizer with a mask token to mask by");
    }
    for (const int32_t id : example.input_ids) {
      if (id < 0 || id >= vocab) invalid(where(), "token id outside the vocabulary: got {}, need 0 to {}", id, vocab - 1);
    }
    for (const int32_t id : example.labels) {
      if (id >= vocab || (id < 0 && id != -100)) {
        invalid(where(), "label: got {}, need a token id up to {} or -100 (ignored)", id, vocab - 1);
      }
    }
    std::vector<size_t> starts;
    const std::vector<size_t> rows = rows_that_count(example, starts);
    starts.push_back(rows.size());
    for (size_t s = 0; s + 1 < starts.size(); ++s) {
      const int64_t length = static_cast<int64_t>(starts[s + 1] - starts[s]);
      if (length > longest)
        invalid(where(), "sequence too long: got {} tokens, need at most {} (the model's positions)", length, longest);
      for (size_t t = starts[s]; t < starts[s + 1]; ++t) {
        if (!options_.masked && t == starts[s]) continue;  // nothing predicts the first token
        const int32_t id = example.input_ids[rows[t]];
        labelled += example.labels.empty() ? (!options_.masked || !special_[static_cast<size_t>(id)] ? 1 : 0)
                                           : (example.labels[rows[t]] >= 0 ? 1 : 0);
      }
    }
    tokens += static_cast<int64_t>(rows.size());
    for (const std::vector<int32_t>* column :
         {&example.input_ids, &example.labels, &example.attention_mask, &example.position_ids, &example.token_type_ids}) {
      contents.add({reinterpret_cast<const char*>(column->data()), column->size() * sizeof(int32_t)});
    }
    if (masks && masked == 0) {
      const Labelled made = label(example, static_cast<uint64_t>(row), *masks);
      masked += std::count_if(made.labels.begin(), made.labels.end(), [](int32_t id) { return id >= 0; });
    }
  }
  if (labelled == 0)
    invalid(name, "no labelled position in {} examples: need at least one label that is not -100", reader.num_rows());
  if (masks && masked == 0) {
    invalid(name, "no position of {} examples is masked: need more of them or a higher --mlm-probability", reader.num_rows());
  }
  if (contents_.empty()) {
    tokens_ = tokens;
    contents_ = contents.text();
  }
  return reader.num_rows();
}

void LmTask::restore(const Json& state) {
  reader_->restore(state);
  const std::string before = state.get_string("contents", contents_, "checkpoint");
  if (before != contents_) {
    invalid("training data", "other examples than when the checkpoint was written: got {}, need {}", contents_, before);
  }
}

Json LmTask::options() const {
  Json options = Json::object();
  if (options_.masked) options.set("mlm_probability", options_.mlm_probability);
  return options;
}

void LmTask::mask(Labelled& labelled, uint64_t number, uint64_t seed) const {
  const auto least = [](double share) { return static_cast<uint64_t>(share * 0x1.0p32); };
  const uint64_t chosen = least(options_.mlm_probability);
  labelled.labels.assign(labelled.ids.size(), -100);
  for (size_t t = 0; t < labelled.ids.size(); ++t) {
    int32_t& id = labelled.ids[t];
    if (special_[static_cast<size_t>(id)]) continue;
    const auto draws = philox(seed, t, number);
    if (draws[0] >= chosen) continue;
    labelled.labels[t] = id;
    if (draws[1] < least(0.8)) {
      id = mask_token_;
    } else if (draws[1] < least(0.9)) {
      id = static_cast<int32_t>((uint64_t{draws[2]} * static_cast<uint64_t>(random_tokens_)) >> 32);
    }
  }
}

LmTask::Labelled LmTask::label(const Example& example, uint64_t number, uint64_t seed) const {
  Labelled labelled;
  const std::vector<size_t> rows = rows_that_count(example, labelled.starts);
  labelled.ids = pick(example.input_ids, rows);
  labelled.types = pick(example.token_type_ids, rows);
  labelled.labels = pick(example.labels, rows);
  if (!example.labels.empty()) return labelled;
  if (options_.masked) {
    mask(labelled, number, seed);
  } else {
    labelled.labels = labelled.ids;
  }
  return labelled;
}

void LmTask::add(const Example& example, uint64_t number, uint64_t seed, BatchRows& rows) {
  Labelled labelled = label(example, number, seed);
  ++rows.num_examples;
  std::vector<size_t> ends(labelled.starts.begin() + (labelled.starts.empty() ? 0 : 1), labelled.starts.end());
  ends.push_back(labelled.ids.size());
  const auto part = [](const std::vector<int32_t>& column, size_t begin, size_t end) {
    if (column.empty()) return std::vector<int32_t>();
    return std::vector<int32_t>(column.begin() + static_cast<ptrdiff_t>(begin), column.begin() + static_cast<ptrdiff_t>(end));
  };
  const size_t ahead = options_.masked ? 0 : 1;  // a row of clm predicts the token after it
  for (size_t s = 0; s < labelled.starts.size(); ++s) {
    const size_t begin = labelled.starts[s], end = ends[s];
    const int32_t first = rows.add_sequence(part(labelled.ids, begin, end), part(labelled.types, begin, end), number);
    for (size_t t = begin; t + ahead < end; ++t) {
      const int32_t wanted = labelled.labels[t + ahead];
      if (wanted >= 0) rows.want(first + static_cast<int32_t>(t - begin), wanted);
    }
  }
  if (dump_ != nullptr) dumped_.emplace_back(number, std::move(labelled));
}

void LmTask::dump(const char* split) {
  Json numbers = Json::array(), ids = Json::array(), labels = Json::array();
  for (const auto& [number, labelled] : dumped_) {
    numbers.push_back(static_cast<int64_t>(number));
    ids.push_back(list_of(labelled.ids));
    labels.push_back(list_of(labelled.labels));
  }
  dumped_.clear();
  const Json line = Json::object().set("split", split).set("examples", numbers).set("input_ids", ids).set("labels", labels);
  const std::string text = line.dump() + "\n";
  if (std::fwrite(text.data(), 1, text.size(), dump_) != text.size() || std::fflush(dump_) != 0) {
    fail_errno(options_.dump_batches, "cannot write", errno);
  }
}

MicroBatch LmTask::next(int64_t examples) {
  BatchRows rows;
  Example example;
  for (int64_t i = 0; i < examples; ++i) {
    while (!reader_->next(example)) {
    }
    // Ranks take turns: its place among all rows of all epochs.
    const int64_t before = reader_->position() - arguments_.world + arguments_.rank;
    const uint64_t number = static_cast<uint64_t>(reader_->epoch() * reader_->num_rows() + before);
    add(example, number, arguments_.seed ^ kMaskSeed, rows);
  }
  if (dump_ != nullptr) dump("train");
  return make_micro_batch(model_.device(), rows, arguments_.seed ^ kDropoutSeed);
}

Metrics LmTask::evaluate(const Model& model, const TaskHooks& hooks, Communicator* ranks) {
  DatasetOptions in_order;
  in_order.shuffle = false;
  in_order.prefetch = 0;
  in_order.max_rows = arguments_.max_eval_samples;
  DatasetReader reader(options_.files.validation, in_order);
  double sum = 0;
  int64_t labels = 0, correct = 0, row = 0;
  const int64_t size = arguments_.per_device_eval_batch_size, all = reader.num_rows();
  const auto score = [&](int64_t number) {
    BatchRows rows;
    Example example;
    for (; row < std::min(all, (number + 1) * size); ++row) {
      reader.next(example);
      if (row >= number * size) add(example, static_cast<uint64_t>(row), arguments_.seed ^ kValidationSeed, rows);
    }
    if (dump_ != nullptr && !dumped_validation_) dump("validation");
    dumped_.clear();
    const MicroBatch batch = make_micro_batch(model_.device(), rows, {});
    BatchScores scores;
    scores.labels = batch.num_labels;
    if (batch.num_labels == 0) return scores;
    ForwardContext context;
    context.layout = batch.layout;
    const Tensor logits = model.forward(batch.inputs, context).logits;
    scores.loss = static_cast<double>(ops::cross_entropy(logits, batch.labels, batch.num_labels, smoothing()).data<float>()[0]);
    scores.correct = correct_rows(logits, batch.labels);
    return scores;
  };
  evaluate_batches(model_.device(), ranks, (all + size - 1) / size, hooks, score, [&](int64_t, const BatchScores& scores) {
    sum += scores.loss * static_cast<double>(scores.labels);
    labels += scores.labels;
    correct += scores.correct;
  });
  dumped_validation_ = true;
  if (ranks != nullptr && ranks->rank() > 0) return {};
  const double mean = sum / static_cast<double>(labels);
  return {
      {"loss", mean}, {"accuracy", static_cast<double>(correct) / static_cast<double>(labels)}, {"perplexity", std::exp(mean)}};
}

}  // namespace pagoda::train
