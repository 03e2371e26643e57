// pagoda completion: scripts for bash, zsh and fish, written from the verbs' own tree.
#include <fmt/format.h>

#include <memory>

#include "base/error.h"
#include "cli/verb_tree.h"

namespace pagoda::cli {

namespace {

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) text.replace(at, from.size(), to);
  return text;
}

// A word that no shell looks into. fish alone reads backslashes inside single quotes.
std::string quoted(const std::string& text) { return "'" + replaced(text, "'", "'\\''") + "'"; }
std::string fish_quoted(const std::string& text) { return "'" + replaced(replaced(text, "\\", "\\\\"), "'", "\\'") + "'"; }

std::string words_of(const VerbNode& verb) {
  std::string words;
  for (const VerbNode& below : verb.verbs) words += (words.empty() ? "" : " ") + below.name();
  for (const OptionNode& option : verb.options) {
    for (const std::string& name : option.names) words += (words.empty() ? "" : " ") + name;
  }
  return words;
}

// "/bench/latency": how bash and zsh remember where they are.
std::string key_of(const VerbNode& verb) { return verb.path.empty() ? "" : "/" + verb.joined("/"); }

// Cases of a shell's `case "$at"` that walk down the verbs.
std::string walk_patterns(const std::vector<const VerbNode*>& verbs) {
  std::string patterns;
  for (const VerbNode* verb : verbs) {
    if (!verb->path.empty()) patterns += (patterns.empty() ? "" : "|") + key_of(*verb);
  }
  return patterns;
}

std::string choice_cases(const std::vector<const VerbNode*>& verbs, const char* format) {
  std::string cases;
  for (const VerbNode* verb : verbs) {
    for (const OptionNode& option : verb->options) {
      std::string words;
      for (const std::string& choice : option.choices) words += (words.empty() ? "" : " ") + choice;
      if (words.empty()) continue;
      for (const std::string& name : option.names) {
        cases += fmt::format(fmt::runtime(format), quoted(key_of(*verb) + " " + name), words);
      }
    }
  }
  return cases;
}

// Walks $at down the verbs among `words`, completes a choice of the flag `previous`, and opens the cases of $at.
std::string walk(const std::vector<const VerbNode*>& verbs, const std::string& words, const std::string& previous,
                 const char* choice) {
  return "  for word in \"" + words + "\"; do\n    case \"$at/$word\" in\n      " + walk_patterns(verbs) +
         ") at=\"$at/$word\" ;;\n    esac\n  done\n  case \"$at " + previous + "\" in\n" + choice_cases(verbs, choice) +
         "  esac\n  case \"$at\" in\n";
}

std::string bash(const VerbNode& root) {
  const auto verbs = all_verbs(root);
  std::string text =
      "# bash completion of pagoda: source <(pagoda completion bash)\n"
      "_pagoda() {\n"
      "  local current=\"${COMP_WORDS[COMP_CWORD]}\" previous=\"${COMP_WORDS[COMP_CWORD-1]}\" at=\"\" words=\"\" word\n"
      "  COMPREPLY=()\n";
  text += walk(verbs, "${COMP_WORDS[@]:1:COMP_CWORD-1}", "$previous",
               "    {}) COMPREPLY=($(compgen -W '{}' -- \"$current\")); return ;;\n");
  std::string parents;
  for (const VerbNode* verb : verbs) {
    text += fmt::format("    {}) words={} ;;\n", quoted(key_of(*verb)), quoted(words_of(*verb)));
    if (!verb->verbs.empty()) parents += (parents.empty() ? "" : "|") + quoted(key_of(*verb));
  }
  text += "  esac\n  case \"$at\" in\n    " + parents +
          ") COMPREPLY=($(compgen -W \"$words\" -- \"$current\")); return ;;\n  esac\n"
          "  if [[ \"$current\" == -* ]]; then\n"
          "    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
          "  else\n"
          "    COMPREPLY=($(compgen -f -- \"$current\"))\n"
          "  fi\n"
          "}\n"
          "complete -o filenames -F _pagoda pagoda\n";
  return text;
}

std::string zsh(const VerbNode& root) {
  const auto verbs = all_verbs(root);
  std::string text =
      "#compdef pagoda\n"
      "# zsh completion of pagoda: pagoda completion zsh > DIRECTORY_OF_FPATH/_pagoda\n"
      "_pagoda() {\n"
      "  local at=\"\" word\n"
      "  local -a below flags\n";
  text += walk(verbs, "${(@)words[2,CURRENT-1]}", "${words[CURRENT-1]}", "    {}) compadd -- {}; return ;;\n");
  const auto entry = [](const std::string& name, const std::string& description) {
    return " " + quoted(name + ":" + replaced(description, ":", "\\:"));
  };
  for (const VerbNode* verb : verbs) {
    std::string below, flags;
    for (const VerbNode& each : verb->verbs) below += entry(each.name(), each.description);
    for (const OptionNode& option : verb->options) {
      for (const std::string& name : option.names) flags += entry(name, option.description);
    }
    text += fmt::format("    {}) below=({} ) flags=({} ) ;;\n", quoted(key_of(*verb)), below, flags);
  }
  text +=
      "  esac\n"
      "  if [[ \"${words[CURRENT]}\" == -* ]]; then\n"
      "    _describe -o flag flags\n"
      "  elif (( ${#below} )); then\n"
      "    _describe verb below\n"
      "  else\n"
      "    _files\n"
      "  fi\n"
      "}\n"
      "if [[ \"$funcstack[1]\" == _pagoda ]]; then _pagoda \"$@\"; else compdef _pagoda pagoda; fi\n";
  return text;
}

std::string fish(const VerbNode& root) {
  std::string text = "# fish completion of pagoda: pagoda completion fish > ~/.config/fish/completions/pagoda.fish\n";
  for (const VerbNode* verb : all_verbs(root)) {
    std::string here;
    for (const std::string& part : verb->path) here += (here.empty() ? "" : "; and ") + ("__fish_seen_subcommand_from " + part);
    std::string before = here;  // none of the verbs below was given yet
    std::string names;
    for (const VerbNode& below : verb->verbs) names += " " + below.name();
    if (verb->path.empty()) {
      here = before = "__fish_use_subcommand";
    } else if (!names.empty()) {
      before += "; and not __fish_seen_subcommand_from" + names;
    }
    for (const VerbNode& below : verb->verbs) {
      text += fmt::format("complete -c pagoda -f -n {} -a {} -d {}\n", fish_quoted(before), below.name(),
                          fish_quoted(below.description));
    }
    for (const OptionNode& option : verb->options) {
      if (option.names.empty()) continue;
      text += "complete -c pagoda -n " + fish_quoted(here);
      for (const std::string& name : option.names) {
        text += name.rfind("--", 0) == 0 ? " -l " + name.substr(2) : " -s " + name.substr(1);
      }
      std::string words;
      for (const std::string& choice : option.choices) words += (words.empty() ? "" : " ") + choice;
      if (!words.empty()) {
        text += " -x -a " + fish_quoted(words);
      } else if (!option.value.empty()) {
        text += " -r";
      }
      text += " -d " + fish_quoted(option.description) + "\n";
    }
  }
  return text;
}

}  // namespace

void add_completion(Program& program) {
  const auto shell = std::make_shared<std::string>();
  const Verb verb = add_verb(program, "completion", "Print the completion script of a shell",
                             {"source <(pagoda completion bash)", "pagoda completion zsh > ~/.zfunc/_pagoda",
                              "pagoda completion fish > ~/.config/fish/completions/pagoda.fish"});
  verb->add_option("SHELL", *shell, "bash, zsh or fish")->required()->type_name("bash|zsh|fish");
  verb->callback([&program, shell] {
    program.run = [&program, shell] {
      const VerbNode root = verb_tree(program.app);
      std::string script;
      if (*shell == "bash") {
        script = bash(root);
      } else if (*shell == "zsh") {
        script = zsh(root);
      } else if (*shell == "fish") {
        script = fish(root);
      } else {
        invalid("completion", "unknown shell: got '{}', need bash, zsh or fish", *shell);
      }
      if (program.json) {
        Json object = Json::object();
        object.set("shell", *shell).set("script", script);
        write_json(object);
      } else {
        write_out(script);
      }
      return 0;
    };
  });
}

}  // namespace pagoda::cli
