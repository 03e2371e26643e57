// What belongs beside a model's weights and is the same for new ones: tokenizer, templates, modules, texts.
#pragma once

#include <string>
#include <vector>

namespace pagoda {

// Names in a model folder, those in folders of it with '/'; none where it is no folder. By name, so that stray files (weights
// in other forms, archives, logs, what a training goes on from) stay behind: configurations other than config.json,
// vocabularies, chat templates, README.md, licences, code, and the folders of sentence-transformers' modules with their own
// weights.
std::vector<std::string> files_beside_weights(const std::string& folder);

// Copies one of them, of any size, to the same name below `out`; replaces what is there.
void copy_beside_weights(const std::string& folder, const std::string& name, const std::string& out);

// Makes the folder for a model that is to be written. One that is there goes first, config before all, so that at no time old
// weights stand beside new words, and nothing of it (tokenizer, templates, modules, adapter, compiled files) speaks for the new
// one; what else lies there stays. kInvalidInput where it is one of `sources`.
void clear_for_model(const std::string& out, const std::vector<std::string>& sources);

}  // namespace pagoda
