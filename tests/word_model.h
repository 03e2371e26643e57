// A model folder for tests: the LLaMA fixture's weights with a tokenizer of whole words and a chat template.
#pragma once

#include <filesystem>
#include <string>

#include "base/file.h"
#include "base/json.h"

namespace pagoda::testing {

inline const char* const kWordTemplate =
    "{{ bos_token }}{% for m in messages %} {{ m.role }} {{ m.content }}{% endfor %}{% if tools %} w{{ tools | length }}{% "
    "endif %}"
    "{% if messages[-1].content == 'w90' %}{{ raise_exception('no w90 here') }}{% endif %}"
    "{% if add_generation_prompt %} assistant{% endif %}";

// Words w0 to w98 by their ids, but for a few that the template writes: <unk> 0, <s> 1, user 3, assistant 4, system 5.
inline void make_word_model(const std::string& folder) {
  namespace fs = std::filesystem;
  const std::string llama = PAGODA_SOURCE_DIR "/tests/fixtures/llama";
  fs::remove_all(folder);
  fs::create_directories(folder);
  for (const char* name : {"config.json", "generation_config.json", "model.safetensors"}) {
    fs::copy_file(llama + "/" + name, folder + "/" + name);
  }
  Json vocab = Json::object();
  for (int id = 0; id < 99; ++id) {
    const char* const first[] = {"<unk>", "<s>", "w2", "user", "assistant", "system"};
    vocab.set(id < 6 ? first[id] : "w" + std::to_string(id), id);
  }
  write_file_atomic(folder + "/tokenizer.json",
                    R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [{"id": 1, "content": "<s>",
      "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}], "normalizer": null,
      "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": {"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
      "decoder": null, "model": {"type": "WordLevel", "unk_token": "<unk>", "vocab": )" +
                        vocab.dump() + "}}");
  write_file_atomic(folder + "/tokenizer_config.json", R"({"bos_token": "<s>", "tokenizer_class": "PreTrainedTokenizerFast"})");
  write_file_atomic(folder + "/chat_template.jinja", kWordTemplate);
}

}  // namespace pagoda::testing
