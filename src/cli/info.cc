// pagoda info: what a model is, and what it needs.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>

#include "base/checked.h"
#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "cli/cli.h"
#include "engine/kv_cache.h"
#include "formats/tokenizer_loader.h"
#include "models/adapter.h"
#include "models/decoder.h"
#include "models/parameter_count.h"
#include "ops/packed_weight.h"
#include "pipelines/chat_templates.h"
#include "pipelines/text_generation.h"
#include "tensor/shape.h"

namespace pagoda::cli {

namespace {

struct Flags {
  std::string model;
};

// Bytes of the checkpoint by dtype; null where the folder has no weights.
Json weight_bytes(const ModelFolder& folder) {
  try {
    std::map<std::string, int64_t> by_dtype;
    for (const std::string& name : folder.weights().names()) {
      const TensorEntry* entry = folder.weights().find(name);
      by_dtype[entry->encoded ? entry->encoded->coding() : dtype_name(entry->dtype)] += entry->bytes;
    }
    Json result = Json::object();
    for (const auto& [dtype, bytes] : by_dtype) result.set(dtype, bytes);
    return result;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kNotFound) throw;
    return {};
  }
}

std::string tokenizer_kind(const std::string& folder) {
  if (!directory_exists(folder)) return "gguf";
  if (const std::string path = join_path(folder, "tokenizer.json"); file_exists(path)) {
    const Json json = read_json(path);
    const Json* model = json.find("model");
    const std::string type = model == nullptr ? "" : model->get_string("type", "", path);
    return type.empty() ? "tokenizer.json" : "tokenizer.json, " + type;
  }
  for (const char* name :
       {"tekken.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt"}) {
    if (file_exists(join_path(folder, name))) return name;
  }
  for (const std::string& name : list_directory(folder)) {
    if (name.size() > 9 && name.substr(name.size() - 9) == ".tiktoken") return name;
  }
  return "gguf";
}

Json tokenizer_info(const std::string& folder) {
  if (!has_tokenizer(folder)) return {};
  Json result = Json::object();
  result.set("kind", tokenizer_kind(folder)).set("vocab_size", load_tokenizer(folder)->vocab_size());
  return result;
}

Json defaults_info(const ModelFolder& folder) {
  const SamplingParams params = generation_defaults(folder);
  Json ends = Json::array(), result = Json::object();
  for (const int32_t id : params.eos_token_ids) ends.push_back(int64_t{id});
  result.set("do_sample", params.do_sample()).set("max_new_tokens", params.max_new_tokens);
  result.set("temperature", params.temperature).set("top_k", params.top_k).set("top_p", params.top_p);
  result.set("repetition_penalty", params.repetition_penalty).set("num_beams", params.num_beams);
  result.set("bos_token_id", params.bos_token_id ? Json(int64_t{*params.bos_token_id}) : Json());
  result.set("eos_token_ids", std::move(ends));
  return result;
}

// Bytes of the weights in one compute dtype by the format that products read: codes stay codes.
std::map<std::string, int64_t> running_bytes(Model& model, const WeightSource* files, DType dtype) {
  std::map<std::string, int64_t> bytes;
  for (const Parameter* parameter : model.parameters()) {
    const int64_t elements = element_count(parameter->shape, parameter->name);
    const TensorEntry* entry = files == nullptr ? nullptr : files->find(parameter->name);
    std::shared_ptr<const EncodedTensor> encoded = entry == nullptr || parameter->shape.size() != 2 ? nullptr : entry->encoded;
    std::vector<int64_t> shape = parameter->shape;
    if (encoded && encoded->transposed()) {
      encoded = encoded->transposed();
      std::swap(shape[0], shape[1]);
    }
    const PackedView view = encoded ? PackedWeight::plan({parameter->name, {}, encoded, shape}, dtype) : PackedView{};
    const bool codes = encoded && (view.format == WeightFormat::kGroups || view.format == WeightFormat::kInt8Rows);
    bytes[codes ? format_name(view) : dtype_name(dtype)] +=
        codes ? packed_bytes(view) : checked_mul(elements, dtype_size(dtype), parameter->name);
  }
  return bytes;
}

// In one compute dtype: bytes of the weights, of a token of the cache, and how many tokens are left room for.
Json memory_info(Model& model, const WeightSource* files, DType dtype, int64_t available) {
  int64_t weights = 0;
  Json formats = Json::object();
  for (const auto& [name, bytes] : running_bytes(model, files, dtype)) {
    weights = checked_add(weights, bytes, "weights");
    formats.set(name, bytes);
  }
  Json result = Json::object();
  result.set("weight_bytes", weights).set("weight_formats", std::move(formats));
  if (model.head_kind() == Head::kCausalLm) {  // encoders keep nothing between passes
    const int64_t token = KvCache::bytes_per_token(model.layer_states(), dtype);
    result.set("cache_bytes_per_token", token);
    result.set("cache_tokens_that_fit", token > 0 ? std::max<int64_t>(0, available - weights) / token : int64_t{0});
  }
  result.set("fits", weights < available);
  return result;
}

Json shape_info(const Model& model) {
  Json result = Json::object();
  result.set("layers", model.num_layers()).set("hidden_size", model.hidden_size());
  if (const auto* decoder = dynamic_cast<const DecoderModel*>(&model)) {
    const DecoderConfig& config = decoder->config();
    result.set("attention_heads", config.num_attention_heads).set("key_value_heads", config.num_key_value_heads);
    result.set("head_dim", config.head_dim).set("intermediate_size", config.intermediate_size);
    result.set("tied_embeddings", config.tie_word_embeddings);
    const auto windowed =
        std::count_if(config.windows.begin(), config.windows.end(), [](int64_t window) { return window > 0; });
    result.set("windowed_layers", static_cast<int64_t>(windowed));
  }
  result.set("vocab_size", model.vocab_size()).set("context_length", model.max_positions());
  return result;
}

std::string list_of(const Json& object) {
  std::string text;
  for (const JsonMember& member : object.as_object("info"))
    text += (text.empty() ? "" : ", ") + member.key + " " + member.value.dump();
  return text;
}

std::string text_of(const Json& info) {
  const auto line = [](const std::string& name, const std::string& value) { return fmt::format("{:<22}{}\n", name, value); };
  const std::string where = "info";
  std::string text = line("folder", info.at("folder", where).as_string(where));
  if (const Json* adapter = info.find("adapter")) {
    text += line("adapter",
                 fmt::format("{} of rank {} on {}: what follows is with its base",
                             adapter->get_bool("use_dora", false, where) ? "DoRA" : "LoRA", adapter->get_int("r", 0, where),
                             adapter->get_string("base_model_name_or_path", "", where)));
  }
  text += line("architecture", info.at("architecture", where).as_string(where));
  text += line("parameters", fmt::format("{} ({:.1f} M)", info.at("parameters", where).as_int(where),
                                         static_cast<double>(info.at("parameters", where).as_int(where)) / 1e6));
  std::string weights;
  if (const Json& bytes = info.at("bytes_by_dtype", where); bytes.is_object()) {
    for (const JsonMember& member : bytes.as_object(where)) {
      weights += fmt::format("{}{} {}", weights.empty() ? "" : ", ", format_bytes(member.value.as_int(where)), member.key);
    }
  }
  text += line("checkpoint", weights.empty() ? "no weights in this folder" : weights);
  text += line("shape", list_of(info.at("shape", where)));
  for (const JsonMember& member : info.at("memory", where).as_object(where)) {
    if (!member.value.is_object()) continue;
    std::string formats;
    const Json::Object& by_format = member.value.at("weight_formats", where).as_object(where);
    for (const JsonMember& format : by_format) {
      formats += fmt::format("{}{} {}", formats.empty() ? " (" : ", ", format_bytes(format.value.as_int(where)), format.key);
    }
    formats = by_format.size() > 1 ? formats + ")" : "";
    std::string sizes = format_bytes(member.value.at("weight_bytes", where).as_int(where)) + " weights" + formats,
                room = "fits this memory";
    if (const Json* token = member.value.find("cache_bytes_per_token")) {
      sizes += fmt::format(", {} cache a token", format_bytes(token->as_int(where)));
      room = fmt::format("room for {} tokens of cache", member.value.at("cache_tokens_that_fit", where).as_int(where));
    }
    if (!member.value.at("fits", where).as_bool(where)) room = "does not fit this memory";
    text += line("in " + member.key, sizes + "; " + room);
  }
  text += line("memory available", format_bytes(info.at("memory", where).at("available_bytes", where).as_int(where)));
  const Json& tokenizer = info.at("tokenizer", where);
  text += line("tokenizer", tokenizer.is_null() ? "none"
                                                : fmt::format("{}, {} tokens", tokenizer.at("kind", where).as_string(where),
                                                              tokenizer.at("vocab_size", where).as_int(where)));
  std::string templates;
  for (const Json& name : info.at("chat_templates", where).as_array(where)) {
    templates += (templates.empty() ? "" : ", ") + name.as_string(where);
  }
  text += line("chat templates", templates.empty() ? "none" : templates);
  text += line("generation defaults", list_of(info.at("generation_defaults", where)));
  return text;
}

Json adapter_info(const std::string& path) {
  const AdapterConfig config = read_adapter_config(path);
  Json targets = Json::array();
  for (const std::string& name : config.target_modules) targets.push_back(name);
  return Json::object()
      .set("base_model_name_or_path", config.base_model_name_or_path)
      .set("r", config.r)
      .set("lora_alpha", config.lora_alpha)
      .set("use_dora", config.use_dora)
      .set("target_modules", std::move(targets));
}

int run(const Program& program, const Flags& flags) {
  const std::string found = find_model(program, flags.model);
  const bool adapted = is_adapter(found);
  const std::shared_ptr<ModelFolder> folder =
      adapted ? open_adapted(find_model(program, adapter_base(found)), found) : ModelFolder::open(found);
  const std::string path = adapted && has_tokenizer(found) ? found : folder->path();  // the tokenizer's
  const std::unique_ptr<Model> model = make_model(folder->config(), folder->config_path());
  const int64_t parameters = parameter_count(*model), available = detect_cpu().memory_available;
  const Json by_dtype = weight_bytes(*folder);
  const WeightSource* files = by_dtype.is_null() ? nullptr : &folder->weights();
  Json memory = Json::object(), templates = Json::array(), info = Json::object();
  memory.set("available_bytes", available);
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    memory.set(dtype_name(dtype), memory_info(*model, files, dtype, available));
  }
  for (const std::string& name : load_chat_templates(path).names()) templates.push_back(name);
  info.set("folder", adapted ? found : path);
  if (adapted) info.set("adapter", adapter_info(found));
  info.set("architecture", model->architecture()).set("parameters", parameters);
  info.set("bytes_by_dtype", by_dtype).set("shape", shape_info(*model)).set("memory", std::move(memory));
  info.set("tokenizer", tokenizer_info(path)).set("chat_templates", std::move(templates));
  info.set("generation_defaults", defaults_info(*folder));
  if (program.json) {
    write_json(info);
  } else {
    write_out(text_of(info));
  }
  return 0;
}

}  // namespace

void add_info(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const Verb verb = add_verb(program, "info", "Say what a model is: architecture, sizes, memory it needs, tokenizer, defaults",
                             {"pagoda info MODEL", "pagoda info HuggingFaceTB/SmolLM2-135M --json"});
  add_model(verb, flags->model)->required();
  verb->callback([&program, flags] { program.run = [&program, flags] { return run(program, *flags); }; });
}

}  // namespace pagoda::cli
