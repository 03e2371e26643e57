// The explicit list of model families, and the nearest name for one that is not in it.
#include "base/error.h"
#include "base/suggest.h"
#include "models/families.h"

namespace pagoda {

namespace {

struct Family {
  const char* architecture;  // HF class
  const char* model_type;
  DecoderConfig (*read)(const ConfigReader&);
};

constexpr Family kFamilies[] = {
    {"LlamaForCausalLM", "llama", llama_config},
    {"MistralForCausalLM", "mistral", mistral_config},
    {"Qwen2ForCausalLM", "qwen2", qwen2_config},
    {"GPT2LMHeadModel", "gpt2", gpt2_config},
    {"GPTBigCodeForCausalLM", "gpt_bigcode", gpt_bigcode_config},
};

}  // namespace

std::vector<std::string> supported_architectures() {
  std::vector<std::string> names;
  for (const Family& family : kFamilies) names.emplace_back(family.architecture);
  return names;
}

std::unique_ptr<Model> make_model(const Json& config, const std::string& where) {
  std::string architecture;
  if (const Json* list = config.find("architectures"); list != nullptr && list->is_array() && list->size() > 0) {
    architecture = list->as_array(where)[0].as_string(where + ": architectures");
  }
  const std::string type = config.get_string("model_type", "", where);
  for (const Family& family : kFamilies) {
    if (architecture != family.architecture && !(architecture.empty() && type == family.model_type)) continue;
    auto model = std::make_unique<DecoderModel>(family.read(ConfigReader(config, where)));
    model->set_architecture(family.architecture);
    return model;
  }
  const std::string wanted = !architecture.empty() ? architecture : !type.empty() ? type : "nothing";
  std::string known, nearest;
  size_t best = std::string::npos;
  for (const Family& family : kFamilies) {
    known += (known.empty() ? "" : ", ") + std::string(family.architecture);
    const size_t distance =
        edit_distance(wanted.substr(0, 200), architecture.empty() ? family.model_type : family.architecture);
    if (distance < best) {
      best = distance;
      nearest = family.architecture;
    }
  }
  unsupported(where, "unknown architecture: got '{}', need one of {}; the nearest is {}", wanted.substr(0, 200), known,
              nearest);
}

}  // namespace pagoda
