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

}  // namespace pagoda
