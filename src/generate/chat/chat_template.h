// Messages to prompt text: which template of a model is meant, and what it is given, as transformers' apply_chat_template does.
#pragma once

#include <iosfwd>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/limits.h"
#include "text/jinja.h"

namespace pagoda::chat {

// The templates of one model by name, and its special tokens, which whoever knows its tokenizer sets.
class TemplateSet {
 public:
  // A tokenizer_config.json: "chat_template" is a string, or a list of {"name", "template"}. No template is no error here:
  // pick() says so.
  static TemplateSet from_config(const Json& tokenizer_config, const Limits& limits = {});
  // tokenizer_config.json of a folder (it may be missing), with chat_template.jinja and additional_chat_templates/*.jinja,
  // which replace what the config holds; else chat_template.json.
  static TemplateSet from_folder(const std::string& folder, const Limits& limits = {});
  static TemplateSet from_text(std::string text);  // one template, named "default"

  bool empty() const { return templates_.empty(); }
  bool bare() const { return bare_; }  // a template alone, of no model
  std::vector<std::string> names() const;
  // By name; without one "tool_use" where there are tools, else "default". Throws kNotFound naming what there is.
  const std::string& pick(std::string_view name, bool has_tools) const;
  // bos_token, eos_token ... and a model's own (image_token) as an object of strings.
  const Json& special_tokens() const { return special_tokens_; }
  void set_special_tokens(Json tokens) { special_tokens_ = std::move(tokens); }

 private:
  void add(std::string name, std::string text);
  std::vector<std::pair<std::string, std::string>> templates_;
  Json special_tokens_ = Json::object();
  bool bare_ = false;
};

struct ApplyOptions {
  Json tools;      // null: none; else a list of objects
  Json documents;  // null: none; else a list of objects
  bool add_generation_prompt = false;
  // The field of the last message that the model shall go on with ("content", "reasoning_content"); empty: a new message.
  std::string continue_final_message;
  Json variables = Json::object();  // other variables of the template; they replace special tokens of the same name
  jinja::RenderOptions render;
};

struct Prompt {
  std::string text;
  std::vector<std::pair<size_t, size_t>> generation_spans;  // what {% generation %} marked, in code points
};

// Messages lose their null fields, and reasoning is passed under all names that templates read, as transformers does it.
// Throws TemplateError where the template fails, kInvalidInput for messages that do not fit.
Prompt apply(const jinja::Template& chat_template, const Json& messages, const Json& special_tokens,
             const ApplyOptions& options = {});

// Parsed templates by source: lines of one stream share them.
class TemplateCache {
 public:
  explicit TemplateCache(Limits limits = {}) : limits_(limits) {}
  const jinja::Template& get(const std::string& source);

 private:
  Limits limits_;
  std::vector<std::pair<std::string, std::shared_ptr<const jinja::Template>>> parsed_;
};

// `pagoda template`: an object of template variables a line in, its rendering as a JSON string a line out. The
// variables are the template's as they stand, over the set's special tokens; for a model's templates also over what
// apply_chat_template passes: no tools, no documents, no generation prompt. A line that fails gives {"error": "..."}: the
// template's own message where it raised one. Returns the number of lines that failed.
int64_t template_jsonl(std::istream& in, std::ostream& out, const TemplateSet& templates,
                       const jinja::RenderOptions& options = {});

}  // namespace pagoda::chat
