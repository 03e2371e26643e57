// From messages to a prompt's text: by the model's chat template, or by one that the request brings.
#pragma once

#include <mutex>
#include <string>

#include "generate/chat/chat_template.h"

namespace pagoda::server {

class Fields;

// What a request says of it.
struct ChatRendering {
  chat::ApplyOptions apply;
  std::string source;  // of a template that the request brings; empty: the model's
  bool continues = false;
};

struct ChatRendererOptions {
  chat::TemplateSet templates{};  // empty: chats bring their own, if they may
  Json special_tokens{};
  Json default_kwargs{};  // of templates, where a request's chat_template_kwargs do not say; null: none
  bool trust_requests = false;
};

// Thread-safe.
class ChatRenderer {
 public:
  explicit ChatRenderer(ChatRendererOptions options) : options_(std::move(options)) {}

  const chat::TemplateSet& templates() const { return options_.templates; }
  // Takes the fields that say how a chat is rendered, but for its tools.
  ChatRendering read(Fields& fields) const;
  std::string render(const ChatRendering& rendering, const Json& messages);

 private:
  const ChatRendererOptions options_;
  std::mutex mutex_;
  chat::TemplateCache cache_;
};

}  // namespace pagoda::server
