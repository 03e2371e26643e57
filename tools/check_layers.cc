// Checks that every file of src/ includes only what its folder's line in tools/layers.txt allows.
#include <cctype>
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

struct Rule {
  std::vector<std::string> folders;
  std::vector<std::string> libraries;
};

bool starts_with(const std::string& text, const std::string& prefix) { return text.rfind(prefix, 0) == 0; }

std::map<std::string, Rule> read_rules(const fs::path& file) {
  std::map<std::string, Rule> rules;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (line.empty() || line[0] == '#') continue;
    const auto colon = line.find(':');
    if (colon == std::string::npos) continue;
    Rule rule;
    bool libraries = false;
    std::istringstream words(line.substr(colon + 1));
    for (std::string word; words >> word;) {
      if (word == ";") {
        libraries = true;
      } else {
        (libraries ? rule.libraries : rule.folders).push_back(word);
      }
    }
    rules[line.substr(0, colon)] = rule;
  }
  return rules;
}

// Third-party headers are those with a folder or an extension that the C++ and system headers do not have.
bool is_third_party(const std::string& header) {
  static const std::vector<std::string> kKnown = {"fmt/",  "rapidjson/", "pcre2.h",  "curl/", "openssl/", "mpi.h",
                                                  "hwy/",  "zlib.h",     "spdlog/",  "CLI/",  "boost/",   "prometheus/",
                                                  "png.h", "jpeglib.h",  "unicode/", "cuda",  "cublas",   "nccl"};
  for (const auto& prefix : kKnown) {
    if (starts_with(header, prefix)) return true;
  }
  return false;
}

// Library headers that the browser's compiler does not have: banned below `server` (docs/decisions).
const std::set<std::string> kBannedHeaders = {"ranges", "source_location", "memory_resource", "stop_token", "format"};
const std::vector<std::string> kBannedNames = {"std::bit_cast", "std::atomic_ref", "std::jthread", "std::format("};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: check_layers SOURCE_DIR\n";
    return 2;
  }
  const fs::path root = argv[1];
  const auto rules = read_rules(root / "tools/layers.txt");
  int errors = 0;
  auto report = [&](const fs::path& file, int line, const std::string& text) {
    std::cerr << fs::relative(file, root).string() << ":" << line << ": " << text << "\n";
    ++errors;
  };
  for (const auto& entry : fs::recursive_directory_iterator(root / "src")) {
    if (!entry.is_regular_file()) continue;
    const fs::path file = entry.path();
    const std::string extension = file.extension().string();
    if (extension != ".h" && extension != ".cc" && extension != ".cu") continue;
    const std::string relative = fs::relative(file, root / "src").string();
    const std::string folder = relative.substr(0, relative.find('/'));
    const auto rule = rules.find(folder);
    if (rule == rules.end()) {
      report(file, 1, "folder '" + folder + "' has no line in tools/layers.txt");
      continue;
    }
    std::ifstream in(file);
    int number = 0;
    for (std::string line; std::getline(in, line);) {
      ++number;
      if (number == 1 && !starts_with(line, "// ")) report(file, 1, "the first line must say what the file is (// ...)");
      for (const auto& name : kBannedNames) {
        if (folder != "server" && folder != "cli" && line.find(name) != std::string::npos) {
          report(file, number, "'" + name + "' is missing in the browser's C++ library: use base/compat.h");
        }
      }
      if (!starts_with(line, "#include ") || line.size() < 12) continue;
      const char open = line[9];
      const auto close = line.find(open == '<' ? '>' : '"', 10);
      if (close == std::string::npos) continue;
      const std::string header = line.substr(10, close - 10);
      if (kBannedHeaders.count(header) != 0) report(file, number, "<" + header + "> is missing in the browser's C++ library");
      if (open == '"') {
        const std::string target = header.substr(0, header.find('/'));
        bool allowed = target == folder || rules.count(target) == 0;
        for (const auto& word : rule->second.folders) {
          if (word == target || word == header) allowed = true;
        }
        if (header.find('/') == std::string::npos) {
          report(file, number, "include \"" + header + "\" by its path from src/");
        } else if (!allowed) {
          report(file, number, "'" + folder + "' may not include \"" + header + "\"");
        }
      } else if (is_third_party(header)) {
        bool allowed = false;
        for (const auto& prefix : rule->second.libraries) {
          if (starts_with(header, prefix)) allowed = true;
        }
        if (!allowed) report(file, number, "'" + folder + "' may not include <" + header + ">");
      }
    }
    if (number > 1000) report(file, number, "file is over 1,000 lines: split it");
  }
  return errors == 0 ? 0 : 1;
}
