// Which weights, calibration block by block, and the files.
#include "convert/quantize.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <span>

#include "base/checked.h"
#include "base/error.h"
#include "base/file.h"
#include "convert/beside_weights.h"
#include "formats/gguf_model.h"
#include "formats/safetensors.h"
#include "formats/tokenizer_gguf.h"
#include "models/decoder.h"
#include "models/encoder.h"
#include "ops/math.h"
#include "ops/tape.h"
#include "tensor/shape.h"

namespace pagoda {

namespace {

// A linear layer of a decoder block.
struct Linear {
  Parameter* parameter;
  std::string module;
  int layer;
  std::string input;  // what an observer calls its input
};

bool ends(const std::string& name, std::string_view end) {
  return name.size() >= end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0;
}

void add_decoder(const DecoderConfig& c,
                 const std::function<void(int layer, const std::string& module, const std::string& input)>& add) {
  for (int layer = 0; layer < static_cast<int>(c.num_hidden_layers); ++layer) {
    const std::string path = c.names.base + c.names.layers + "." + std::to_string(layer), in = path + ".";
    for (const std::string& name : c.names.qkv) add(layer, in + name, path + ".attention_norm");
    add(layer, in + c.names.attention_out, in + c.names.attention + ".mixed");
    for (const std::string& name : c.names.mlp_in) add(layer, in + name, path + ".mlp_norm");
    add(layer, in + c.names.mlp_out, path + ".mlp.activated");
  }
}

void add_encoder(const EncoderConfig& c,
                 const std::function<void(int layer, const std::string& module, const std::string& input)>& add) {
  const EncoderNames& n = c.names;
  for (const std::string& block : n.blocks) {
    const std::string path = (c.head == Head::kNone ? "" : n.base) + block + ".";
    for (const std::string& name : {n.query, n.key, n.value, n.attention_out, n.mlp_in, n.mlp_out}) add(0, path + name, "");
  }
}

std::vector<Linear> linears_of(Model& model) {
  std::map<std::string, Parameter*> by_name;
  for (Parameter* parameter : model.parameters()) by_name.emplace(parameter->name, parameter);
  std::vector<Linear> linears;
  const auto add = [&](int layer, const std::string& module, const std::string& input) {
    linears.push_back({by_name.at(module + ".weight"), module, layer, input});
  };
  if (const auto* decoder = dynamic_cast<const DecoderModel*>(&model)) {
    if (decoder->config().transposed_linear) {
      unsupported("quantize", "{}: its matrices are Conv1D, which compressed-tensors has no form for", model.architecture());
    }
    add_decoder(decoder->config(), add);
  } else if (const auto* encoder = dynamic_cast<const EncoderModel*>(&model)) {
    add_encoder(encoder->config(), add);
  } else {
    unsupported("quantize", "{}: need a decoder or an encoder", model.architecture());
  }
  return linears;
}

int64_t elements(const Linear& linear) { return linear.parameter->shape[0] * linear.parameter->shape[1]; }

// The largest group of which most weights are made whole.
int64_t choose_group(const std::vector<Linear>& linears) {
  int64_t best = 32, most = -1;
  for (const int64_t group : {128, 64, 32}) {
    int64_t covered = 0;
    for (const Linear& linear : linears) covered += linear.parameter->shape[1] % group == 0 ? elements(linear) : 0;
    if (covered > most) {
      most = covered;
      best = group;
    }
  }
  return best;
}

struct Enough {};  // thrown by the observer once it has its input: the rest of the block is not needed

// Sums x x^T of one input of a block's linear layers.
class InputPower : public Observer {
 public:
  InputPower(Device& device, std::string input, int64_t k)
      : device_(device), input_(std::move(input)), sum_(Tensor::zeros(device, DType::kFloat32, {k, k})) {}
  void observe(std::string_view path, const Tensor& tensor) override {
    if (path != input_) return;
    device_.kernels->gemm(device_.exec, tensor.view(), true, tensor.view(), false, true, sum_.view());
    throw Enough();
  }
  std::vector<float> sum() const { return {sum_.data<float>(), sum_.data<float>() + sum_.numel()}; }

 private:
  Device& device_;
  std::string input_;
  Tensor sum_;
};

// Some windows of the calibration text: their rows as they enter the block at hand.
struct Rows {
  std::shared_ptr<const Layout> layout;
  Tensor x;
};

class Quantizer {
 public:
  Quantizer(Device& device, const ModelFolder& folder, std::string out, const QuantizeOptions& options)
      : device_(device),
        source_(make_model(folder.config(), folder.config_path())),
        folder_(folder),
        out_(std::move(out)),
        options_(options),
        pool_(*device.exec.pool) {}

  QuantizeReport run(Model* calibrated) {
    if (options_.bits != 4 && options_.bits != 8) invalid("quantize", "bits: got {}, need 4 or 8", options_.bits);
    source_->load(device_, folder_);
    linears_ = linears_of(*source_);
    if (options_.int8_head) find_head();
    report_.bits = options_.bits;
    report_.format = options_.bits == 8 ? "int-quantized" : "pack-quantized";
    if (options_.bits == 4) report_.group_size = options_.group_size > 0 ? options_.group_size : choose_group(linears_);
    const DType dtype = options_.dtype.value_or(folder_.dtype());
    plain_dtype_ = dtype == DType::kFloat32 || dtype == DType::kFloat16 ? dtype : DType::kBFloat16;
    for (const Linear& linear : linears_) {
      if (fits(linear)) continue;
      report_.in_int8.emplace_back(
          linear.module, fmt::format("{} columns are no multiple of {}", linear.parameter->shape[1], report_.group_size));
    }
    if (head_ && head_->parameter->shape[1] % report_.group_size != 0) {
      invalid("quantize", "a head in int8: got {} columns, need a multiple of the group size {}", head_->parameter->shape[1],
              report_.group_size);
    }
    if (report_.in_int8.size() == linears_.size()) {
      invalid("quantize", "no matrix has a multiple of {} columns: need another group size", report_.group_size);
    }
    check_cancel();
    clear_for_model(out_, {folder_.path()});
    copy_files();  // before what takes hours
    if (calibrated != nullptr) calibrate(*calibrated);
    write_weights();
    write_config();
    return report_;
  }

 private:
  // The head's own weight, or the table that it is tied to.
  void find_head() {
    const auto* decoder = dynamic_cast<const DecoderModel*>(source_.get());
    if (options_.bits != 4) invalid("quantize", "a head in int8 is for int4 models: got {} bits", options_.bits);
    if (decoder == nullptr) unsupported("quantize", "{}: a head in int8 needs a decoder", source_->architecture());
    tied_ = decoder->config().tie_word_embeddings;
    const std::string name = tied_ ? decoder->config().names.base + decoder->config().names.embed : "lm_head";
    for (Parameter* parameter : source_->parameters()) {
      if (parameter->name == name + ".weight") head_ = Linear{parameter, "lm_head", 0, ""};
    }
    if (!head_) unsupported("quantize", "{}: it has no head", source_->architecture());
  }
  bool is_head(const Parameter& parameter) const { return head_ && !tied_ && head_->parameter == &parameter; }

  bool fits(const Linear& linear) const {
    return report_.group_size == 0 || linear.parameter->shape[1] % report_.group_size == 0;
  }
  IntCoding coding(const Linear& linear) const {
    if (!fits(linear)) return {8, 0, true, plain_dtype_};
    return {options_.bits, report_.group_size, options_.bits == 8 || options_.symmetric, plain_dtype_};
  }
  void check_cancel() const {
    if (options_.cancel != nullptr && options_.cancel->load()) throw Cancelled();
  }
  void tell(const std::string& what, int64_t done, int64_t total) const {
    check_cancel();
    if (options_.progress) options_.progress(what, done, total);
  }

  void note(const Linear& linear, int bits, const float* before, const float* after) {
    double error = 0, size = 0;
    for (int64_t i = 0; i < elements(linear); ++i) {
      const double w = static_cast<double>(before[i]), d = w - static_cast<double>(after[i]);
      error += d * d;
      size += w * w;
    }
    report_.matrices.push_back(
        {linear.module, linear.parameter->shape[0], linear.parameter->shape[1], bits, size > 0 ? std::sqrt(error / size) : 0});
  }

  std::vector<Rows> windows_of_text(const DecoderModel& decoder) {
    const int64_t size = static_cast<int64_t>(options_.ids.size()), context = decoder.max_positions();
    if (size < 1) invalid("quantize", "calibration: got no text");
    for (const int32_t id : options_.ids) {
      if (id < 0 || id >= decoder.vocab_size())
        invalid("quantize", "calibration: token id outside the vocabulary: got {}, need 0 to {}", id, decoder.vocab_size() - 1);
    }
    if (options_.max_length > context)
      invalid("quantize", "calibration length: got {}, need at most {}", options_.max_length, context);
    const int64_t wanted = options_.max_length > 0 ? options_.max_length : std::min<int64_t>(context, 512);
    const int64_t length = std::min(wanted, size), windows = size / length;
    constexpr int64_t kRows = 2048;  // that go through a block together
    const int64_t together = std::max<int64_t>(1, kRows / length);
    std::vector<Rows> all;
    for (int64_t first = 0; first < windows; first += together) {
      const int64_t count = std::min(together, windows - first);
      const Tensor ids = ops::int32_tensor(
          device_, std::span(options_.ids).subspan(static_cast<size_t>(first * length), static_cast<size_t>(count * length)));
      const auto layout = Layout::whole(std::vector<int32_t>(static_cast<size_t>(count), static_cast<int32_t>(length)), false);
      all.push_back({layout, decoder.embed({ids}, *layout)});
    }
    report_.calibration_tokens = windows * length;
    return all;
  }

  // The block's rows with what is quantised of it so far, up to `observer`'s input; without one the rows move to the next
  // block.
  void pass(const DecoderModel& decoder, int layer, std::vector<Rows>& all, Observer* observer) const {
    for (Rows& rows : all) {
      check_cancel();
      ForwardContext context;
      context.layout = rows.layout;
      context.observer = observer;
      try {
        const Tensor out = decoder.run_block(layer, rows.x, context);
        if (observer == nullptr) rows.x = out;
      } catch (const Enough&) {
      }
    }
  }

  void calibrate(Model& model) {
    const auto* decoder_model = dynamic_cast<const DecoderModel*>(&model);
    if (decoder_model == nullptr)
      unsupported("quantize", "{}: calibration needs a decoder: round to nearest", model.architecture());
    const DecoderModel& decoder = *decoder_model;
    std::map<std::string, Parameter*> parameters;
    for (Parameter* parameter : model.parameters()) parameters.emplace(parameter->name, parameter);
    const NoGrad no_grad;
    const ThreadPool::Step step(pool_);
    std::vector<Rows> all = windows_of_text(decoder);
    const int layers = static_cast<int>(model.num_layers());
    for (int layer = 0; layer < layers; ++layer) {
      tell("calibrating", layer, layers);
      // Linear layers with one input share its sums; each input is measured with the layers before it quantised already.
      for (size_t i = 0; i < linears_.size();) {
        size_t end = i + 1;
        while (end < linears_.size() && linears_[end].input == linears_[i].input) ++end;
        if (linears_[i].layer == layer) {
          InputPower power(device_, linears_[i].input, linears_[i].parameter->shape[1]);
          pass(decoder, layer, all, &power);
          check_cancel();
          const GptqInputs inputs = prepare_gptq(pool_, power.sum(), linears_[i].parameter->shape[1], options_.gptq);
          for (size_t j = i; j < end; ++j) calibrate(linears_[j], *parameters.at(linears_[j].parameter->name), inputs);
        }
        i = end;
      }
      if (layer + 1 < layers) pass(decoder, layer, all, nullptr);
    }
    tell("calibrating", layers, layers);
  }

  void calibrate(const Linear& linear, const Parameter& parameter, const GptqInputs& inputs) {
    check_cancel();
    const int64_t n = linear.parameter->shape[0], k = linear.parameter->shape[1];
    float* w = parameter.value.data<float>();
    check_finite(linear.parameter->name, w, n, k);
    IntWeight weight = gptq(pool_, w, n, k, coding(linear), inputs);
    std::vector<float> decoded(static_cast<size_t>(n * k));
    decode(pool_, weight, decoded.data());
    note(linear, weight.bits, w, decoded.data());
    std::copy(decoded.begin(), decoded.end(), w);
    calibrated_.emplace(linear.module, std::move(weight));
  }

  using LinearsByName = std::map<std::string, const Linear*>;

  // In the order in which write_weights() appends.
  std::vector<TensorSpec> weight_specs(const LinearsByName& by_name) const {
    std::vector<TensorSpec> specs;
    const auto add_packed = [&](const std::string& module, int64_t n, int64_t k, const IntCoding& coding) {
      const int64_t groups = coding.group > 0 ? k / coding.group : 1;
      specs.push_back({module + ".weight_packed", DType::kInt32, {n, div_up(k * coding.bits, 32)}});
      specs.push_back({module + ".weight_scale", plain_dtype_, {n, groups}});
      specs.push_back({module + ".weight_shape", DType::kInt64, {2}});
      if (!coding.symmetric) specs.push_back({module + ".weight_zero_point", DType::kInt32, {div_up(n, 8), groups}});
    };
    for (const Parameter* parameter : source_->parameters()) {
      if (is_head(*parameter)) {
        add_packed(head_->module, parameter->shape[0], parameter->shape[1], head_coding());
        continue;
      }
      const auto it = by_name.find(parameter->name);
      if (it == by_name.end()) {
        specs.push_back({parameter->name, stays_as(*parameter), parameter->shape});
        continue;
      }
      const int64_t n = parameter->shape[0], k = parameter->shape[1];
      const std::string module = parameter->name.substr(0, parameter->name.rfind('.'));
      if (options_.bits == 8) {
        specs.push_back({module + ".weight", DType::kInt8, {n, k}});
        specs.push_back({module + ".weight_scale", plain_dtype_, {n, 1}});
      } else {
        add_packed(module, n, k, coding(*it->second));
      }
    }
    if (head_ && tied_) add_packed(head_->module, head_->parameter->shape[0], head_->parameter->shape[1], head_coding());
    return specs;
  }

  void write_weights() {
    LinearsByName by_name;
    for (const Linear& linear : linears_) by_name.emplace(linear.parameter->name, &linear);
    for (const std::string& name : folder_.weights().names()) report_.bytes_before += folder_.weights().find(name)->bytes;
    const std::vector<TensorSpec> specs = weight_specs(by_name);
    for (const TensorSpec& spec : specs) {
      report_.bytes_after += element_count(spec.shape, spec.name) * dtype_size(spec.dtype);
    }
    SafetensorsWriter writer(join_path(out_, "model.safetensors"), specs, {{"format", "pt"}});
    int64_t done = 0, total = static_cast<int64_t>(source_->parameters().size());
    IntWeight tied_head;  // made while its table is at hand
    for (Parameter* parameter : source_->parameters()) {
      tell("writing", done++, total);
      const auto it = by_name.find(parameter->name);
      if (is_head(*parameter)) {
        append(writer, rounded(*head_, take(device_, *parameter, DType::kFloat32), head_coding()));
      } else if (it != by_name.end()) {
        append(writer, quantized_weight(*it->second));
      } else {
        const DType dtype = stays_as(*parameter);
        const Tensor value = take(device_, *parameter, DType::kFloat32);
        if (head_ && head_->parameter == parameter) tied_head = rounded(*head_, value, head_coding());
        writer.append(ops::cast(value, dtype));
      }
    }
    if (head_ && tied_) append(writer, tied_head);
    writer.finish();
  }

  IntCoding head_coding() const { return {8, report_.group_size, true, plain_dtype_}; }

  IntWeight quantized_weight(const Linear& linear) {
    const auto it = calibrated_.find(linear.module);
    if (it != calibrated_.end()) return std::move(it->second);
    return rounded(linear, take(device_, *linear.parameter, DType::kFloat32), coding(linear));
  }

  IntWeight rounded(const Linear& linear, const Tensor& value, const IntCoding& coding) {
    const Tensor w = ops::cast(value, DType::kFloat32);
    check_finite(linear.parameter->name, w.data<float>(), w.dim(0), w.dim(1));
    IntWeight weight = round_to_nearest(pool_, w.data<float>(), w.dim(0), w.dim(1), coding);
    std::vector<float> decoded(static_cast<size_t>(w.numel()));
    decode(pool_, weight, decoded.data());
    note(linear, weight.bits, w.data<float>(), decoded.data());
    return weight;
  }

  // Codes of `bits` bits in a word, the first lowest; `count` codes `stride` apart.
  static uint32_t pack(int bits, const int8_t* codes, int64_t count, int64_t stride) {
    uint32_t word = 0;
    for (int64_t i = 0; i < count; ++i) word |= static_cast<uint32_t>(codes[i * stride] + (1 << (bits - 1))) << (bits * i);
    return word;
  }

  void append(SafetensorsWriter& writer, const IntWeight& weight) const {
    Tensor scale = Tensor::empty(device_, plain_dtype_, {weight.n, weight.groups});
    for (size_t i = 0; i < weight.scales.size(); ++i) {
      if (plain_dtype_ == DType::kFloat32) scale.data<float>()[i] = weight.scales[i];
      if (plain_dtype_ == DType::kBFloat16) scale.data<BFloat16>()[i] = BFloat16(weight.scales[i]);
      if (plain_dtype_ == DType::kFloat16) scale.data<Float16>()[i] = Float16(weight.scales[i]);
    }
    if (options_.bits == 8) {
      Tensor codes = Tensor::empty(device_, DType::kInt8, {weight.n, weight.k});
      std::copy(weight.codes.begin(), weight.codes.end(), codes.data<int8_t>());
      writer.append(codes);
      writer.append(scale);
      return;
    }
    const int64_t a_word = 32 / weight.bits, words = div_up(weight.k, a_word);
    Tensor packed = Tensor::empty(device_, DType::kInt32, {weight.n, words}),
           shape = Tensor::empty(device_, DType::kInt64, {2});
    for (int64_t n = 0; n < weight.n; ++n) {
      for (int64_t i = 0; i < words; ++i)
        packed.data<uint32_t>()[n * words + i] =
            pack(weight.bits, weight.codes.data() + n * weight.k + a_word * i, std::min(a_word, weight.k - a_word * i), 1);
    }
    shape.data<int64_t>()[0] = weight.n;
    shape.data<int64_t>()[1] = weight.k;
    writer.append(packed);
    writer.append(scale);
    writer.append(shape);
    if (weight.zeros.empty()) return;
    const int64_t rows = div_up(weight.n, 8);
    Tensor zeros = Tensor::empty(device_, DType::kInt32, {rows, weight.groups});
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t g = 0; g < weight.groups; ++g)
        zeros.data<uint32_t>()[i * weight.groups + g] =
            pack(4, weight.zeros.data() + 8 * i * weight.groups + g, std::min<int64_t>(8, weight.n - 8 * i), weight.groups);
    }
    writer.append(zeros);
  }

  // torch's Linear modules that stay as they are: those kept, heads, poolers.
  std::vector<std::string> other_linears() const {
    std::set<std::string> quantized;
    for (const Linear& linear : linears_) quantized.insert(linear.module);
    std::vector<std::string> others;
    if (const auto* encoder = dynamic_cast<const EncoderModel*>(source_.get())) {
      if (!encoder->config().names.lm_decoder.empty()) others.push_back(encoder->config().names.lm_decoder);  // perhaps tied
    } else if (!head_) {
      others.push_back("lm_head");
    }
    for (const Parameter* parameter : source_->parameters()) {
      const std::string module = parameter->name.substr(0, parameter->name.rfind('.'));
      const bool table =
          ends(module, "_embeddings") || ends(module, ".embed_tokens") || ends(module, ".wte") || ends(module, ".wpe");
      if (parameter->shape.size() == 2 && !table && quantized.count(module) == 0 && !is_head(*parameter) &&
          (others.empty() || module != others[0]))
        others.push_back(module);
    }
    return others;
  }

  // What is in int8 of an int4 model; group_size: 0: a scale a row.
  static Json int8_group(Json targets, int64_t group_size) {
    Json weights = Json::object(), group = Json::object();
    weights.set("num_bits", 8).set("type", "int").set("symmetric", true).set("dynamic", false);
    weights.set("strategy", group_size > 0 ? "group" : "channel");
    if (group_size > 0) weights.set("group_size", group_size);
    group.set("targets", std::move(targets)).set("weights", std::move(weights));
    return group.set("input_activations", nullptr).set("output_activations", nullptr);
  }
  Json head_group() const {
    Json targets = Json::array();
    targets.push_back("re:.*lm_head");
    return int8_group(std::move(targets), report_.group_size);
  }
  Json uneven_group() const {
    Json targets = Json::array();
    for (const auto& [module, why] : report_.in_int8) targets.push_back(module);
    return int8_group(std::move(targets), 0);
  }

  void write_config() const {
    Json weights = Json::object(), group = Json::object(), groups = Json::object(), targets = Json::array(),
         ignore = Json::array();
    weights.set("num_bits", options_.bits).set("type", "int").set("dynamic", false);
    weights.set("symmetric", options_.bits == 8 || options_.symmetric);
    targets.push_back("Linear");
    group.set("targets", std::move(targets));
    if (options_.bits == 8) {
      weights.set("strategy", "channel");
      Json inputs = Json::object();
      inputs.set("num_bits", 8).set("type", "int").set("symmetric", true).set("strategy", "token").set("dynamic", true);
      group.set("weights", std::move(weights)).set("input_activations", std::move(inputs));
    } else {
      weights.set("strategy", "group").set("group_size", report_.group_size);
      group.set("weights", std::move(weights)).set("input_activations", nullptr);
    }
    group.set("output_activations", nullptr);
    groups.set("group_0", std::move(group));
    if (head_) groups.set("group_1", head_group());
    if (!report_.in_int8.empty()) groups.set(head_ ? "group_2" : "group_1", uneven_group());
    for (const std::string& module : other_linears()) ignore.push_back(module);
    Json quantization = Json::object();
    quantization.set("quant_method", "compressed-tensors")
        .set("format", report_.format)
        .set("quantization_status", "compressed");
    quantization.set("config_groups", std::move(groups)).set("ignore", std::move(ignore));
    quantization.set("global_compression_ratio", nullptr).set("kv_cache_scheme", nullptr);
    Json config = Json::object();
    for (const JsonMember& member : folder_.config().as_object("config.json")) {
      if (member.key != "quantization_config" && member.key != "compression_config" && member.key != "torch_dtype")
        config.set(member.key, member.value);
    }
    if (head_) config.set("tie_word_embeddings", false);
    config.set("dtype", dtype_name(plain_dtype_)).set("quantization_config", std::move(quantization));
    write_file_atomic(join_path(out_, "config.json"), config.pretty() + "\n");
  }

  void copy_files() {
    if (is_gguf(folder_.path())) return write_tokenizer();
    for (const std::string& name : files_beside_weights(folder_.path())) copy_beside_weights(folder_.path(), name, out_);
  }

  void write_tokenizer() {
    const std::shared_ptr<const GgufFile> file = GgufFile::open(folder_.path());
    Json config = Json::object();
    config.set("tokenizer_class", "PreTrainedTokenizerFast").set("clean_up_tokenization_spaces", false);
    const Json own = gguf_tokenizer_config(*file);
    if (own.is_null()) {
      report_.no_tokenizer = "the GGUF file has none";
      return;
    }
    for (const JsonMember& member : own.as_object("tokenizer_config")) {
      // What is put round a text stands in tokenizer.json.
      if (member.key != "add_bos_token" && member.key != "add_eos_token") config.set(member.key, member.value);
    }
    try {
      write_file_atomic(join_path(out_, "tokenizer.json"), gguf_tokenizer_json(*file).pretty() + "\n");
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kUnsupported) throw;
      report_.no_tokenizer = error.message();
      return;
    }
    write_file_atomic(join_path(out_, "tokenizer_config.json"), config.pretty() + "\n");
  }

  Device& device_;
  std::unique_ptr<Model> source_;  // loaded, not prepared: what is written comes from here
  const ModelFolder& folder_;
  std::string out_;
  const QuantizeOptions& options_;
  ThreadPool& pool_;
  DType stays_as(const Parameter& parameter) const {
    return parameter.encoded || options_.dtype ? plain_dtype_ : parameter.value.dtype();
  }
  DType plain_dtype_ = DType::kBFloat16;
  std::vector<Linear> linears_;
  std::optional<Linear> head_;  // to be made int8
  bool tied_ = false;           // it is the table of embeddings
  std::map<std::string, IntWeight> calibrated_;
  QuantizeReport report_;
};

}  // namespace

QuantizeReport quantize(Device& device, const ModelFolder& folder, Model* calibrated, const std::string& out,
                        const QuantizeOptions& options) {
  return Quantizer(device, folder, out, options).run(calibrated);
}

}  // namespace pagoda
