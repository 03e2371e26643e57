// pagoda evaluate sft --predict-with-generate: what the model answers, against what the data say.
#pragma once

#include <string>
#include <vector>

#include "cli/cli.h"
#include "train/conversations.h"

namespace pagoda::cli {

// Names of HF's Seq2SeqTrainingArguments.
struct AnswerFlags {
  bool predict_with_generate = false;
  int64_t generation_max_length = 128;  // tokens of an answer
  int64_t generation_num_beams = 1;
  std::string predictions_file;
};
void add_answer_flags(Verb verb, AnswerFlags& flags);

// {"rouge1", "rouge2", "rougeL", "rougeLsum", "bleu" (all of 100), "gen_len" (tokens, the mean)} of the answers that the model
// at `path` gives. Throws Cancelled.
Json score_answers(const std::string& path, const LoadOptions& options, const std::vector<train::ConversationPrompt>& prompts,
                   const AnswerFlags& flags, const TaskHooks& hooks);

}  // namespace pagoda::cli
