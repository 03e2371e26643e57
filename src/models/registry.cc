// The explicit list of model families, and the nearest name for one that is not in it.
#include "base/error.h"
#include "base/suggest.h"
#include "base/utf8.h"
#include "models/encoder.h"
#include "models/families.h"

namespace pagoda {

namespace {

struct Family {
  const char* architecture;  // HF class
  const char* base;          // the same without a head
  const char* model_type;
  DecoderConfig (*read)(const ConfigReader&);
};

constexpr Family kFamilies[] = {
    {"LlamaForCausalLM", "LlamaModel", "llama", llama_config},
    {"MistralForCausalLM", "MistralModel", "mistral", mistral_config},
    {"Qwen2ForCausalLM", "Qwen2Model", "qwen2", qwen2_config},
    {"GPT2LMHeadModel", "GPT2Model", "gpt2", gpt2_config},
    {"GPTBigCodeForCausalLM", "GPTBigCodeModel", "gpt_bigcode", gpt_bigcode_config},
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

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

// Whether a class that is not in the lists may be read by its model_type alone, as transformers' AutoModel does: not where its
// name tells of a head that is not here.
bool goes_by_type(const std::string& architecture, bool decoder) {
  if (decoder) return !contains(architecture, "For") || contains(architecture, "ForCausalLM");
  return !contains(architecture, "For") && !contains(architecture, "LMHead");
}

const Family* find_decoder(const std::string& architecture) {
  for (const Family& family : kFamilies) {
    if (architecture == family.architecture || architecture == family.base) return &family;
  }
  return nullptr;
}

const Family* find_decoder_by_type(const std::string& architecture, const std::string& type) {
  for (const Family& family : kFamilies) {
    if (type == family.model_type && goes_by_type(architecture, true)) return &family;
  }
  return nullptr;
}

std::unique_ptr<Model> make_decoder(const Family& family, const Json& config, const std::string& where,
                                    const std::string& architecture, std::optional<Head> head) {
  if (head && *head != Head::kCausalLm) {
    unsupported(where, "{} generates text: this task needs an encoder, such as Bert{}", family.architecture, head_name(*head));
  }
  DecoderConfig read = family.read(ConfigReader(config, where));
  read.may_lack_head = architecture != family.architecture;
  auto model = std::make_unique<DecoderModel>(std::move(read));
  model->set_architecture(family.architecture);
  return model;
}

std::unique_ptr<Model> make_encoder(const Json& config, const std::string& where, const std::string& architecture,
                                    const std::string& type, std::optional<Head> head, bool by_type) {
  for (const EncoderFamily& family : kEncoders) {
    std::optional<Head> own = encoder_head(family, architecture);
    if (!own && by_type && (head || goes_by_type(architecture, false)) && type == family.model_type) own = Head::kNone;
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
  for (const Family& family : kFamilies) {
    names.emplace_back(family.architecture, family.model_type);
    names.emplace_back(family.base, family.model_type);
  }
  for (const EncoderFamily& family : kEncoders) {
    for (const Head head : kEncoderHeads) names.emplace_back(std::string(family.prefix) + head_name(head), family.model_type);
  }
  return names;
}

}  // namespace

std::unique_ptr<Model> make_model(const Json& config, const std::string& where, std::optional<Head> head) {
  std::string architecture;
  if (const Json* list = config.find("architectures"); list != nullptr && list->is_array() && list->size() > 0) {
    architecture = list->as_array(where)[0].as_string(where + ": architectures");
  }
  const std::string type = config.get_string("model_type", "", where);
  // By the class's name first.
  if (const Family* family = find_decoder(architecture)) return make_decoder(*family, config, where, architecture, head);
  if (std::unique_ptr<Model> model = make_encoder(config, where, architecture, type, head, false)) return model;
  if (const Family* family = find_decoder_by_type(architecture, type)) {
    return make_decoder(*family, config, where, architecture, head);
  }
  if (std::unique_ptr<Model> model = make_encoder(config, where, architecture, type, head, true)) return model;
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
  unsupported(where, "unknown architecture: got '{}', need one of {}; the nearest is {}", utf8_cut(wanted, 200), known,
              nearest);
}

}  // namespace pagoda
