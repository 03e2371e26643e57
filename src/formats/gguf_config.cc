// GGUF's hyper-parameters, in the words of config.json and tokenizer_config.json.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "base/checked.h"
#include "base/error.h"
#include "formats/gguf_blocks.h"
#include "formats/gguf_model.h"

namespace pagoda {

namespace {

const GgufTensor* find_tensor(const GgufFile& file, std::string_view name) {
  for (const GgufTensor& tensor : file.tensors()) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

bool any_tensor_ends(const GgufFile& file, std::string_view end) {
  return std::any_of(file.tensors().begin(), file.tensors().end(), [&](const GgufTensor& tensor) {
    return tensor.name.size() > end.size() && std::string_view(tensor.name).substr(tensor.name.size() - end.size()) == end;
  });
}

// What most of the matrices' elements are; quantised ones are computed in bfloat16.
const char* checkpoint_dtype(const GgufFile& file) {
  std::map<std::string, double> elements;
  for (const GgufTensor& tensor : file.tensors()) {
    if (tensor.dims.size() < 2) continue;
    double count = 1;
    for (const int64_t dim : tensor.dims) count *= static_cast<double>(dim);
    elements[tensor.type == 0 ? "float32" : tensor.type == 1 ? "float16" : "bfloat16"] += count;
  }
  const char* most = "float32";
  for (const char* name : {"float16", "bfloat16"}) {
    if (elements[name] > elements[most]) most = name;
  }
  return most;
}

class Reader {
 public:
  explicit Reader(const GgufFile& file) : file_(file), where_(file.where()), name_(file.text("general.architecture", "")) {}

  Json read() {
    if (name_.empty()) not_found(where_, "no model in this file: general.architecture is missing");
    if (file_.integer("split.count", 1) > 1) {
      unsupported(where_, "a model in {} files: need it joined into one (gguf-split --merge)", file_.integer("split.count", 1));
    }
    const GgufTensor* embedding = find_tensor(file_, "token_embd.weight");
    if (embedding == nullptr || embedding->dims.size() != 2) invalid(where_, "tensor missing: need 'token_embd.weight' [*, *]");
    config_.set("vocab_size", embedding->dims[1]);
    if (name_ != "bert") config_.set("tie_word_embeddings", find_tensor(file_, "output.weight") == nullptr);
    config_.set("dtype", checkpoint_dtype(file_));
    if (name_ == "llama" || name_ == "qwen2") {
      llama();
    } else if (name_ == "gpt2") {
      gpt2();
    } else if (name_ == "starcoder") {
      starcoder();
    } else if (name_ == "bert") {
      bert();
    } else {
      unsupported(where_, "general.architecture: got '{}', need bert, gpt2, llama, qwen2 or starcoder", name_.substr(0, 64));
    }
    token_ids();
    return std::move(config_);
  }

 private:
  std::string key(const char* field) const { return name_ + "." + field; }
  bool has(const char* field) const { return file_.find(key(field)) != nullptr; }

  // A number that may stand as a list with one entry a layer, as long as all are equal.
  int64_t number(const char* field) const {
    const GgufValue* value = file_.find(key(field));
    if (value == nullptr) invalid(where_, "missing key: need '{}'", key(field));
    if (value->type != GgufValue::Type::kArray) return file_.integer(key(field), 0);
    const std::vector<int64_t> list = file_.integers(key(field));
    if (list.empty()) invalid(where_, "{}: got an empty list, need a number", key(field));
    if (std::any_of(list.begin(), list.end(), [&](int64_t each) { return each != list[0]; })) {
      unsupported(where_, "{}: layers differ: got {} and another, need one number", key(field), list[0]);
    }
    return list[0];
  }
  void set(const char* hf, const char* field) { config_.set(hf, number(field)); }
  void set_architecture(const char* architecture, const char* model_type) {
    Json list = Json::array();
    list.push_back(architecture);
    config_.set("architectures", std::move(list)).set("model_type", model_type);
  }

  void llama() {
    if (file_.integer(key("expert_count"), 0) > 0) unsupported(where_, "{}: mixtures of experts", key("expert_count"));
    set("hidden_size", "embedding_length");
    set("intermediate_size", "feed_forward_length");
    set("num_hidden_layers", "block_count");
    set("num_attention_heads", "attention.head_count");
    set("max_position_embeddings", "context_length");
    config_.set("num_key_value_heads",
                has("attention.head_count_kv") ? number("attention.head_count_kv") : number("attention.head_count"));
    const double eps = file_.real(key("attention.layer_norm_rms_epsilon"), 0);
    if (!(eps > 0)) invalid(where_, "{}: got {}, need a positive number", key("attention.layer_norm_rms_epsilon"), eps);
    config_.set("rms_norm_eps", eps).set("hidden_act", "silu");
    const int64_t heads = number("attention.head_count");
    int64_t head_dim = 0;
    if (has("attention.key_length")) {
      head_dim = number("attention.key_length");
      if (has("attention.value_length") && number("attention.value_length") != head_dim)
        unsupported(where_, "{}: keys and values of different sizes", key("attention.value_length"));
      config_.set("head_dim", head_dim);
    } else if (heads > 0) {
      head_dim = number("embedding_length") / heads;
    }
    const int64_t window = has("attention.sliding_window") ? number("attention.sliding_window") : 0;
    if (name_ == "qwen2") {
      if (window > 0) unsupported(where_, "{}: got {}, need none for qwen2", key("attention.sliding_window"), window);
      set_architecture("Qwen2ForCausalLM", "qwen2");
      config_.set("use_sliding_window", false);
    } else if (window > 0) {
      set_architecture("MistralForCausalLM", "mistral");
      config_.set("sliding_window", window);
    } else {
      set_architecture("LlamaForCausalLM", "llama");
      config_.set("attention_bias", any_tensor_ends(file_, ".attn_q.bias") || any_tensor_ends(file_, ".attn_output.bias"));
      config_.set("mlp_bias", any_tensor_ends(file_, ".ffn_up.bias") || any_tensor_ends(file_, ".ffn_down.bias"));
    }
    rotary(head_dim);
  }

  void rotary(int64_t head_dim) {
    Json rope = Json::object();
    rope.set("rope_theta", file_.real(key("rope.freq_base"), 10000));
    if (has("rope.dimension_count") && head_dim > 0) {
      const int64_t dims = number("rope.dimension_count");
      if (dims < 1 || dims > head_dim) invalid(where_, "{}: got {}, need 1 to {}", key("rope.dimension_count"), dims, head_dim);
      if (dims != head_dim) rope.set("dimension_count", dims);
    }
    std::string type = file_.text(key("rope.scaling.type"), "none");
    double factor = file_.real(key("rope.scaling.factor"), 1);
    if (type == "none" && has("rope.scale_linear")) {
      type = "linear";
      factor = file_.real(key("rope.scale_linear"), 1);
    }
    if (!(factor > 0)) invalid(where_, "{}: got {}, need a positive number", key("rope.scaling.factor"), factor);
    if (type == "none") {
      rope.set("rope_type", "default");
    } else if (type == "linear") {
      rope.set("rope_type", "linear").set("factor", factor);
    } else if (type == "yarn") {
      rope.set("rope_type", "yarn").set("factor", factor);
      if (has("rope.scaling.original_context_length"))
        rope.set("original_max_position_embeddings", number("rope.scaling.original_context_length"));
      for (const auto& [hf, field] :
           {std::pair{"beta_fast", "rope.scaling.yarn_beta_fast"}, {"beta_slow", "rope.scaling.yarn_beta_slow"}}) {
        if (has(field)) rope.set(hf, file_.real(key(field), 0));
      }
      // ggml multiplies what YaRN prescribes; Hugging Face replaces it.
      const double attention = file_.real(key("rope.scaling.attn_factor"), 1);
      if (attention != 1) rope.set("attention_factor", attention * (factor <= 1 ? 1 : 0.1 * std::log(factor) + 1));
    } else {
      unsupported(where_, "{}: got '{}', need none, linear or yarn", key("rope.scaling.type"), type.substr(0, 64));
    }
    for (const char* name : {"rope_factors_long.weight", "rope_factors_short.weight"}) {
      if (find_tensor(file_, name) != nullptr) unsupported(where_, "tensor '{}': LongRoPE", name);
    }
    frequency_factors(rope);
    config_.set("rope_parameters", std::move(rope));
  }

  // LLaMA 3's scaling, which GGUF has as one factor a frequency.
  void frequency_factors(Json& rope) const {
    const GgufTensor* tensor = find_tensor(file_, "rope_freqs.weight");
    if (tensor == nullptr) return;
    if (tensor->type != 0 || tensor->dims.size() != 1 || tensor->dims[0] > 1 << 16) {
      invalid(where_, "tensor '{}': got {} of {} dimensions, need F32 of one", tensor->name, gguf_type_name(tensor->type),
              tensor->dims.size());
    }
    const uint64_t size = file_.bytes().size(), bytes = static_cast<uint64_t>(tensor->dims[0]) * sizeof(float);
    if (file_.data_offset() > size || tensor->offset > size - file_.data_offset() ||
        bytes > size - file_.data_offset() - tensor->offset) {
      invalid(where_, "file cut off: tensor '{}' ends outside it", tensor->name);
    }
    const char* data = file_.bytes().data() + file_.data_offset() + tensor->offset;
    Json list = Json::array();
    for (int64_t i = 0; i < tensor->dims[0]; ++i) {
      float factor;
      std::memcpy(&factor, data + i * static_cast<int64_t>(sizeof factor), sizeof factor);
      list.push_back(static_cast<double>(factor));
    }
    rope.set("frequency_factors", std::move(list));
  }

  void gpt2() {
    set_architecture("GPT2LMHeadModel", "gpt2");
    set("n_embd", "embedding_length");
    set("n_layer", "block_count");
    set("n_head", "attention.head_count");
    set("n_positions", "context_length");
    set("n_inner", "feed_forward_length");
    config_.set("layer_norm_epsilon", file_.real(key("attention.layer_norm_epsilon"), 1e-5));
  }

  void starcoder() {
    gpt2();
    set_architecture("GPTBigCodeForCausalLM", "gpt_bigcode");
    if (has("attention.head_count_kv") && number("attention.head_count_kv") != 1) {
      unsupported(where_, "{}: got {}, need 1", key("attention.head_count_kv"), number("attention.head_count_kv"));
    }
    config_.set("multi_query", true).set("activation_function", "gelu_pytorch_tanh");
  }

  // The rows of a table that stands beside the words'.
  int64_t rows_of(const char* name) const {
    const GgufTensor* tensor = find_tensor(file_, name);
    if (tensor == nullptr || tensor->dims.size() != 2) invalid(where_, "tensor missing: need '{}' [*, *]", name);
    return tensor->dims[1];
  }

  void bert() {
    set_architecture("BertModel", "bert");
    set("hidden_size", "embedding_length");
    set("intermediate_size", "feed_forward_length");
    set("num_hidden_layers", "block_count");
    set("num_attention_heads", "attention.head_count");
    // XLM-RoBERTa's table comes without its first rows: positions count from 0 in every file.
    config_.set("max_position_embeddings", rows_of("position_embd.weight"));
    config_.set("type_vocab_size", rows_of("token_types.weight"));
    config_.set("layer_norm_eps", file_.real(key("attention.layer_norm_epsilon"), 1e-12)).set("hidden_act", "gelu");
    static constexpr const char* kPooling[] = {"none", "mean", "cls", "last"};
    const int64_t pooling = has("pooling_type") ? number("pooling_type") : 1;
    if (pooling < 0 || pooling > 3) unsupported(where_, "{}: got {}, need 0 to 3", key("pooling_type"), pooling);
    if (file_.flag(key("attention.causal"), false)) unsupported(where_, "{}: got true", key("attention.causal"));
    config_.set("pooling_type", kPooling[pooling]);
  }

  void token_ids() {
    const auto id_of = [&](const char* name) { return file_.integer(std::string("tokenizer.ggml.") + name, -1); };
    for (const auto& [hf, name] : {std::pair{"bos_token_id", "bos_token_id"}, {"pad_token_id", "padding_token_id"}}) {
      if (id_of(name) >= 0) config_.set(hf, id_of(name));
    }
    // Chat models end a turn with one token and a text with another: either ends an answer.
    Json ends = Json::array();
    for (const char* name : {"eos_token_id", "eot_token_id"}) {
      const int64_t id = id_of(name);
      if (id >= 0 && (ends.size() == 0 || ends.as_array(where_)[0] != Json(id))) ends.push_back(id);
    }
    if (ends.size() == 1) {
      config_.set("eos_token_id", ends.as_array(where_)[0]);
    } else if (ends.size() > 1) {
      config_.set("eos_token_id", std::move(ends));
    }
  }

  const GgufFile& file_;
  std::string where_, name_;
  Json config_ = Json::object();
};

}  // namespace

Json gguf_config(const GgufFile& file) { return Reader(file).read(); }

Json gguf_tokenizer_config(const GgufFile& file) {
  const std::vector<std::string_view>* tokens = file.strings("tokenizer.ggml.tokens");
  if (tokens == nullptr) return {};
  Json config = Json::object();
  for (const auto& [hf, name] : {std::pair{"bos_token", "bos_token_id"},
                                 {"eos_token", "eos_token_id"},
                                 {"unk_token", "unknown_token_id"},
                                 {"sep_token", "seperator_token_id"},
                                 {"pad_token", "padding_token_id"},
                                 {"cls_token", "cls_token_id"},
                                 {"mask_token", "mask_token_id"}}) {
    const int64_t id = file.integer(std::string("tokenizer.ggml.") + name, -1);
    if (id >= 0 && id < static_cast<int64_t>(tokens->size())) config.set(hf, (*tokens)[static_cast<size_t>(id)]);
  }
  for (const auto& [hf, name] :
       {std::pair{"add_bos_token", "tokenizer.ggml.add_bos_token"}, {"add_eos_token", "tokenizer.ggml.add_eos_token"}}) {
    if (file.find(name) != nullptr) config.set(hf, file.flag(name, false));
  }
  const std::string text = file.text("tokenizer.chat_template", "");
  const std::vector<std::string_view>* names = file.strings("tokenizer.chat_templates");
  if (names == nullptr) {
    if (!text.empty()) config.set("chat_template", text);
    return config;
  }
  Json list = Json::array();
  const auto add = [&](std::string_view name, const std::string& source) {
    Json entry = Json::object();
    entry.set("name", name).set("template", source);
    list.push_back(std::move(entry));
  };
  if (!text.empty()) add("default", text);
  for (const std::string_view name : *names) {
    if (name != "default") add(name, file.text("tokenizer.chat_template." + std::string(name), ""));
  }
  config.set("chat_template", std::move(list));
  return config;
}

}  // namespace pagoda
