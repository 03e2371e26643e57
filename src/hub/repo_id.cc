// Checks names and revisions before they become paths and URLs.
#include "hub/repo_id.h"

#include <algorithm>
#include <cctype>

#include "base/error.h"
#include "base/file.h"

namespace pagoda::hub {

namespace {

constexpr size_t kMaxPart = 96;
constexpr size_t kMaxRevision = 250;

bool is_lower_hex(std::string_view text, size_t size) {
  return text.size() == size &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

// The broken rule, or empty.
std::string_view name_fault(std::string_view name) {
  if (std::count(name.begin(), name.end(), '/') > 1) return "more than one '/'";
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('/', begin), name.size());
    const std::string_view part = name.substr(begin, end - begin);
    if (part.empty()) return "an empty part";
    if (part.size() > kMaxPart) return "a part longer than 96 characters";
    for (const char c : part) {
      if (!is_word(c) && c != '-' && c != '.') return "a character other than letters, digits, '-', '_' and '.'";
    }
    if (!is_word(part.front()) || !is_word(part.back())) return "a part that begins or ends with '-' or '.'";
    begin = end + 1;
  }
  if (name.find("--") != std::string_view::npos || name.find("..") != std::string_view::npos) return "'--' or '..'";
  if (name.size() >= 4 && name.substr(name.size() - 4) == ".git") return "'.git' at the end";
  return {};
}

}  // namespace

RepoId parse_repo_id(std::string_view text) {
  RepoId id;
  const size_t at = text.find('@');
  id.name = std::string(text.substr(0, at));
  if (const auto fault = name_fault(id.name); !fault.empty()) {
    invalid(text, "not a model name of the hub: got {}, need ORG/NAME or ORG/NAME@REVISION", fault);
  }
  if (at != std::string_view::npos) {
    id.revision = std::string(text.substr(at + 1));
    check_revision(id.revision);
  }
  return id;
}

bool is_repo_id(std::string_view text) { return name_fault(text.substr(0, text.find('@'))).empty(); }

void check_revision(std::string_view revision) {
  const bool clean = std::all_of(revision.begin(), revision.end(), [](unsigned char c) { return c > 0x20 && c != 0x7F; });
  if (!clean || revision.size() > kMaxRevision || !is_safe_relative_path(revision)) {
    invalid("revision", "not a revision: got '{}', need a branch, a tag, a commit or refs/pr/N", revision);
  }
}

bool is_commit(std::string_view text) { return is_lower_hex(text, 40); }
bool is_sha256(std::string_view text) { return is_lower_hex(text, 64); }

std::string repo_folder_name(std::string_view name) {
  std::string out = "models--";
  for (const char c : name) {
    if (c == '/') {
      out += "--";
    } else {
      out += c;
    }
  }
  return out;
}

std::string url_quote(std::string_view text, bool keep_slash) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    if (is_word(c) || c == '-' || c == '.' || c == '~' || (keep_slash && c == '/')) {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += '%';
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
  return out;
}

}  // namespace pagoda::hub
