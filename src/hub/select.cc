// Patterns by Python's rules, and the default choice of files.
#include "hub/select.h"

#include <algorithm>
#include <cctype>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"

namespace pagoda::hub {

namespace {

std::vector<uint32_t> code_points(std::string_view text) {
  std::vector<uint32_t> out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) out.push_back(utf8_next(text, pos));
  return out;
}

// Matches pattern[pos], a '[' with its set, against c. Moves `next` past the set. Returns 1, 0, or -1 when the bracket never
// closes: then '[' stands for itself.
int match_set(const std::vector<uint32_t>& pattern, size_t pos, uint32_t c, size_t& next) {
  size_t begin = pos + 1;
  const bool negate = begin < pattern.size() && pattern[begin] == '!';
  if (negate) ++begin;
  size_t close = begin;
  if (close < pattern.size() && pattern[close] == ']') ++close;  // a leading ']' is a member
  while (close < pattern.size() && pattern[close] != ']') ++close;
  if (close >= pattern.size()) return -1;
  next = close + 1;
  bool found = false;
  for (size_t i = begin; i < close;) {
    if (i + 2 < close && pattern[i + 1] == '-') {
      found = found || (pattern[i] <= c && c <= pattern[i + 2]);
      i += 3;
    } else {
      found = found || pattern[i] == c;
      ++i;
    }
  }
  return found != negate ? 1 : 0;
}

bool contains(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

bool glob_match(std::string_view pattern_text, std::string_view text_bytes) {
  const auto pattern = code_points(pattern_text);
  const auto text = code_points(text_bytes);
  constexpr size_t kNone = static_cast<size_t>(-1);
  size_t p = 0;
  size_t t = 0;
  size_t star = kNone;  // the last '*': on a mismatch it takes one more character, earlier ones need never be tried again
  size_t star_text = 0;
  while (t < text.size()) {
    bool matched = false;
    size_t next = p + 1;
    if (p < pattern.size()) {
      if (pattern[p] == '*') {
        star = p++;
        star_text = t;
        continue;
      }
      if (pattern[p] == '?') {
        matched = true;
      } else if (pattern[p] == '[') {
        const int result = match_set(pattern, p, text[t], next);
        matched = result < 0 ? text[t] == '[' : result == 1;
      } else {
        matched = pattern[p] == text[t];
      }
    }
    if (matched) {
      p = next;
      ++t;
    } else if (star != kNone) {
      p = star + 1;
      t = ++star_text;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool glob_keep(std::string_view name, const std::vector<std::string>& include, const std::vector<std::string>& exclude) {
  const auto matches = [&](const std::string& pattern) {
    return glob_match(!pattern.empty() && pattern.back() == '/' ? pattern + "*" : pattern, name);
  };
  if (!include.empty() && std::none_of(include.begin(), include.end(), matches)) return false;
  return std::none_of(exclude.begin(), exclude.end(), matches);
}

std::string weights_entry(const std::vector<std::string>& names) {
  for (const char* name :
       {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    if (contains(names, name)) return name;
  }
  return {};
}

bool is_tokenizer_file(std::string_view name) {
  static const std::set<std::string_view> kNames = {"tokenizer.json", "vocab.json", "vocab.txt", "merges.txt"};
  return name.find('/') == std::string_view::npos &&
         (kNames.count(name) != 0 || name.ends_with(".model") || name.ends_with(".tiktoken"));
}

bool is_needed_file(std::string_view name, std::string_view entry) {
  if (name == entry) return true;
  const size_t slash = name.find('/');
  if (slash != std::string_view::npos) {
    const std::string_view folder = name.substr(0, slash);
    const std::string_view rest = name.substr(slash + 1);
    if (folder == "additional_chat_templates") return rest.ends_with(".jinja");
    // Modules of sentence-transformers: "1_Pooling/config.json", "2_Dense/model.safetensors".
    const bool module = folder.size() > 2 && std::isdigit(static_cast<unsigned char>(folder[0])) != 0 && folder[1] == '_';
    return module && (rest == "config.json" || rest == "model.safetensors");
  }
  if (is_tokenizer_file(name) || name.ends_with(".jinja")) return true;
  if (!name.ends_with(".json")) return false;
  // Indexes of weights that are not pulled, and what a trainer leaves behind.
  return !name.ends_with(".index.json") && !name.ends_with("_results.json") && name != "trainer_state.json" &&
         !name.starts_with("optimizer");
}

std::vector<std::string> loose_weights(const std::vector<std::string>& names) {
  std::vector<std::string> out;
  for (const auto& name : names) {
    if (name.find('/') == std::string::npos && name.ends_with(".safetensors")) out.push_back(name);
  }
  return out;
}

std::vector<std::string> shards_of_index(std::string_view text, std::string_view where) {
  const Json index = Json::parse(text, where);
  std::set<std::string> shards;
  for (const auto& member : index.at("weight_map", where).as_object(where)) {
    const std::string& shard = member.value.as_string(where);
    if (!is_safe_relative_path(shard)) {
      invalid(where, "bad shard name in weight_map: got '{}', need a file beside the index", shard);
    }
    shards.insert(shard);
  }
  return {shards.begin(), shards.end()};
}

}  // namespace pagoda::hub
