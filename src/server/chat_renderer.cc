// Templates under limits.
#include "server/chat_renderer.h"

#include "base/error.h"
#include "server/fields.h"

namespace pagoda::server {

namespace {

constexpr int64_t kMostRenderingMs = 2000;

}  // namespace

ChatRendering ChatRenderer::read(Fields& fields) const {
  ChatRendering rendering;
  rendering.continues = fields.boolean("continue_final_message").value_or(false);
  const bool prompt = fields.boolean("add_generation_prompt").value_or(!rendering.continues);
  if (rendering.continues && prompt) invalid("continue_final_message", "cannot be true together with add_generation_prompt");
  rendering.apply.add_generation_prompt = prompt;
  if (rendering.continues) rendering.apply.continue_final_message = "content";
  if (const Json* documents = fields.take("documents", R"({"type": "array", "items": {"type": "object"}})")) {
    for (const Json& each : documents->as_array("documents")) each.as_object("documents");
    rendering.apply.documents = *documents;
  }
  Json& variables = rendering.apply.variables;
  if (options_.default_kwargs.is_object()) variables = options_.default_kwargs;
  if (const Json* given = fields.take("chat_template_kwargs", R"({"type": "object"})")) {
    for (const JsonMember& member : given->as_object("chat_template_kwargs")) {
      variables.set(member.key, member.value);
    }
  }
  if (const auto effort = fields.choice("reasoning_effort", {"none", "minimal", "low", "medium", "high", "xhigh", "max"})) {
    if (!variables.contains("reasoning_effort")) variables.set("reasoning_effort", *effort);
    // As vLLM: templates that must be told to think are told so.
    if (!variables.contains("enable_thinking")) variables.set("enable_thinking", *effort != "none");
  }
  if (options_.trust_requests) {
    rendering.source = fields.string("chat_template", 1 << 20).value_or("");
  } else {
    fields.refuse({"chat_template"}, "templates in requests are programs: need a server with --trust-request-chat-template");
  }
  return rendering;
}

std::string ChatRenderer::render(const ChatRendering& rendering, const Json& messages) {
  if (rendering.source.empty() && templates().empty()) {
    invalid("messages", "this model has no chat template: need a server with --chat-template, or /v1/completions");
  }
  chat::ApplyOptions apply = rendering.apply;
  // A rendering blocks a thread that others' requests wait for.
  apply.render.limits.max_milliseconds = kMostRenderingMs;
  if (!rendering.source.empty()) {
    return chat::apply(*jinja::Template::parse(rendering.source, apply.render.limits), messages, options_.special_tokens, apply)
        .text;
  }
  const jinja::Template* own = nullptr;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    own = &cache_.get(templates().pick("", !apply.tools.is_null()));  // the model's few templates stay
  }
  return chat::apply(*own, messages, options_.special_tokens, apply).text;
}

}  // namespace pagoda::server
