// Names of models on the hub: ORG/NAME, optionally @revision.
#pragma once

#include <string>
#include <string_view>

namespace pagoda::hub {

struct RepoId {
  std::string name;      // "ORG/NAME", or "NAME" for the oldest models
  std::string revision;  // branch, tag, commit or refs/pr/N; empty when none was given
};

// Takes apart "ORG/NAME[@revision]". Throws kInvalidInput naming the rule that is broken: one or two parts of letters,
// digits, '-', '_', '.', each 1 to 96 long, not beginning or ending with '-' or '.', without "--" and "..", no ".git" end.
RepoId parse_repo_id(std::string_view text);
bool is_repo_id(std::string_view text);
// A revision that may stand in a URL and as a path below refs/; throws kInvalidInput.
void check_revision(std::string_view revision);
bool is_commit(std::string_view text);  // 40 lower-case hexadecimal digits
bool is_sha256(std::string_view text);  // 64 of them
// "models--ORG--NAME"
std::string repo_folder_name(std::string_view name);
// Percent-encodes all but letters, digits and "-._~", and '/' where keep_slash.
std::string url_quote(std::string_view text, bool keep_slash);

}  // namespace pagoda::hub
