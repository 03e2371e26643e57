// Reads CLI11's tree.
#include "cli/verb_tree.h"

#include <algorithm>

namespace pagoda::cli {

namespace {

std::vector<std::string> split_choices(const std::string& type) {
  std::vector<std::string> choices;
  if (type.find('|') == std::string::npos) return choices;
  for (size_t begin = 0; begin <= type.size();) {
    const size_t end = std::min(type.find('|', begin), type.size());
    choices.push_back(type.substr(begin, end - begin));
    begin = end + 1;
  }
  return choices;
}

OptionNode option_node(Flag option) {
  OptionNode node;
  for (const std::string& name : option->get_snames()) node.names.push_back("-" + name);
  for (const std::string& name : option->get_lnames()) node.names.push_back("--" + name);
  if (option->get_positional()) node.place = option->get_name(true);
  if (option->get_items_expected_max() > 0) {
    // Checks add their bounds: "INT:INT in [1 - 64]".
    const std::string type = option->get_type_name();
    node.value = type.substr(0, type.find(':'));
    node.choices = split_choices(node.value);
  }
  node.description = option->get_description();
  node.default_value = option->get_default_str();
  node.required = option->get_required();
  return node;
}

VerbNode node_of(Verb app, std::vector<std::string> path) {
  VerbNode node;
  node.description = app->get_description();
  node.footer = app->get_footer();
  for (const Flag option : app->get_options()) node.options.push_back(option_node(option));
  for (const Verb verb : app->subcommands()) {
    std::vector<std::string> below = path;
    below.push_back(verb->get_name());
    node.verbs.push_back(node_of(verb, std::move(below)));
  }
  node.path = std::move(path);
  return node;
}

void collect(const VerbNode& node, std::vector<const VerbNode*>& into) {
  into.push_back(&node);
  for (const VerbNode& verb : node.verbs) collect(verb, into);
}

}  // namespace

std::string VerbNode::joined(const char* separator) const {
  std::string text;
  for (const std::string& part : path) text += (text.empty() ? "" : separator) + part;
  return text;
}

VerbNode verb_tree(Verb app) { return node_of(app, {}); }

std::vector<const VerbNode*> all_verbs(const VerbNode& root) {
  std::vector<const VerbNode*> verbs;
  collect(root, verbs);
  return verbs;
}

}  // namespace pagoda::cli
