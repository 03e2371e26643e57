// What training and evaluation of language models do alike with their files: how long examples are, what renders
// conversations, which rows become shards how.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/task_hooks.h"
#include "generate/chat/chat_template.h"
#include "train/conversations.h"
#include "train/data/files.h"
#include "train/training_model.h"

namespace pagoda::train {

// Of one model. block_size: tokens of an example; 0: the smallest of 1024 (HF's run_clm and run_mlm), the model's positions and
// the tokenizer's maximum. kInvalidInput where the model has fewer positions.
class LmData {
 public:
  LmData(TrainingModel& model, int64_t block_size);

  // open_splits() of the model's tokenizer, blocks of that size.
  SplitFiles text(const std::vector<std::string>& train, const std::vector<std::string>& validation, PrepareOptions options,
                  const TaskHooks& hooks) const;

  // Conversations by `chat_template` (its text; empty: the tokenizer's own).
  void set_chat_template(const std::string& chat_template);
  ConversationReport conversations(const std::vector<std::string>& files, const std::string& folder,
                                   const TaskHooks& hooks) const;
  std::vector<ConversationPrompt> prompts(const std::vector<std::string>& files, int64_t most, const TaskHooks& hooks) const;
  const ConversationOptions& conversation_options() const { return conversations_; }

 private:
  TrainingModel& model_;
  ConversationOptions conversations_;
  chat::TemplateSet templates_;
};

}  // namespace pagoda::train
