// Conversations as examples: rendered by a chat template, with labels on what the assistant says and nowhere else.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/task_hooks.h"
#include "generate/chat/chat_template.h"
#include "text/tokenizer.h"
#include "train/data/rows.h"

namespace pagoda::train {

struct ConversationOptions {
  int64_t max_seq_length = 1024;  // longer ones lose their end
  std::string eos_token;          // put behind the completion of {"prompt", "completion"} rows of plain text; empty: none
  Limits limits;
};

// What a row holds: {"messages": [{"role", "content"}, ...], "tools": [...] (optional)}, or {"prompt", "completion"}, both
// texts or both lists of messages; TRL's formats. The assistant's parts are what {% generation %} marks in the template, and
// without marks what the template adds for each of the assistant's messages.
// Throws kInvalidInput naming `where`; an example without a label is one that was cut before its answer.
Example conversation_example(const Json& row, const chat::TemplateSet& templates, chat::TemplateCache& cache,
                             const Tokenizer& tokenizer, const ConversationOptions& options, const std::string& where);

// What goes before a row's last answer, as the model is asked for it, and that answer's text.
struct ConversationPrompt {
  std::vector<int32_t> ids;
  std::string reference, where;
};
// Of the first `most` rows (0: all) of JSON lines. The last message of the assistant is the answer; its content must be a text.
std::vector<ConversationPrompt> conversation_prompts(const std::vector<std::string>& files, int64_t most,
                                                     const chat::TemplateSet& templates, const Tokenizer& tokenizer,
                                                     const ConversationOptions& options, const TaskHooks& hooks);

struct ConversationReport {
  int64_t rows = 0, examples = 0, cut = 0;  // cut: too long
};
// JSON lines to native shards in `folder`, which is made anew. Rows without a label are left out.
ConversationReport prepare_conversations(const std::vector<std::string>& files, const std::string& folder,
                                         const chat::TemplateSet& templates, const Tokenizer& tokenizer,
                                         const ConversationOptions& options, const TaskHooks& hooks);

}  // namespace pagoda::train
