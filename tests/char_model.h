// A model folder for tests of structured answers: the LLaMA fixture's weights with a tokenizer of single characters, so that
// any text can be forced, and the marks of tool calls and thoughts as tokens.
#pragma once

#include <filesystem>
#include <string>

#include "base/file.h"
#include "base/json.h"

namespace pagoda::testing {

// Prompts are short: there is one token a character. Variables show in the prompt where they are given.
inline const char* const kCharTemplate =
    "{{ bos_token }}{% for m in messages %}{{ m.role[0] }}{{ m.content }}"
    "{% if m.tool_calls %}{% for c in m.tool_calls %}C{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}{% "
    "endif %}"
    "{% endfor %}{% if tools %}T{{ tools | length }}{% endif %}{% if reasoning_effort %}R{{ reasoning_effort }}{% endif %}"
    "{% if add_generation_prompt %}{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}A"
    "{% endif %}{# <tool_call> #}";

inline void make_char_model(const std::string& folder) {
  namespace fs = std::filesystem;
  const std::string llama = PAGODA_SOURCE_DIR "/tests/fixtures/llama";
  fs::remove_all(folder);
  fs::create_directories(folder);
  for (const char* name : {"generation_config.json", "model.safetensors"})
    fs::copy_file(llama + "/" + name, folder + "/" + name);
  Json config = Json::parse(read_file(llama + "/config.json", 1 << 20), "config");
  config.set("max_position_embeddings", 1024);
  write_file_atomic(folder + "/config.json", config.dump());

  Json vocab = Json::object(), added = Json::array();
  int id = 0;
  const auto add = [&](const std::string& token, bool mark, bool special) {
    if (id == 55) ++id;  // the end token's
    vocab.set(token, id);
    if (mark) {
      Json entry = Json::object();
      entry.set("id", id).set("content", token).set("single_word", false).set("lstrip", false).set("rstrip", false);
      added.push_back(entry.set("normalized", false).set("special", special));
    }
    ++id;
  };
  add("<unk>", true, true);
  add("<s>", true, true);
  for (const char* mark : {"<think>", "</think>", "<tool_call>", "</tool_call>"}) add(mark, true, false);
  add("[TOOL_CALLS]", true, true);
  for (int c = 33; c < 127; ++c) {
    if (std::string("`~^|@#$%;'?!").find(static_cast<char>(c)) == std::string::npos)
      add(std::string(1, static_cast<char>(c)), false, false);
  }
  add("\xc4\xa0", false, false);  // a space
  add("\xc4\x8a", false, false);  // the end of a line
  vocab.set("</s>", 55);
  Json end = Json::object();
  end.set("id", 55).set("content", "</s>").set("single_word", false).set("lstrip", false).set("rstrip", false);
  added.push_back(end.set("normalized", false).set("special", true));

  write_file_atomic(folder + "/tokenizer.json",
                    R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": )" + added.dump() +
                        R"(, "normalizer": null, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false,
      "trim_offsets": true, "use_regex": true}, "post_processor": null, "decoder": {"type": "ByteLevel", "add_prefix_space": true,
      "trim_offsets": true, "use_regex": true}, "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>",
      "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "merges": [], "vocab": )" +
                        vocab.dump() + "}}");
  write_file_atomic(folder + "/tokenizer_config.json",
                    R"({"bos_token": "<s>", "eos_token": "</s>", "tokenizer_class": "PreTrainedTokenizerFast"})");
  write_file_atomic(folder + "/chat_template.jinja", kCharTemplate);
}

}  // namespace pagoda::testing
