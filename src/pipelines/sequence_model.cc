// Texts to rows and back, and the passes over them.
#include "pipelines/sequence_model.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "formats/tokenizer_loader.h"
#include "hub/pull.h"
#include "models/encoder.h"
#include "ops/math.h"
#include "ops/tape.h"

namespace pagoda {

namespace {

// Rows of one pass: enough to fill every kernel, few enough for activations of large models.
constexpr int64_t kMostRows = 8192;
constexpr int64_t kMostWindowTokens = int64_t{1} << 20;
constexpr int64_t kMostLogits = int64_t{1} << 26;  // values: a vocabulary's width is no row's

template <class T>
void append_range(std::vector<T>& to, const std::vector<T>& from, size_t begin, size_t end) {
  if (from.size() < end) return;  // was not asked for
  to.insert(to.end(), from.begin() + static_cast<std::ptrdiff_t>(begin), from.begin() + static_cast<std::ptrdiff_t>(end));
}

void append_part(Encoding& to, const Encoding& from, size_t begin, size_t end) {
  append_range(to.ids, from.ids, begin, end);
  append_range(to.type_ids, from.type_ids, begin, end);
  append_range(to.special_tokens_mask, from.special_tokens_mask, begin, end);
  append_range(to.attention_mask, from.attention_mask, begin, end);
  append_range(to.offsets, from.offsets, begin, end);
  append_range(to.tokens, from.tokens, begin, end);
  append_range(to.word_ids, from.word_ids, begin, end);
}

// The text with only these tokens of each sequence.
EncodedText keep(const EncodedText& text, size_t first_end, size_t second_begin, size_t second_end) {
  EncodedText out;
  out.encoding.with_offsets = text.encoding.with_offsets;
  append_part(out.encoding, text.encoding, 0, first_end);
  out.first_begin = text.first_begin;
  out.first_end = first_end;
  append_part(out.encoding, text.encoding, text.first_end, text.second_begin);
  out.second_begin = out.encoding.size();
  append_part(out.encoding, text.encoding, second_begin, second_end);
  out.second_end = out.encoding.size();
  append_part(out.encoding, text.encoding, text.second_end, text.encoding.size());
  return out;
}

std::optional<int32_t> special_id(const Tokenizer& tokenizer, const std::string& named,
                                  std::initializer_list<const char*> usual) {
  if (!named.empty()) return tokenizer.token_to_id(named);
  for (const char* token : usual) {
    if (const auto id = tokenizer.token_to_id(token)) return id;
  }
  return {};
}

// Whether transformers' tokenizer hands token_type_ids on: its model_input_names, or those of its class (of our families BERT's
// alone has them).
bool gives_types(const TokenizerConfig& tokenizer, const Json& config) {
  if (const Json* names = tokenizer.raw.find("model_input_names"); names != nullptr && names->is_array()) {
    const Json::Array& list = names->as_array("model_input_names");
    return std::find(list.begin(), list.end(), Json("token_type_ids")) != list.end();
  }
  if (!tokenizer.tokenizer_class.empty()) return tokenizer.tokenizer_class.rfind("Bert", 0) == 0;
  return config.get_string("model_type", "", "config.json") == "bert";
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

Tensor int32_tensor(Device& device, const std::vector<int32_t>& values) {
  Tensor tensor = Tensor::empty(device, DType::kInt32, {static_cast<int64_t>(values.size())});
  std::copy(values.begin(), values.end(), tensor.data<int32_t>());
  return tensor;
}

// Wanted rows of one input in the head's result; sequence classification has one.
int64_t wanted_rows(const SequenceInput& input, Head head) {
  if (head == Head::kSequenceClassification) return 1;
  if (input.hidden || head == Head::kNone) return 0;
  return static_cast<int64_t>(input.all_rows ? input.ids.size() : input.rows.size());
}

}  // namespace

bool is_finite(const SequenceOutput& output) {
  return std::all_of(output.values.begin(), output.values.end(), [](float value) { return std::isfinite(value); });
}

std::vector<float> unit_vector(const SequenceOutput& output) {
  return pool_rows(output.values.data(), 1, output.columns, {RowPooling::kCls}, true);
}

int64_t EncodedText::specials() const {
  return static_cast<int64_t>(encoding.size() - (first_end - first_begin) - (second_end - second_begin));
}

void truncate_text(EncodedText& text, int64_t max_length, Truncation::Strategy strategy) {
  if (static_cast<int64_t>(text.encoding.size()) <= max_length) return;
  Encoding first, second;
  append_part(first, text.encoding, text.first_begin, text.first_end);
  append_part(second, text.encoding, text.second_begin, text.second_end);
  Truncation truncation;
  truncation.max_length = max_length;
  truncation.strategy = strategy;
  const bool pair = text.second_end > text.second_begin;
  truncate(first, pair ? &second : nullptr, truncation, text.specials());
  text = keep(text, text.first_begin + first.size(), text.second_begin, text.second_begin + second.size());
}

std::vector<EncodedText> windows_of(const EncodedText& text, int64_t max_length, int64_t stride) {
  if (static_cast<int64_t>(text.encoding.size()) <= max_length) return {text};
  const bool pair = text.second_end > text.second_begin;
  const size_t begin = pair ? text.second_begin : text.first_begin, end = pair ? text.second_end : text.first_end;
  const int64_t length = static_cast<int64_t>(end - begin);
  const int64_t room = max_length - (static_cast<int64_t>(text.encoding.size()) - length);
  if (room <= 0) {
    invalid("text", "no room beside the question and special tokens: got {} tokens of them, need less than {}",
            static_cast<int64_t>(text.encoding.size()) - length, max_length);
  }
  if (stride < 0 || stride >= room) invalid("stride", "got {}, need 0 to {} (tokens of one part)", stride, room - 1);
  const int64_t count = 1 + (length - room + room - stride - 1) / (room - stride);
  if (count > kMostWindowTokens / max_length) {
    invalid("stride", "too many parts of the text: got {} of {} tokens, need at most {} tokens in all (a smaller stride)",
            count, max_length, kMostWindowTokens);
  }
  std::vector<EncodedText> windows;
  windows.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    const int64_t at = i * (room - stride);
    const size_t from = begin + static_cast<size_t>(at), to = begin + static_cast<size_t>(std::min(at + room, length));
    EncodedText part;
    part.encoding.with_offsets = text.encoding.with_offsets;
    append_part(part.encoding, text.encoding, 0, begin);
    append_part(part.encoding, text.encoding, from, to);
    append_part(part.encoding, text.encoding, end, text.encoding.size());
    part.first_begin = text.first_begin;
    part.second_end = begin + (to - from);
    part.first_end = pair ? text.first_end : part.second_end;
    part.second_begin = pair ? begin : part.second_end;
    windows.push_back(std::move(part));
  }
  return windows;
}

std::shared_ptr<SequenceModel> SequenceModel::open(const std::string& name, LoadOptions options, std::optional<Head> head) {
  std::shared_ptr<SequenceModel> self(new SequenceModel);
  const std::string root = hub::resolve_model(name);
  const std::string path = directory_exists(root) ? transformer_folder(root) : root;
  self->sentence_ = read_sentence_config(root);
  // Vectors are made of hidden states, whatever head the checkpoint was trained with.
  options.head = !head && self->sentence_.pools ? Head::kNone : head;
  self->loaded_ = LoadedModel::open(path, options);
  if (self->head() == Head::kCausalLm) {
    unsupported(path, "{} generates text: need an encoder", self->model().architecture());
  }
  self->tokenizer_ = load_tokenizer(path);
  self->tokenizer_config_ = load_tokenizer_config(path);
  self->labels_ = read_labels(self->loaded_->folder().config(), join_path(path, "config.json"));
  const Tokenizer& tokenizer = *self->tokenizer_;
  const TokenizerConfig& config = self->tokenizer_config_;
  self->mask_id_ = special_id(tokenizer, config.mask_token, {"[MASK]", "<mask>"});
  self->unk_id_ = special_id(tokenizer, config.unk_token, {"[UNK]", "<unk>"});
  self->cls_id_ = special_id(tokenizer, config.cls_token, {"[CLS]", "<s>"});
  self->pad_id_ = special_id(tokenizer, config.pad_token, {"[PAD]", "<pad>"});
  self->max_length_ = self->model().max_positions();
  if (config.model_max_length > 0) self->max_length_ = std::min(self->max_length_, config.model_max_length);
  self->types_ = gives_types(config, self->loaded_->folder().config());
  if (const auto* encoder = dynamic_cast<const EncoderModel*>(&self->model())) {
    self->num_types_ = encoder->config().type_vocab_size;
  }
  return self;
}

EncodedText SequenceModel::encode(std::string_view text, const std::string* pair) const {
  EncodeOptions options;
  options.offsets = true;
  options.truncate_and_pad = false;
  EncodedText out;
  out.encoding = pair != nullptr ? tokenizer_->encode_pair(text, *pair, options) : tokenizer_->encode(text, options);
  const std::vector<uint8_t>& mask = out.encoding.special_tokens_mask;
  const size_t size = mask.size();
  const auto count_ids = [&](std::string_view of) { return tokenizer_->encode_ids(of, false).size(); };
  // Special tokens stand before, between and after the sequences.
  const size_t ours = static_cast<size_t>(std::count(mask.begin(), mask.end(), uint8_t{0}));
  const size_t first = pair != nullptr ? std::min(count_ids(text), ours) : ours, second = ours - first;
  size_t at = 0;
  while (at < size && mask[at] == 1) ++at;
  out.first_begin = std::min(at, size - ours);
  out.first_end = out.first_begin + first;
  at = out.first_end;
  while (pair != nullptr && at < size && mask[at] == 1) ++at;
  out.second_begin = pair != nullptr ? std::min(at, size - second) : out.first_end;
  out.second_end = out.second_begin + second;
  return out;
}

SequenceInput SequenceModel::input_of(const Encoding& encoding) const {
  const int64_t length = static_cast<int64_t>(encoding.size());
  if (length > model().max_positions()) {
    invalid("text", "too long: got {} tokens, need at most {} (or truncation)", length, model().max_positions());
  }
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
  return {tokenizer_, skip_special_tokens, tokenizer_config_.clean_up_tokenization_spaces};
}

PairEncoder::PairEncoder(const SequenceModel& model, std::string_view first) : model_(model), first_text_(first) {
  EncodeOptions options;
  options.add_special_tokens = false;
  options.truncate_and_pad = false;
  first_ = model_.tokenizer()->encode(first, options);
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
  out.encoding.offsets.clear();
  out.encoding.tokens.clear();
  out.encoding.word_ids.clear();
  return out;
}

int64_t SequenceModel::num_values(const SequenceInput& input) const {
  if (!input.pooling.empty()) return static_cast<int64_t>(input.pooling.size()) * model().hidden_size();
  if (input.hidden || head() == Head::kNone) return static_cast<int64_t>(input.ids.size()) * model().hidden_size();
  return wanted_rows(input, head()) * model().num_logits();
}

std::vector<SequenceOutput> SequenceModel::run(const std::vector<const SequenceInput*>& inputs) const {
  std::vector<SequenceOutput> outputs(inputs.size());
  const NoGrad no_grad;
  const ThreadPool::Step step(loaded_->runtime().pool());
  for (size_t begin = 0; begin < inputs.size();) {
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
  const Outputs result = model().forward({int32_tensor(device, ids), int32_tensor(device, types)}, context);
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
    output.values = pool_rows(output.values.data(), output.rows, output.columns, inputs[i]->pooling, false);
    output.rows = 1;
    output.columns = static_cast<int64_t>(output.values.size());
  }
}

}  // namespace pagoda
