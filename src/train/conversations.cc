// Where the assistant speaks, in code points of the rendered text, and in tokens.
#include "train/conversations.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "train/data/dataset_info.h"
#include "train/data/shards.h"

namespace pagoda::train {

namespace {

using Spans = std::vector<std::pair<size_t, size_t>>;  // code points

size_t code_points(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

bool begins_with(std::string_view text, std::string_view begin) { return text.substr(0, begin.size()) == begin; }

size_t common_prefix(std::string_view a, std::string_view b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

class Renderer {
 public:
  Renderer(const jinja::Template& source, const Json& special_tokens, const Json& tools, std::string where)
      : source_(source), special_tokens_(special_tokens), tools_(tools), where_(std::move(where)) {}

  chat::Prompt render(const Json& messages, bool prompt_for_more) const {
    chat::ApplyOptions options;
    options.tools = tools_;
    options.add_generation_prompt = prompt_for_more;
    // The same text at every start: a template that writes today's date would change a run that is resumed.
    options.render.now = jinja::DateTime{2024, 1, 1, 0, 0, 0, 0};
    return chat::apply(source_, messages, special_tokens_, options);
  }

  // What the template adds for each message of the assistant from number `first` on.
  Spans added_spans(const Json& messages, size_t first, const std::string& full) const {
    Spans spans;
    const Json::Array& all = messages.as_array(where_);
    Json before = Json::array();
    for (size_t i = 0; i < all.size(); ++i) {
      const std::string role = all[i].at("role", where_).as_string(where_ + ": role");
      if (role != "assistant" || i < first) {
        before.push_back(all[i]);
        continue;
      }
      const std::string open = before.size() == 0 ? "" : render(before, true).text;
      const std::string closed = before.size() == 0 ? "" : render(before, false).text;
      before.push_back(all[i]);
      const std::string through = render(before, false).text;
      // A prompt may open thoughts that the finished message does not have.
      const size_t begin = common_prefix(open, through);
      if (!begins_with(full, through) || begin < closed.size() || !begins_with(through, closed)) {
        invalid(where_,
                "message {}: the chat template changes what came before, so that the assistant's part cannot be told; "
                "need a template with {{% generation %}} marks (--chat-template)",
                i);
      }
      spans.emplace_back(code_points(through.substr(0, begin)), code_points(through));
    }
    return spans;
  }

 private:
  const jinja::Template& source_;
  const Json& special_tokens_;
  const Json& tools_;
  std::string where_;
};

Example labelled_example(const std::string& text, const Spans& spans, const Tokenizer& tokenizer, bool special_tokens) {
  EncodeOptions encode;
  encode.add_special_tokens = special_tokens;
  encode.offsets = true;
  encode.truncate_and_pad = false;
  const Encoding encoding = tokenizer.encode(text, encode);
  Example example;
  example.input_ids = encoding.ids;
  // A token that lies across the border belongs to the answer, as in transformers. Tokens of white space may be empty: offsets
  // are trimmed.
  const auto inside = [&](size_t t) {
    const size_t begin = static_cast<size_t>(encoding.offsets[t].first), end = static_cast<size_t>(encoding.offsets[t].second);
    if (encoding.special_tokens_mask[t] != 0) return false;
    return std::any_of(spans.begin(), spans.end(),
                       [&](const auto& span) { return begin < span.second && (end > span.first || begin >= span.first); });
  };
  for (size_t t = 0; t < encoding.size(); ++t) example.labels.push_back(inside(t) ? encoding.ids[t] : -100);
  return example;
}

Example chat_example(const Json& messages, size_t first, const Json& tools, const chat::TemplateSet& templates,
                     chat::TemplateCache& cache, const Tokenizer& tokenizer, const std::string& where) {
  if (messages.as_array(where + ": messages").empty()) invalid(where, "messages: got none, need at least one");
  if (templates.empty()) invalid(where, "the model has no chat template: need one (--chat-template FILE)");
  const jinja::Template& source = cache.get(templates.pick("", !tools.is_null()));
  const Renderer renderer(source, templates.special_tokens(), tools, where);
  const chat::Prompt full = renderer.render(messages, false);
  const bool marked = !full.generation_spans.empty() && first == 0;
  const Spans spans = marked ? full.generation_spans : renderer.added_spans(messages, first, full.text);
  if (spans.empty()) invalid(where, "got no message of the assistant, need at least one to learn from");
  return labelled_example(full.text, spans, tokenizer, false);
}

void truncate_example(Example& example, int64_t length) {
  if (static_cast<int64_t>(example.input_ids.size()) <= length) return;
  example.input_ids.resize(static_cast<size_t>(length));
  example.labels.resize(static_cast<size_t>(length));
}

}  // namespace

Example conversation_example(const Json& row, const chat::TemplateSet& templates, chat::TemplateCache& cache,
                             const Tokenizer& tokenizer, const ConversationOptions& options, const std::string& where) {
  const Json* messages = row.find("messages");
  const Json* tools_field = row.find("tools");
  const Json tools = tools_field == nullptr ? Json() : *tools_field;
  if (messages != nullptr) return chat_example(*messages, 0, tools, templates, cache, tokenizer, where);
  const Json *prompt = row.find("prompt"), *completion = row.find("completion");
  if (prompt == nullptr || completion == nullptr)
    invalid(where, "got neither messages nor prompt and completion, need one of them");
  if (prompt->is_array()) {
    Json all = *prompt;
    for (const Json& message : completion->as_array(where + ": completion")) all.push_back(message);
    return chat_example(all, prompt->size(), tools, templates, cache, tokenizer, where);
  }
  const std::string& before = prompt->as_string(where + ": prompt");
  const std::string text = before + completion->as_string(where + ": completion") + options.eos_token;
  return labelled_example(text, {{code_points(before), code_points(text)}}, tokenizer, true);
}

namespace {

// fn(row, where) until it gives false; a file without rows is kInvalidInput.
template <class Fn>
void for_each_conversation(const std::vector<std::string>& files, const Limits& limits, const TaskHooks& hooks, Fn&& fn) {
  for (const std::string& file : files) {
    const std::shared_ptr<MappedFile> map = MappedFile::open(file);
    const std::string_view bytes = map->bytes();
    int64_t number = 0, rows = 0;
    for (size_t begin = 0; begin < bytes.size();) {
      const size_t end = std::min(bytes.find('\n', begin), bytes.size());
      const std::string_view line = bytes.substr(begin, end - begin);
      const std::string where = fmt::format("{}:{}", file, ++number);
      if (number % 64 == 1) hooks.at("reading", static_cast<int64_t>(begin), static_cast<int64_t>(bytes.size()));
      begin = end + 1;
      if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
      const Json row = Json::parse(line, where, limits);
      ++rows;
      try {
        if (!fn(row, where)) return;
      } catch (const jinja::TemplateError& error) {
        invalid(where, "the chat template refuses it: {}", error.what());
      }
    }
    if (rows == 0) invalid(file, "no rows in the file: need at least one");
  }
}

ConversationPrompt prompt_of(const Json& row, const chat::TemplateSet& templates, chat::TemplateCache& cache,
                             const Tokenizer& tokenizer, const std::string& where) {
  ConversationPrompt made;
  made.where = where;
  EncodeOptions encode;
  encode.truncate_and_pad = false;
  const Json *messages = row.find("messages"), *prompt = row.find("prompt"), *completion = row.find("completion");
  if (messages == nullptr && (prompt == nullptr || completion == nullptr)) {
    invalid(where, "got neither messages nor prompt and completion, need one of them");
  }
  if (messages == nullptr && !prompt->is_array()) {
    made.reference = completion->as_string(where + ": completion");
    Encoding encoding = tokenizer.encode(prompt->as_string(where + ": prompt"), encode);
    while (!encoding.ids.empty() && encoding.special_tokens_mask[encoding.ids.size() - 1] != 0) encoding.ids.pop_back();
    made.ids = std::move(encoding.ids);
    if (made.ids.empty()) invalid(where, "prompt: got no token, need at least one");
    return made;
  }
  Json all = messages != nullptr ? *messages : *prompt;
  if (messages == nullptr) {
    for (const Json& message : completion->as_array(where + ": completion")) all.push_back(message);
  }
  const Json::Array& list = all.as_array(where + ": messages");
  size_t answer = list.size();
  while (answer > 0 && list[answer - 1].at("role", where).as_string(where + ": role") != "assistant") --answer;
  if (answer == 0) invalid(where, "got no message of the assistant, need at least one to compare with");
  made.reference = list[answer - 1].at("content", where).as_string(where + ": content");
  if (templates.empty()) invalid(where, "the model has no chat template: need one (--chat-template FILE)");
  const Json* tools = row.find("tools");
  const Json given_tools = tools == nullptr ? Json() : *tools;
  Json before = Json::array();
  for (size_t i = 0; i + 1 < answer; ++i) before.push_back(list[i]);
  if (before.size() == 0) invalid(where, "got no message before the answer, need one");
  const Renderer renderer(cache.get(templates.pick("", !given_tools.is_null())), templates.special_tokens(), given_tools,
                          where);
  encode.add_special_tokens = false;
  made.ids = tokenizer.encode(renderer.render(before, true).text, encode).ids;
  return made;
}

}  // namespace

std::vector<ConversationPrompt> conversation_prompts(const std::vector<std::string>& files, int64_t most,
                                                     const chat::TemplateSet& templates, const Tokenizer& tokenizer,
                                                     const ConversationOptions& options, const TaskHooks& hooks) {
  chat::TemplateCache cache(options.limits);
  std::vector<ConversationPrompt> prompts;
  for_each_conversation(files, options.limits, hooks, [&](const Json& row, const std::string& where) {
    prompts.push_back(prompt_of(row, templates, cache, tokenizer, where));
    return most == 0 || static_cast<int64_t>(prompts.size()) < most;
  });
  return prompts;
}

ConversationReport prepare_conversations(const std::vector<std::string>& files, const std::string& folder,
                                         const chat::TemplateSet& templates, const Tokenizer& tokenizer,
                                         const ConversationOptions& options, const TaskHooks& hooks) {
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  make_directories(folder);
  begin_splits(parent_path(folder), {file_name(folder)});
  ShardWriterOptions shards;
  shards.folder = folder;
  shards.native = true;
  ShardWriter writer(std::move(shards));
  chat::TemplateCache cache(options.limits);
  ConversationReport report;
  for_each_conversation(files, options.limits, hooks, [&](const Json& row, const std::string& where) {
    Example example = conversation_example(row, templates, cache, tokenizer, options, where);
    ++report.rows;
    report.cut += static_cast<int64_t>(example.input_ids.size()) > options.max_seq_length ? 1 : 0;
    truncate_example(example, options.max_seq_length);
    if (std::any_of(example.labels.begin(), example.labels.end(), [](int32_t label) { return label >= 0; }))
      writer.add(example);
    return true;
  });
  writer.finish();
  report.examples = writer.examples();
  if (report.examples == 0) {
    invalid(files.front(), "no answer fits: got {} rows whose answers begin behind token {}, need a longer --max-seq-length",
            report.rows, options.max_seq_length);
  }
  Json names = Json::array();
  for (const std::string& file : writer.files()) names.push_back(file);
  const Json split = Json::object().set(file_name(folder), Json::object().set("shards", std::move(names)));
  write_dataset_info(parent_path(folder), Json::object().set("splits", split));
  return report;
}

}  // namespace pagoda::train
