// The explicit list of model families, and the nearest name for one that is not in it.
#include "base/error.h"
#include "base/suggest.h"
#include "models/encoder.h"
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

// Encoders by the beginning of their HF classes' names; the rest of the name is the head.
struct EncoderFamily {
  const char* prefix;
  const char* model_type;
  EncoderConfig (*read)(const ConfigReader&, Head);
};

constexpr EncoderFamily kEncoders[] = {
    {"Bert", "bert", bert_config},
    {"Roberta", "roberta", roberta_config},
    {"XLMRoberta", "xlm-roberta", roberta_config},
    {"Camembert", "camembert", roberta_config},
    {"DistilBert", "distilbert", distilbert_config},
    {"Albert", "albert", albert_config},
};

constexpr Head kEncoderHeads[] = {Head::kNone, Head::kMaskedLm, Head::kSequenceClassification, Head::kTokenClassification,
                                  Head::kQuestionAnswering};

// The architecture's head; none where it is not of this family.
std::optional<Head> encoder_head(const EncoderFamily& family, const std::string& architecture) {
  for (const Head head : kEncoderHeads) {
    if (architecture == std::string(family.prefix) + head_name(head)) return head;
  }
  // Of the two heads of pre-training the one that fills masks is used.
  if (architecture == std::string(family.prefix) + "ForPreTraining") return Head::kMaskedLm;
  return {};
}

std::unique_ptr<Model> make_encoder(const Json& config, const std::string& where, const std::string& architecture,
                                    const std::string& type, std::optional<Head> head) {
  for (const EncoderFamily& family : kEncoders) {
    std::optional<Head> own = encoder_head(family, architecture);
    if (!own && (architecture.empty() || head) && type == family.model_type) own = Head::kNone;
    if (!own) continue;
    const Head used = head.value_or(*own);
    if (used == Head::kCausalLm) {
      unsupported(where, "{} is an encoder: need a model that generates (pagoda run has the tasks of encoders)",
                  architecture.empty() ? type : architecture);
    }
    auto model = std::make_unique<EncoderModel>(family.read(ConfigReader(config, where), used));
    model->set_architecture(std::string(family.prefix) + head_name(used));
    return model;
  }
  return nullptr;
}

// Every architecture with its model_type.
std::vector<std::pair<std::string, std::string>> all_architectures() {
  std::vector<std::pair<std::string, std::string>> names;
  for (const Family& family : kFamilies) names.emplace_back(family.architecture, family.model_type);
  for (const EncoderFamily& family : kEncoders) {
    for (const Head head : kEncoderHeads) names.emplace_back(std::string(family.prefix) + head_name(head), family.model_type);
  }
  return names;
}

}  // namespace

std::vector<std::string> supported_architectures() {
  std::vector<std::string> names;
  for (auto& [architecture, type] : all_architectures()) names.push_back(architecture);
  return names;
}

std::unique_ptr<Model> make_model(const Json& config, const std::string& where, std::optional<Head> head) {
  std::string architecture;
  if (const Json* list = config.find("architectures"); list != nullptr && list->is_array() && list->size() > 0) {
    architecture = list->as_array(where)[0].as_string(where + ": architectures");
  }
  const std::string type = config.get_string("model_type", "", where);
  for (const Family& family : kFamilies) {
    if (architecture != family.architecture && !(architecture.empty() && type == family.model_type)) continue;
    if (head && *head != Head::kCausalLm) {
      unsupported(where, "{} generates text: this task needs an encoder, such as Bert{}", family.architecture,
                  head_name(*head));
    }
    auto model = std::make_unique<DecoderModel>(family.read(ConfigReader(config, where)));
    model->set_architecture(family.architecture);
    return model;
  }
  if (std::unique_ptr<Model> model = make_encoder(config, where, architecture, type, head)) return model;
  const std::string wanted = !architecture.empty() ? architecture : !type.empty() ? type : "nothing";
  std::string known, nearest;
  size_t best = std::string::npos;
  for (const auto& [name, model_type] : all_architectures()) {
    known += (known.empty() ? "" : ", ") + name;
    const size_t distance = edit_distance(wanted.substr(0, 200), architecture.empty() ? model_type : name);
    if (distance < best) {
      best = distance;
      nearest = name;
    }
  }
  unsupported(where, "unknown architecture: got '{}', need one of {}; the nearest is {}", wanted.substr(0, 200), known,
              nearest);
}

}  // namespace pagoda
