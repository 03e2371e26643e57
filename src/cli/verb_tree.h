// The program's verbs as plain data, read from CLI11's own tree: what completion and the manual are written from.
#pragma once

#include <string>
#include <vector>

#include "cli/cli.h"

namespace pagoda::cli {

struct OptionNode {
  std::vector<std::string> names;    // "-h", "--help"; empty for an argument by place
  std::string place;                 // "MODEL"; empty for a flag
  std::string value;                 // what follows a flag: "INT"; empty where nothing does
  std::vector<std::string> choices;  // where the value is one of few words
  std::string description, default_value;
  bool required = false;
};

struct VerbNode {
  std::vector<std::string> path;  // {"bench", "latency"}; empty for the program
  std::string description, footer;
  std::vector<OptionNode> options;
  std::vector<VerbNode> verbs;

  std::string name() const { return path.empty() ? "pagoda" : path.back(); }
  std::string joined(const char* separator) const;  // of path
};

VerbNode verb_tree(Verb app);
// Every node, parents first.
std::vector<const VerbNode*> all_verbs(const VerbNode& root);

}  // namespace pagoda::cli
