// Lengths and templates once, for both verbs.
#include "train/lm_data.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"

namespace pagoda::train {

namespace {

constexpr int64_t kDefaultLength = 1024;

int64_t length_of(const TrainingModel& model, int64_t asked) {
  const int64_t most = model.model().max_positions(), made_for = model.tokenizer_config().model_max_length;
  if (asked > most) invalid("--block-size", "got {}, need at most {} (the positions of the model)", asked, most);
  return asked > 0 ? asked : std::min({kDefaultLength, most, made_for > 0 ? made_for : most});
}

}  // namespace

LmData::LmData(TrainingModel& model, int64_t block_size) : model_(model) {
  conversations_.max_seq_length = length_of(model, block_size);
  conversations_.eos_token = model.tokenizer_config().eos_token;
}

SplitFiles LmData::text(const std::vector<std::string>& train, const std::vector<std::string>& validation,
                        PrepareOptions options, const TaskHooks& hooks) const {
  options.block_size = conversations_.max_seq_length;
  options.cut_left = model_.tokenizer_config().truncation_left;
  const Tokenizer* tokenizer = model_.has_tokenizer() ? model_.tokenizer().get() : nullptr;
  return open_splits(train, validation, options, tokenizer, model_.runtime().pool(), hooks);
}

void LmData::set_chat_template(const std::string& chat_template) {
  if (!chat_template.empty()) {
    templates_ = chat::TemplateSet::from_text(chat_template);
  } else if (directory_exists(model_.tokenizer_path())) {
    templates_ = chat::TemplateSet::from_folder(model_.tokenizer_path());
    templates_.set_special_tokens(model_.tokenizer_config().named_texts());
  }
}

ConversationReport LmData::conversations(const std::vector<std::string>& files, const std::string& folder,
                                         const TaskHooks& hooks) const {
  return prepare_conversations(files, folder, templates_, *model_.tokenizer(), conversations_, hooks);
}

std::vector<ConversationPrompt> LmData::prompts(const std::vector<std::string>& files, int64_t most,
                                                const TaskHooks& hooks) const {
  return conversation_prompts(files, most, templates_, *model_.tokenizer(), conversations_, hooks);
}

}  // namespace pagoda::train
