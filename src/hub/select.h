// Which files of a repository are pulled: shell patterns, and the files that Pagoda needs when none are given.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace pagoda::hub {

// Python's fnmatch.fnmatchcase on code points: '*' (also across '/'), '?', '[seq]', '[!seq]'. Linear in pattern times text.
bool glob_match(std::string_view pattern, std::string_view text);
// As huggingface_hub filters: a name is kept when it matches any of `include` (or that is empty) and none of `exclude`.
// A pattern that ends with '/' means all below that folder.
bool glob_keep(std::string_view name, const std::vector<std::string>& include, const std::vector<std::string>& exclude);

// The file that holds or lists the weights: model.safetensors, model.safetensors.index.json, pytorch_model.bin,
// pytorch_model.bin.index.json, in this order; empty when none is there.
std::string weights_entry(const std::vector<std::string>& names);
// What is needed before any weights: configurations, tokenizer files, chat templates, sentence-transformers modules.
bool is_needed_file(std::string_view name, std::string_view weights_entry);
// Weights that no entry names: every *.safetensors at the root (adapters).
std::vector<std::string> loose_weights(const std::vector<std::string>& names);
// The distinct shard names of an index file's "weight_map", sorted. Throws kInvalidInput for bad JSON and unsafe names.
std::vector<std::string> shards_of_index(std::string_view json, std::string_view where);
bool is_tokenizer_file(std::string_view name);

}  // namespace pagoda::hub
