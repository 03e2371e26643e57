// The folder of one model in huggingface_hub's cache: blobs, refs, snapshots of links, .no_exist marks, locks.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pagoda::hub {

// Layout below <cache>/models--ORG--NAME:
//   blobs/<etag>                       contents, named by git blob id or SHA-256; <etag>.incomplete while they come
//   refs/<revision>                    the commit that a branch, tag or refs/pr/N meant last
//   snapshots/<commit>/<file>          relative links to the blobs
//   .no_exist/<commit>/<file>          empty: the hub has no such file at that commit
//   trees/<commit>.json                the commit's whole listing (written by newer huggingface_hub, only read here)
//   .pagoda/<commit>.json              the same by a pull of ours, names alone
// and <cache>/.locks/models--ORG--NAME/<etag>.lock.
class RepoCache {
 public:
  RepoCache(std::string cache_folder, std::string_view name);

  const std::string& folder() const { return folder_; }
  std::string blob_path(std::string_view etag) const;
  std::string incomplete_path(std::string_view etag) const;
  std::string lock_path(std::string_view etag) const;
  std::string snapshot_folder(std::string_view commit) const;
  std::string snapshot_path(std::string_view commit, std::string_view file) const;

  // The commit that a revision means by what is in the cache: itself, or what refs/ says.
  std::optional<std::string> find_commit(std::string_view revision) const;
  void write_ref(std::string_view revision, std::string_view commit) const;  // nothing to do for a commit

  // Makes blobs/, snapshots/<commit>/ and a CACHEDIR.TAG (so that backups skip the cache).
  void prepare(std::string_view commit) const;
  // Makes snapshots/<commit>/<file> stand for the blob, replacing what was there in one step: a relative link, or the file
  // itself where links are switched off or the file system has none: moved out of blobs/ where `may_move`, else copied, as
  // other snapshots may lead to the blob. The caller holds the blob's lock.
  void publish(std::string_view commit, std::string_view file, std::string_view etag, bool symlinks, bool may_move) const;
  void mark_missing(std::string_view commit, std::string_view file) const;  // failures are ignored: it saves requests only
  bool known_missing(std::string_view commit, std::string_view file) const;

  // Notes all names of a commit, which never change; failures are ignored: without the note the hub is asked again.
  void write_listing(std::string_view commit, const std::vector<std::string>& names) const;
  // Names in trees/<commit>.json, or (`own`) in what write_listing noted; sorted; nothing when there is none that can be read.
  std::optional<std::vector<std::string>> listing(std::string_view commit, bool own) const;
  // Files below snapshots/<commit> whose contents are there, and links that lead nowhere; sorted.
  struct Snapshot {
    std::vector<std::string> files;
    std::vector<std::string> broken;
  };
  Snapshot snapshot(std::string_view commit) const;

 private:
  std::string cache_folder_;
  std::string repo_;  // models--ORG--NAME
  std::string folder_;
};

// Bytes free for us where `folder` is or will be; nothing when the system does not say.
std::optional<int64_t> free_bytes(const std::string& folder);

}  // namespace pagoda::hub
