// Texts to rows and back, and the passes over them.
#include "pipelines/sequence_model.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "formats/clean_up.h"
#include "formats/tokenizer_loader.h"
#include "formats/type_ids.h"
#include "hub/pull.h"
#include "models/encoder.h"
#include "ops/math.h"
#include "ops/tape.h"

namespace pagoda {

namespace {

// Rows of one pass: enough to fill every kernel, few enough for activations of large models.
constexpr int64_t kMostRows = 8192;
constexpr int64_t kMostLogits = int64_t{1} << 26;  // values: a vocabulary's width is no row's

std::optional<int32_t> special_id(const Tokenizer& tokenizer, const std::string& named,
                                  std::initializer_list<const char*> usual) {
  if (!named.empty()) return tokenizer.token_to_id(named);
  for (const char* token : usual) {
    if (const auto id = tokenizer.token_to_id(token)) return id;
  }
  return {};
}

void append_row(const Tensor& tensor, int64_t row, std::vector<float>& into) {
  const int64_t columns = tensor.dim(1);
  if (tensor.dtype() == DType::kBFloat16) {
    const BFloat16* values = tensor.data<BFloat16>() + row * columns;
    for (int64_t i = 0; i < columns; ++i) into.push_back(static_cast<float>(values[i]));
  } else {
    const float* values = tensor.data<float>() + row * columns;
    into.insert(into.end(), values, values + columns);
  }
}

// Wanted rows of one input in the head's result; sequence classification has one.
int64_t wanted_rows(const SequenceInput& input, Head head) {
  if (head == Head::kSequenceClassification) return 1;
  if (input.hidden || head == Head::kNone) return 0;
  return static_cast<int64_t>(input.all_rows ? input.ids.size() : input.rows.size());
}

}  // namespace

void check_finite(const SequenceOutput& output) {
  if (std::all_of(output.values.begin(), output.values.end(), [](float value) { return std::isfinite(value); })) return;
  fail(ErrorKind::kInternal, "pooling", "the hidden states are not finite");
}

std::vector<float> unit_vector(const SequenceOutput& output) {
  check_finite(output);
  const std::vector<double> unit = normalize_layer()->apply({output.values.begin(), output.values.end()});
  return {unit.begin(), unit.end()};
}

std::shared_ptr<SequenceModel> SequenceModel::open(const std::string& name, LoadOptions options, std::optional<Head> head) {
  std::shared_ptr<SequenceModel> self(new SequenceModel);
  const std::string root = hub::resolve_model(name);
  const std::string path = directory_exists(root) ? transformer_folder(root) : root;
  self->sentence_ = read_sentence_config(root);
  // Vectors are made of hidden states, whatever head the checkpoint was trained with.
  options.head = !head && self->sentence_.pools ? Head::kNone : head;
  self->loaded_ = LoadedModel::open(path, options);
  // A GGUF file says it itself.
  const std::string pooling = self->loaded_->folder().config().get_string("pooling_type", "none", path);
  if (is_gguf(self->loaded_->folder().path()) && pooling != "none") {
    self->sentence_.pooling = {parse_row_pooling(pooling == "last" ? "lasttoken" : pooling, path)};
    self->sentence_.pools = true;
  }
  if (self->head() == Head::kCausalLm) {
    unsupported(path, "{} generates text: need an encoder", self->model().architecture());
  }
  if (!self->sentence_.layers.empty()) {
    layers_width(self->sentence_, static_cast<int64_t>(self->sentence_.pooling.size()) * self->model().hidden_size());
  }
  const std::string tokenizer_path =
      options.tokenizer.empty() ? self->loaded_->tokenizer_path() : hub::resolve_model(options.tokenizer);
  self->tokenizer_ = load_tokenizer(tokenizer_path);
  self->tokenizer_config_ = load_tokenizer_config(tokenizer_path);
  self->read_labels_of(path, options);
  const Tokenizer& tokenizer = *self->tokenizer_;
  const TokenizerConfig& config = self->tokenizer_config_;
  self->mask_id_ = special_id(tokenizer, config.mask_token, {"[MASK]", "<mask>"});
  self->unk_id_ = special_id(tokenizer, config.unk_token, {"[UNK]", "<unk>"});
  self->cls_id_ = special_id(tokenizer, config.cls_token, {"[CLS]", "<s>"});
  self->pad_id_ = special_id(tokenizer, config.pad_token, {"[PAD]", "<pad>"});
  self->max_length_ = self->model().max_positions();
  if (config.model_max_length > 0) self->max_length_ = std::min(self->max_length_, config.model_max_length);
  self->types_ = gives_type_ids(config, self->loaded_->folder().config().get_string("model_type", "", "config.json"));
  if (const auto* encoder = dynamic_cast<const EncoderModel*>(&self->model())) {
    self->num_types_ = encoder->config().type_vocab_size;
  }
  return self;
}

// Of a head that has them: others load whatever is said of labels.
void SequenceModel::read_labels_of(const std::string& path, const LoadOptions& options) {
  if (head() != Head::kSequenceClassification && head() != Head::kTokenClassification) return;
  labels_ = read_labels(loaded_->folder().config(), join_path(path, "config.json"));
  if (!labels_.notice.empty() && options.notice) options.notice("warning: " + labels_.notice);
  // Where both files say one, sentence-transformers' own counts.
  set_score_activation(labels_, sentence_.score_activation);
  if (labels_.score_activation == ScoreActivation::kUnknown && labels_.names.size() == 1 && options.notice) {
    options.notice("warning: activation_fn " + labels_.score_activation_name + " is not known: no pairs will be scored");
  }
  if (static_cast<int64_t>(labels_.names.size()) == model().num_logits()) return;
  invalid(path, "id2label: got {} labels, need {}: one for each output of the head", labels_.names.size(),
          model().num_logits());
}

void SequenceModel::limit_length(int64_t most) {
  if (most < 1 || most > model().max_positions()) {
    invalid("--max-model-len", "got {}, need 1 to {} (the model's positions)", most, model().max_positions());
  }
  limit_ = most;
  max_length_ = std::min(max_length_, most);
}

EncodedText SequenceModel::encode(std::string_view text, const std::string* pair, bool offsets) const {
  EncodedText encoded = encode_text(*tokenizer_, text, pair, offsets);
  encoded.cut_left = tokenizer_config_.truncation_left;
  return encoded;
}

SequenceInput SequenceModel::input_of(const Encoding& encoding) const {
  const int64_t length = static_cast<int64_t>(encoding.size());
  const int64_t most = limit_ > 0 ? limit_ : model().max_positions();
  if (length > most) invalid("text", "too long: got {} tokens, need at most {} (or truncation)", length, most);
  if (length == 0) invalid("text", "empty: no token at all");
  // Checked here, before it shares a pass with others.
  for (const int32_t id : encoding.ids) {
    if (id < 0 || id >= model().vocab_size()) {
      invalid("text", "token id outside the model's vocabulary: got {}, need 0 to {}", id, model().vocab_size() - 1);
    }
  }
  SequenceInput input;
  input.ids = encoding.ids;
  input.type_ids = types_ ? encoding.type_ids : std::vector<int32_t>(encoding.size(), 0);
  for (const int32_t type : input.type_ids) {
    if (num_types_ > 0 && type >= num_types_) invalid("text", "token type: got {}, need 0 to {}", type, num_types_ - 1);
  }
  return input;
}

std::string SequenceModel::decode(const std::vector<int32_t>& ids, bool skip_special_tokens) const {
  StreamDecoder decoder = this->decoder(skip_special_tokens);
  std::string text;
  for (const int32_t id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

StreamDecoder SequenceModel::decoder(bool skip_special_tokens) const {
  return {tokenizer_, skip_special_tokens, cleans_up_spaces(tokenizer_config_, *tokenizer_)};
}

PairEncoder::PairEncoder(const SequenceModel& model, std::string_view first, int64_t most) : model_(model), first_text_(first) {
  EncodeOptions options;
  options.add_special_tokens = false;
  options.truncate_and_pad = false;
  first_ = model_.tokenizer()->encode(first, options);
  if (most > 0) {
    Truncation truncation;
    truncation.max_length = most;
    truncation.left = model_.tokenizer_config().truncation_left;
    truncate(first_, nullptr, truncation, 0);
  }
  const std::string other = "b";
  around_ = model_.encode("a", &other);
}

EncodedText PairEncoder::with(const std::string& second) const {
  const Encoding& around = around_.encoding;
  // No letters in the vocabulary: where the special tokens stand does not show.
  if (around_.first_begin == around_.first_end || around_.second_begin == around_.second_end) {
    return model_.encode(first_text_, &second);
  }
  EncodeOptions options;
  options.add_special_tokens = false;
  options.truncate_and_pad = false;
  const Encoding second_part = model_.tokenizer()->encode(second, options);
  EncodedText out;
  out.cut_left = around_.cut_left;
  const auto sequence = [&](const Encoding& part, size_t place, size_t& begin, size_t& end) {
    begin = out.encoding.size();
    append_part(out.encoding, part, 0, part.size());
    end = out.encoding.size();
    // Which sequence it is shows in the types alone.
    std::fill(out.encoding.type_ids.begin() + static_cast<std::ptrdiff_t>(begin), out.encoding.type_ids.end(),
              around.type_ids[place]);
  };
  append_part(out.encoding, around, 0, around_.first_begin);
  sequence(first_, around_.first_begin, out.first_begin, out.first_end);
  append_part(out.encoding, around, around_.first_end, around_.second_begin);
  sequence(second_part, around_.second_begin, out.second_begin, out.second_end);
  append_part(out.encoding, around, around_.second_end, around.size());
  return out;
}

int64_t SequenceModel::num_values(const SequenceInput& input) const {
  if (!input.pooling.empty()) {
    const int64_t width = static_cast<int64_t>(input.pooling.size()) * model().hidden_size();
    return input.layers ? layers_width(sentence_, width) : width;
  }
  if (input.hidden || head() == Head::kNone) return static_cast<int64_t>(input.ids.size()) * model().hidden_size();
  return wanted_rows(input, head()) * model().num_logits();
}

std::vector<SequenceOutput> SequenceModel::run(const std::vector<const SequenceInput*>& inputs,
                                               const std::function<void()>& check) const {
  std::vector<SequenceOutput> outputs(inputs.size());
  const NoGrad no_grad;
  const ThreadPool::Step step(loaded_->runtime().pool());
  for (size_t begin = 0; begin < inputs.size();) {
    if (check) check();
    size_t end = begin;
    int64_t rows = 0, logits = 0;
    while (end < inputs.size()) {
      rows += static_cast<int64_t>(inputs[end]->ids.size());
      logits += wanted_rows(*inputs[end], head()) * model().num_logits();
      if (end > begin && (rows > kMostRows || logits > kMostLogits)) break;
      ++end;
    }
    run_pass({inputs.begin() + static_cast<std::ptrdiff_t>(begin), inputs.begin() + static_cast<std::ptrdiff_t>(end)},
             outputs.data() + begin);
    begin = end;
  }
  return outputs;
}

void SequenceModel::run_pass(const std::vector<const SequenceInput*>& inputs, SequenceOutput* outputs) const {
  std::vector<int32_t> ids, types, lengths;
  for (const SequenceInput* input : inputs) {
    ids.insert(ids.end(), input->ids.begin(), input->ids.end());
    types.insert(types.end(), input->type_ids.begin(), input->type_ids.end());
    lengths.push_back(static_cast<int32_t>(input->ids.size()));
  }
  const auto layout = std::make_shared<Layout>(*Layout::whole(lengths, false));
  layout->wanted_rows.clear();
  for (size_t i = 0; i < inputs.size(); ++i) {
    const int32_t first = (*layout->starts)[i];
    if (wanted_rows(*inputs[i], head()) == 0 || head() == Head::kSequenceClassification) continue;
    if (inputs[i]->all_rows) {
      for (int32_t row = 0; row < lengths[i]; ++row) layout->wanted_rows.push_back(first + row);
    } else {
      for (const int32_t row : inputs[i]->rows) layout->wanted_rows.push_back(first + row);
    }
  }
  Device& device = loaded_->runtime().device();
  ForwardContext context;
  context.layout = layout;
  const Outputs result = model().forward({ops::int32_tensor(device, ids), ops::int32_tensor(device, types)}, context);
  int64_t logits_row = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    SequenceOutput& output = outputs[i];
    const int64_t wanted = wanted_rows(*inputs[i], head());
    const bool hidden = inputs[i]->hidden || head() == Head::kNone;
    const Tensor& from = hidden ? result.hidden : result.logits;
    const int64_t first = hidden ? (*layout->starts)[i] : logits_row;
    output.rows = hidden ? static_cast<int64_t>(inputs[i]->ids.size()) : wanted;
    output.columns = hidden ? model().hidden_size() : model().num_logits();
    output.values.reserve(static_cast<size_t>(output.rows * output.columns));
    for (int64_t row = 0; row < output.rows; ++row) append_row(from, first + row, output.values);
    logits_row += wanted;
    if (inputs[i]->pooling.empty()) continue;
    std::vector<double> vector =
        pool_rows(output.values.data(), output.rows, output.columns, inputs[i]->pooling, inputs[i]->pooled_from);
    if (inputs[i]->layers) vector = apply_layers(sentence_, std::move(vector), inputs[i]->normalize);
    output.values.assign(vector.begin(), vector.end());
    output.rows = 1;
    output.columns = static_cast<int64_t>(output.values.size());
  }
}

}  // namespace pagoda
