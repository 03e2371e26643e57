// Pushing a folder to the hub: what `pagoda push FOLDER ORG/NAME` uses. The protocol is that of huggingface_hub's
// upload_folder: create the repository, ask how each file is stored, upload large ones by LFS (in parts where the hub says so),
// commit.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/limits.h"
#include "hub/config.h"

namespace pagoda::hub {

struct PushProgress {
  std::string file;   // the one that moved last
  int64_t bytes = 0;  // of large files, those that the hub has counted as sent
  int64_t total = 0;
  int files = 0, total_files = 0;
};

struct PushOptions {
  std::optional<std::string> endpoint, token;  // against the environment
  std::string revision;                        // a branch, made where the hub has none of that name, or refs/pr/N; empty: the
                                               // one in the name, else "main"
  std::string commit_message, commit_description;
  bool private_repo = false;              // of a repository that is made now
  bool create_pr = false;                 // the commit becomes a pull request against `revision`
  std::vector<std::string> include;       // patterns as pull's; empty: all
  std::vector<std::string> exclude;       // besides .git/, .cache/, checkpoint-N/ and *.pagoda
  std::optional<std::string> model_card;  // README.md where neither folder nor hub has one
  int parallel = 4;                       // large files at a time, 1 to 64
  int attempts = 5;
  int backoff_milliseconds = 500;
  std::function<void(const PushProgress&)> progress;  // from any thread, never from two at once
  const std::atomic<bool>* cancel = nullptr;
};

struct PushResult {
  std::string url;     // of the commit, or of the repository where there was nothing to commit
  std::string commit;  // the revision's, after the push
  std::string pull_request;
  std::vector<std::string> files;  // committed now
  int unchanged = 0;               // files that the hub already had like this
  int64_t uploaded_bytes = 0;      // of large files
};

// A push that breaks off is gone on with by pushing again: large files that came through are not sent twice. Nothing is visible
// on the hub before the commit, which is sent once: an answer that leaves open whether it was made is an error. Files that the
// hub has and the folder has not stay. Errors: kInvalidInput (name, token, refusals, an empty folder, a link that leads
// nowhere), kNotFound (folder), kDevice (network).
PushResult push(const std::string& folder, std::string_view name, const PushOptions& options = {});

// Answers of the hub, which are foreign bytes; kInvalidInput for what does not look like them.
struct UploadMode {
  std::string path;
  bool lfs = false, ignored = false;
  std::string oid;  // of what the hub has at the path: SHA-256 or git blob id; empty: nothing, or not told
};
std::vector<UploadMode> parse_upload_modes(std::string_view json, std::string_view where, const Limits& limits = {});
struct LfsUpload {
  std::string oid;
  bool needed = false;            // else the hub has it
  std::string href, verify_href;  // verify_href: may be empty
  int64_t part_size = 0;          // > 0: in parts, to these addresses in order; `href` completes
  std::vector<std::string> parts;
};
std::vector<LfsUpload> parse_lfs_batch(std::string_view json, std::string_view where, const Limits& limits = {});

}  // namespace pagoda::hub
