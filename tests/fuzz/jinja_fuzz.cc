// Feeds bytes to the chat template engine as a template, rendered over a small context.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "text/jinja.h"

namespace {

pagoda::jinja::Value make_context() {
  return pagoda::jinja::from_json(pagoda::Json::parse(
      R"({"messages": [{"role": "system", "content": "Be brief."},
                       {"role": "user", "content": "H\u00e9llo <b> \ud83d\ude42"},
                       {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"x": [1, 2.5, true]}}}]}],
          "tools": [{"type": "function", "function": {"name": "f"}}], "bos_token": "<s>", "eos_token": "</s>",
          "add_generation_prompt": true, "n": 3, "x": -0.5})",
      "fuzz"));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const pagoda::jinja::Value kContext = make_context();
  pagoda::jinja::RenderOptions options;
  options.now = pagoda::jinja::DateTime{2024, 7, 26, 12, 0, 0, 0};
  options.limits.max_steps = 1 << 17;
  options.limits.max_output_bytes = 1 << 18;
  options.limits.max_string_bytes = 1 << 22;
  options.limits.max_items = 1 << 14;
  options.limits.max_milliseconds = 2000;
  try {
    const auto parsed = pagoda::jinja::Template::parse({reinterpret_cast<const char*>(data), size}, options.limits);
    std::vector<std::pair<size_t, size_t>> spans;
    parsed->render(kContext, options, &spans);
  } catch (const pagoda::Error&) {
  }
  return 0;
}
