// What stands beside a tokenizer in a model folder: special token names, flags, chat templates.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/limits.h"
#include "text/added_tokens.h"

namespace pagoda {

struct TokenizerConfig {
  std::string tokenizer_class;  // without "Fast"; empty: not named
  // Named special tokens; empty: none.
  std::string bos_token, eos_token, unk_token, sep_token, pad_token, cls_token, mask_token;
  // The same as tokens with their flags, and then the model's own names (image_token; extra_special_tokens as an object). No
  // token: null is given, which is no default either.
  std::vector<std::pair<std::string, std::optional<AddedToken>>> named;
  std::vector<AddedToken> extra_tokens;                      // extra_special_tokens or additional_special_tokens as a list
  bool extra_tokens_given = false;                           // in tokenizer_config.json, be it empty
  std::vector<std::pair<int64_t, AddedToken>> added_tokens;  // added_tokens_decoder, else added_tokens.json; by id
  bool lists_added_tokens = false;                           // there is an added_tokens_decoder
  std::optional<bool> add_bos_token, add_eos_token, add_prefix_space;
  bool do_lower_case = true;
  bool clean_up_tokenization_spaces = false;
  int64_t model_max_length = 0;                                           // 0: no bound
  bool truncation_left = false, padding_left = false;                     // truncation_side, padding_side
  std::string chat_template;                                              // the default one; empty: none
  std::vector<std::pair<std::string, std::string>> named_chat_templates;  // without the default
  Json raw;                                                               // tokenizer_config.json, or null

  void set_texts();          // bos_token ... mask_token, of `named`
  Json named_texts() const;  // an object of strings: what chat templates see
  // The default template for an empty name or "default"; kNotFound lists what there is.
  const std::string& find_chat_template(const std::string& name) const;
};

// Reads tokenizer_config.json; special_tokens_map.json and added_tokens.json where that has no added_tokens_decoder;
// chat_template.jinja, chat_template.json and the folder
// additional_chat_templates, as far as they are there; of a .gguf file what its metadata say.
TokenizerConfig load_tokenizer_config(const std::string& folder, const Limits& limits = {});

}  // namespace pagoda
