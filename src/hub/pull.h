// Pulling a model into the cache, and finding it there: what `pagoda pull ORG/NAME` and every MODEL argument use.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hub/config.h"

namespace pagoda::hub {

struct PullProgress {
  std::string file;   // the one that moved last
  int64_t bytes = 0;  // of all files of this pull, those in the cache included
  int64_t total = 0;  // 0 while not known
  int files = 0;      // finished
  int total_files = 0;
};

struct PullOptions {
  // Set one to go against the environment (hub_config_from_environment).
  std::optional<std::string> endpoint;
  std::optional<std::string> cache_folder;
  std::optional<std::string> token;  // "" sends none
  std::optional<bool> offline;       // true: only the cache is looked at

  std::string revision;              // branch, tag, commit or refs/pr/N; empty: the one in the name, else "main"
  std::vector<std::string> include;  // fnmatch patterns; empty: what Pagoda needs (see hub/select.h)
  std::vector<std::string> exclude;  // taken off the above
  bool weights = true;               // false: with no `include`, configurations and tokenizer only
  bool force = false;                // downloads again what the cache has
  int parallel = 4;                  // files at a time, 1 to 64
  int attempts = 5;                  // tries of one request without a byte of progress
  int backoff_milliseconds = 500;    // pause before the second try; doubles up to 8 s

  // Called from any thread but never from two at once, at most about twenty times a second and at every file's end.
  std::function<void(const PullProgress&)> progress;
  // resolve_model: called where a snapshot of another program is used without the hub having said what it lacks.
  std::function<void(const std::string&)> warn;
  // When it turns true, the pull ends soon with an error "interrupted"; what has come is kept and resumed.
  const std::atomic<bool>* cancel = nullptr;
};

struct PullResult {
  std::string folder;  // <cache>/models--ORG--NAME/snapshots/<commit>
  std::string commit;
  std::vector<std::string> files;  // names pulled or found, sorted (offline: those in the snapshot that match)
  int64_t downloaded_bytes = 0;
  // The hub could not be reached and the cache's last state of this revision was taken instead; why. Empty otherwise.
  std::string stale_reason;
};

// Makes the snapshot of "ORG/NAME[@revision]" complete and returns it. Online the hub is asked what the revision is now; a hub
// that cannot be reached (not: one that refuses) falls back on a complete snapshot in the cache. Errors: kInvalidInput (name,
// patterns, token, hostile answers), kNotFound (model, revision, file; offline: not in the cache), kDevice (network, disk).
PullResult pull(std::string_view name, const PullOptions& options = {});

// A snapshot in the cache that is complete by the commit's listing (offline: by what is there), without any request; nothing
// when there is none.
std::optional<PullResult> find_cached(std::string_view name, const PullOptions& options = {});

// What a MODEL argument means: an existing file or folder is itself; else ORG/NAME[@revision] out of the cache, pulled when it
// is not there. A cached model is taken without asking the hub: `pagoda pull` is what brings it up to date. Where another
// program left the snapshot, and nobody can tell that it is all, the hub is asked once what else the commit has (weights that
// are there in any form will do); whatever fails of that, the snapshot is used as it is, with a warning.
std::string resolve_model(const std::string& model, const PullOptions& options = {});

}  // namespace pagoda::hub
