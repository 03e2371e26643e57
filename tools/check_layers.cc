// Checks the house's order: what each folder of src/ may include and link (tools/layers.txt), captions, lengths of files.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace fs = std::filesystem;

namespace {

constexpr int kMostLines = 1000;

// One word of tools/layers.txt, and whether a file has needed it.
struct Allowance {
  std::string name;
  bool used = false;
};

struct Rule {
  std::vector<Allowance> folders;  // or single headers of a folder: "kernels/table.h"
  std::vector<Allowance> libraries;
  int line = 0;
};

bool starts_with(const std::string& text, const std::string& prefix) { return text.rfind(prefix, 0) == 0; }

bool starts_with_any(const std::string& text, const std::vector<std::string>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(), [&](const std::string& prefix) { return starts_with(text, prefix); });
}

std::map<std::string, Rule> read_rules(const fs::path& file) {
  std::map<std::string, Rule> rules;
  std::ifstream in(file);
  int number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (line.empty() || line[0] == '#') continue;
    const auto colon = line.find(':');
    if (colon == std::string::npos) continue;
    Rule rule;
    rule.line = number;
    bool libraries = false;
    std::istringstream words(line.substr(colon + 1));
    for (std::string word; words >> word;) {
      if (word == ";") {
        libraries = true;
      } else {
        (libraries ? rule.libraries : rule.folders).push_back({word});
      }
    }
    rules[line.substr(0, colon)] = rule;
  }
  return rules;
}

// In <...>: a folder that the system does not have, or a name of a library without folder.
bool is_third_party(const std::string& header) {
  static const std::vector<std::string> kSystem = {"sys/", "linux/", "netinet/", "arpa/", "net/", "asm/", "bits/"};
  static const std::vector<std::string> kPlain = {"pcre2", "mpi.h",  "zlib.h", "zconf.h", "png.h",
                                                  "jpeg",  "cuda",   "cublas", "nccl",    "unicode.h",
                                                  "dnnl",  "webp.h", "gtest",  "gmock",   "benchmark"};
  if (header.find('/') != std::string::npos) return !starts_with_any(header, kSystem);
  return starts_with_any(header, kPlain);
}

// What the browser's compiler (Debian's emscripten 3.1.6) does not have: banned below `server`.
const std::set<std::string> kBannedHeaders = {"ranges", "source_location", "memory_resource", "stop_token", "format"};
const std::vector<std::string> kBannedNames = {"std::bit_cast", "std::atomic_ref", "std::jthread", "std::format(",
                                               "std::ranges::", "std::views::",    "std::pmr::"};
bool is_above_server(const std::string& folder) { return folder == "server" || folder == "capi" || folder == "cli"; }

class Checker {
 public:
  explicit Checker(fs::path root) : root_(std::move(root)), rules_(read_rules(root_ / "tools/layers.txt")) {}

  int run() {
    for (const char* folder : {"include", "src", "examples", "tests", "benchmarks", "tools"}) {
      if (!fs::exists(root_ / folder)) continue;
      for (const auto& entry : fs::recursive_directory_iterator(root_ / folder)) {
        if (entry.is_regular_file()) check_file(entry.path());
      }
    }
    check_unused();
    return errors_;
  }

 private:
  void report(const fs::path& file, int line, const std::string& text) {
    std::cerr << fs::relative(file, root_).string() << ":" << line << ": " << text << "\n";
    ++errors_;
  }

  void check_file(const fs::path& file) {
    const std::string extension = file.extension().string();
    const bool source = extension == ".h" || extension == ".cc" || extension == ".cu";
    const std::string relative = fs::relative(file, root_).string();
    const bool in_src = starts_with(relative, "src/");
    const bool links = in_src && file.filename() == "CMakeLists.txt" && std::count(relative.begin(), relative.end(), '/') > 1;
    if (!source && extension != ".py" && !links) return;

    const std::string inside = in_src ? relative.substr(4) : relative;
    const std::string folder = inside.substr(0, inside.find('/'));
    const bool ruled = in_src || folder == "include";
    if (ruled && rules_.count(folder) == 0) {
      report(file, 1, "folder '" + folder + "' has no line in tools/layers.txt");
      return;
    }
    const std::vector<Rule*> rules = ruled ? rules_of(folder, inside) : std::vector<Rule*>();
    std::ifstream in(file);
    if (links) {
      std::ostringstream text;
      text << in.rdbuf();
      check_links(file, folder, text.str());
      return;
    }
    int number = 0;
    for (std::string line; std::getline(in, line);) {
      ++number;
      if (number == 1) check_caption(file, extension, line);
      if (ruled) check_line(file, number, folder, rules, line);
    }
    if (number > kMostLines) report(file, number, "file is over " + std::to_string(kMostLines) + " lines: split it");
  }

  // Of a folder, and what the file (cli/flags.cc) has besides.
  std::vector<Rule*> rules_of(const std::string& folder, const std::string& file) {
    std::vector<Rule*> rules = {&rules_.at(folder)};
    if (const auto own = rules_.find(file); own != rules_.end()) rules.push_back(&own->second);
    return rules;
  }

  // Whether one of the rules has an allowance that fits, which is then one that is needed.
  template <class Fits>
  static bool allows(const std::vector<Rule*>& rules, std::vector<Allowance> Rule::* list, const Fits& fits) {
    for (Rule* rule : rules) {
      for (Allowance& each : rule->*list) {
        if (!fits(each.name)) continue;
        each.used = true;
        return true;
      }
    }
    return false;
  }

  // What nobody needs is a way round the house's order that stands open.
  void check_unused() {
    for (const auto& [name, rule] : rules_) {
      for (const auto* list : {&rule.folders, &rule.libraries}) {
        for (const Allowance& each : *list) {
          if (!each.used)
            report(root_ / "tools/layers.txt", rule.line, "'" + name + "' neither includes nor links '" + each.name + "'");
        }
      }
    }
  }

  void check_caption(const fs::path& file, const std::string& extension, const std::string& line) {
    const bool good = extension == ".py" ? starts_with(line, "\"\"\"") || starts_with(line, "#") : starts_with(line, "// ");
    if (!good) report(file, 1, "the first line must say what the file is");
  }

  void check_line(const fs::path& file, int number, const std::string& folder, const std::vector<Rule*>& rules,
                  const std::string& line) {
    const std::string code = line.substr(0, line.find("//"));
    if (!is_above_server(folder)) {
      for (const auto& name : kBannedNames) {
        if (code.find(name) != std::string::npos)
          report(file, number, "'" + name + "' is missing in the browser's C++ library");
      }
    }
    const auto hash = code.find_first_not_of(' ');
    if (hash == std::string::npos || code[hash] != '#') return;
    const auto include = code.find("include", hash);
    const auto open = code.find_first_of("<\"", hash);
    if (include == std::string::npos || open == std::string::npos || include > open) return;
    const auto close = code.find(code[open] == '<' ? '>' : '"', open + 1);
    if (close == std::string::npos) return;
    check_include(file, number, folder, rules, code.substr(open + 1, close - open - 1), code[open] == '"');
  }

  void check_include(const fs::path& file, int number, const std::string& folder, const std::vector<Rule*>& rules,
                     const std::string& header, bool quoted) {
    if (kBannedHeaders.count(header) != 0 && !is_above_server(folder)) {
      report(file, number, "<" + header + "> is missing in the browser's C++ library");
    }
    const std::string target = header.substr(0, header.find('/'));
    const bool ours = rules_.count(target) != 0;
    if (quoted && header.find('/') == std::string::npos) {
      report(file, number, "include \"" + header + "\" by its path from src/");
    } else if (quoted && ours) {
      const auto fits = [&](const std::string& name) { return name == target || name == header; };
      if (target != folder && !allows(rules, &Rule::folders, fits))
        report(file, number, "'" + folder + "' may not include \"" + header + "\"");
    } else if ((quoted || is_third_party(header)) &&
               !allows(rules, &Rule::libraries, [&](const std::string& name) { return starts_with(header, name); })) {
      report(file, number, "'" + folder + "' may not include '" + header + "'");
    }
  }

  // The DEPS of a folder's target say the same as its line in tools/layers.txt.
  void check_links(const fs::path& file, const std::string& folder, const std::string& text) {
    const std::vector<Rule*> rules = {&rules_.at(folder)};
    static const std::set<std::string> kOther = {"LIBS", "SOURCES"};
    for (auto at = text.find("pagoda_library("); at != std::string::npos; at = text.find("pagoda_library(", at + 1)) {
      std::istringstream in(text.substr(at, text.find(')', at) - at));
      bool deps = false;
      for (std::string word; in >> word;) {
        if (word == "DEPS" || kOther.count(word) != 0) {
          deps = word == "DEPS";
          continue;
        }
        const std::string target = word.substr(0, word.find_first_of("/_"));  // "generate/chat", as a target "generate_chat"
        if (!deps || target == folder) continue;
        const auto fits = [&](const std::string& name) { return name.substr(0, name.find('/')) == target; };
        if (!allows(rules, &Rule::folders, fits)) report(file, 1, "'" + folder + "' may not link '" + word + "'");
      }
    }
  }

  fs::path root_;
  std::map<std::string, Rule> rules_;
  int errors_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: check_layers SOURCE_DIR\n";
    return 2;
  }
  return Checker(argv[1]).run() == 0 ? 0 : 1;
}
