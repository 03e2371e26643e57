// AutoTokenizer's tables: model types and their tokenizer classes, and whom it believes where two classes are named.
#include "formats/tokenizer_class.h"

#include <string_view>

namespace pagoda {

namespace {

struct KnownClass {
  std::string_view name;
  TokenizerKind kind;
};

constexpr KnownClass kClasses[] = {
    {"", TokenizerKind::kGeneric},
    {"PreTrainedTokenizer", TokenizerKind::kGeneric},
    {"PythonBackend", TokenizerKind::kGeneric},
    {"TokenizersBackend", TokenizerKind::kGeneric},
    {"SentencePieceBackend", TokenizerKind::kGeneric},
    {"BloomTokenizer", TokenizerKind::kGeneric},
    {"BertTokenizer", TokenizerKind::kBert},
    {"DistilBertTokenizer", TokenizerKind::kBert},
    {"ElectraTokenizer", TokenizerKind::kBert},
    {"LxmertTokenizer", TokenizerKind::kBert},
    {"MobileBertTokenizer", TokenizerKind::kBert},
    {"SqueezeBertTokenizer", TokenizerKind::kBert},
    {"GPT2Tokenizer", TokenizerKind::kGpt2},
    {"CodeGenTokenizer", TokenizerKind::kCodeGen},
    {"Qwen2Tokenizer", TokenizerKind::kQwen2},
    {"GPTNeoXTokenizer", TokenizerKind::kGptNeoX},
    {"RobertaTokenizer", TokenizerKind::kRoberta},
    {"BartTokenizer", TokenizerKind::kRoberta},
    {"LEDTokenizer", TokenizerKind::kRoberta},
    {"LongformerTokenizer", TokenizerKind::kRoberta},
    {"LlamaTokenizer", TokenizerKind::kLlama},
    {"AlbertTokenizer", TokenizerKind::kAlbert},
    {"XLMRobertaTokenizer", TokenizerKind::kXlmRoberta},
    {"CamembertTokenizer", TokenizerKind::kCamembert},
    {"T5Tokenizer", TokenizerKind::kT5},
};

constexpr std::string_view kGeneric = "TokenizersBackend";

struct ModelTypes {
  std::string_view tokenizer_class;
  std::string_view types;  // with a space between
};

constexpr ModelTypes kModelTypes[] = {
    {kGeneric,
     "EvollaModel arctic aria beam bigbird_pegasus camembertv2-base canary chatlm cohere_asr ernie4_5 ernie4_5_moe "
     "flex_olmo fuyu glm glm4 glm4_moe glm4_moe_lite glm4v glm4v_moe glm_image glmasr got_ocr2 gpt_bigcode "
     "gradium_phonon_tts granite granitemoe granitemoehybrid granitemoeshared h2ovl_chat hyperclovax hyperclovax_vlm "
     "internlm2 internlm3 iquestcoder jamba kimi_k25 kimi_linear kosmos-2 llava llava_next mimo_v2_flash minicpm3 "
     "minicpm_ocr minicpmv minicpmv4_6 minicpmv4_7 minimax_m2 ministral ministral3 mistral mistral3 mistral_large4 "
     "mixtral modernbert modernbert-decoder molmo molmo2 nemo_speechlm nemotron nvfp4 nystromformer olmo2 olmo3 "
     "olmo_hybrid omniasr opencua openvla paddleocr_vl pegasus_x persimmon phi3 phi3_v phimoe pix2struct pixtral "
     "pocket_tts smolvlm stablelm step3_vl umt5 vipllava voxtral voxtral_realtime xlm-roberta-xl"},
    {"BertTokenizer",
     "align bark bert blip bros chinese_clip convbert distilbert electra ernie flava git grounding-dino layoutlm "
     "megatron-bert mm-grounding-dino nezha nomic_bert qdqbert realm retribert squeezebert tvp vilt visual_bert"},
    {"Qwen2Tokenizer",
     "audioflamingo3 colqwen2 cosmos3_omni dots3_note fun_asr_nano hunyuan_vl internvl lighton_ocr "
     "moss_transcribe_diarize ovis2 qianfan_ocr qwen2 qwen2_5_omni qwen2_5_vl qwen2_audio qwen2_moe qwen2_vl qwen3 "
     "qwen3_asr qwen3_moe qwen3_next qwen3_omni_moe qwen3_vl qwen3_vl_moe vibevoice"},
    {"GPT2Tokenizer",
     "blip-2 codegen dbrx emu3 gpt2 gpt_neo gptj hyperclovax_vision_v2 instructblip instructblipvideo jais2 opt phi "
     "starcoder2"},
    {"CLIPTokenizer", "aimv2 clip clipseg groupvit omdet-turbo oneformer owlv2 owlvit sam3 sam3_video xclip"},
    {"GemmaTokenizer",
     "diffusion_gemma gemma gemma2 gemma3 gemma3_text gemma3n gemma3n_text recurrent_gemma shieldgemma2 t5gemma zaya"},
    {"RobertaTokenizer", "bart bridgetower clap data2vec-text ibert lilt longformer mega mra roberta roberta-prelayernorm"},
    {"GPTNeoXTokenizer", "falcon_mamba gpt_neox mamba mamba2 mpt olmo olmoe rwkv xlstm"},
    {"ParakeetTokenizer",
     "granite_speech5_ctc nemotron3_5_asr nemotron_asr_streaming omniasr_ctc parakeet_ctc parakeet_rnnt parakeet_tdt"},
    {"Wav2Vec2CTCTokenizer", "data2vec-audio hubert unispeech unispeech-sat wav2vec2 wav2vec2-bert wav2vec2-conformer"},
    {"XLMRobertaTokenizer", "gte jina_embeddings_v3 metaclip_2 trocr xlm-roberta xmod"},
    {"Qwen3_5Tokenizer", "qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_text qwen4_exp"},
    {"T5Tokenizer", "mt5 musicgen musicgen_melody switch_transformers t5"},
    {"CohereTokenizer", "aya_vision cohere cohere2"},
    {"AlbertTokenizer", "albert yoso"},
    {"EsmcTokenizer", "esmc esmfold2"},
    {"LasrTokenizer", "lasr_ctc lasr_encoder"},
    {"LlamaTokenizer", "idefics idefics2"},
    {"NllbTokenizer", "nllb nllb-moe"},
    {"NougatTokenizer", "nougat pp_formulanet"},
    {"SeamlessM4TTokenizer", "seamless_m4t seamless_m4t_v2"},
    {"BartTokenizer", "florence2"},
    {"BarthezTokenizer", "barthez"},
    {"BartphoTokenizer", "bartpho"},
    {"BertGenerationTokenizer", "bert-generation"},
    {"BertJapaneseTokenizer", "bert-japanese"},
    {"BertweetTokenizer", "bertweet"},
    {"BigBirdTokenizer", "big_bird"},
    {"BioGptTokenizer", "biogpt"},
    {"BlenderbotSmallTokenizer", "blenderbot-small"},
    {"BlenderbotTokenizer", "blenderbot"},
    {"ByT5Tokenizer", "byt5"},
    {"CTRLTokenizer", "ctrl"},
    {"CamembertTokenizer", "camembert"},
    {"CanineTokenizer", "canine"},
    {"ClvpTokenizer", "clvp"},
    {"CodeLlamaTokenizer", "code_llama"},
    {"CpmAntTokenizer", "cpmant"},
    {"CpmTokenizer", "cpm"},
    {"DPRQuestionEncoderTokenizer", "dpr"},
    {"DebertaTokenizer", "deberta"},
    {"DebertaV2Tokenizer", "deberta-v2"},
    {"DiaTokenizer", "dia"},
    {"EsmTokenizer", "esm"},
    {"FNetTokenizer", "fnet"},
    {"FSMTTokenizer", "fsmt"},
    {"FlaubertTokenizer", "flaubert"},
    {"FunnelTokenizer", "funnel"},
    {"GPTNeoXJapaneseTokenizer", "gpt_neox_japanese"},
    {"GPTSw3Tokenizer", "gpt-sw3"},
    {"HerbertTokenizer", "herbert"},
    {"LEDTokenizer", "led"},
    {"LayoutLMv2Tokenizer", "layoutlmv2"},
    {"LayoutLMv3Tokenizer", "layoutlmv3"},
    {"LayoutXLMTokenizer", "layoutxlm"},
    {"LukeTokenizer", "luke"},
    {"LxmertTokenizer", "lxmert"},
    {"M2M100Tokenizer", "m2m_100"},
    {"MBart50Tokenizer", "mbart50"},
    {"MBartTokenizer", "mbart"},
    {"MLukeTokenizer", "mluke"},
    {"MPNetTokenizer", "mpnet"},
    {"MarianTokenizer", "marian"},
    {"MarkupLMTokenizer", "markuplm"},
    {"MgpstrTokenizer", "mgp-str"},
    {"MobileBertTokenizer", "mobilebert"},
    {"MvpTokenizer", "mvp"},
    {"MyT5Tokenizer", "myt5"},
    {"OpenAIGPTTokenizer", "openai-gpt"},
    {"PLBartTokenizer", "plbart"},
    {"PegasusTokenizer", "pegasus"},
    {"PerceiverTokenizer", "perceiver"},
    {"PhobertTokenizer", "phobert"},
    {"ProphetNetTokenizer", "prophetnet"},
    {"RagTokenizer", "rag"},
    {"ReformerTokenizer", "reformer"},
    {"RemBertTokenizer", "rembert"},
    {"RoCBertTokenizer", "roc_bert"},
    {"RoFormerTokenizer", "roformer"},
    {"Siglip2Tokenizer", "siglip2"},
    {"SiglipTokenizer", "siglip"},
    {"Speech2TextTokenizer", "speech_to_text"},
    {"SpeechT5Tokenizer", "speecht5"},
    {"SplinterTokenizer", "splinter"},
    {"TapasTokenizer", "tapas"},
    {"Tipsv2Tokenizer", "tipsv2"},
    {"UdopTokenizer", "udop"},
    {"VideoPrismTokenizer", "videoprism"},
    {"VitsTokenizer", "vits"},
    {"Wav2Vec2PhonemeCTCTokenizer", "wav2vec2_phoneme"},
    {"WhisperTokenizer", "whisper"},
    {"XGLMTokenizer", "xglm"},
    {"XLMTokenizer", "xlm"},
    {"XLNetTokenizer", "xlnet"},
};

// Model types whose folders are known to name a wrong class.
constexpr std::string_view kWronglyNamed =
    "arctic camembertv2-base chatlm cohere_asr ernie4_5 ernie4_5_moe fuyu h2ovl_chat hyperclovax "
    "hyperclovax_vision_v2 hyperclovax_vlm internlm2 internlm3 iquestcoder jamba llava llava_next minicpm3 minicpmv "
    "minimax_m2 modernbert modernbert-decoder molmo molmo2 nemotron nvfp4 opencua openvla paddleocr_vl phi3 phi3_v "
    "phimoe qwen2 qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen4_exp siglip2 smolvlm step3_vl vipllava ";

bool lists(std::string_view words, std::string_view word) {
  if (word.empty()) return false;
  for (size_t pos = words.find(word); pos != std::string_view::npos; pos = words.find(word, pos + 1)) {
    const size_t end = pos + word.size();
    if ((pos == 0 || words[pos - 1] == ' ') && (end == words.size() || words[end] == ' ')) return true;
  }
  return false;
}

std::string_view class_of_model_type(std::string_view type) {
  for (const ModelTypes& entry : kModelTypes) {
    if (lists(entry.types, type)) return entry.tokenizer_class;
  }
  return {};
}

std::string without_fast(std::string name) {
  if (name.size() > 4 && name.compare(name.size() - 4, 4, "Fast") == 0) name.resize(name.size() - 4);
  return name;
}

TokenizerClass known(std::string_view name) {
  for (const KnownClass& entry : kClasses) {
    if (entry.name == name) return {entry.kind, std::string(name)};
  }
  return {TokenizerKind::kOther, std::string(name)};
}

std::string string_of(const Json& json, std::string_view key) {
  const Json* const value = json.find(key);
  return value != nullptr && value->is_string() ? value->as_string(key) : std::string();
}

}  // namespace

TokenizerClass choose_tokenizer_class(const TokenizerConfig& config, const Json& model_config, bool byte_level) {
  const std::string type = string_of(model_config, "model_type");
  const std::string_view of_type = class_of_model_type(type);
  std::string named = config.tokenizer_class;
  if (named.empty()) named = without_fast(string_of(model_config, "tokenizer_class"));
  const bool wrong = lists(kWronglyNamed, type);
  // Byte-level files of Llama 3 and its like call themselves LlamaTokenizer, whose rules are SentencePiece's.
  if (named == "LlamaTokenizer" && byte_level && !wrong) return known({});
  if (named.empty()) return known(of_type);
  if (of_type.empty() || of_type == named) return known(named);
  if (of_type == kGeneric) return known({});
  return known(wrong ? of_type : std::string_view(named));
}

}  // namespace pagoda
