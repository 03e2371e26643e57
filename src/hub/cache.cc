// Paths, links and references of the cache.
#include "hub/cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/temporary.h"
#include "hub/repo_id.h"

namespace pagoda::hub {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kMaxRefBytes = 4096;
constexpr size_t kMaxSnapshotFiles = 100'000;
constexpr char kCacheTag[] =
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# A cache of model files; programs that make backups may skip it (https://bford.info/cachedir/).\n";

// "../../" as often as the link lies deep below the model's folder, then blobs/<etag>.
std::string link_target(std::string_view file, std::string_view etag) {
  std::string target = "../../";
  for (const char c : file) {
    if (c == '/') target += "../";
  }
  return target + "blobs/" + std::string(etag);
}

}  // namespace

RepoCache::RepoCache(std::string cache_folder, std::string_view name)
    : cache_folder_(std::move(cache_folder)), repo_(repo_folder_name(name)), folder_(join_path(cache_folder_, repo_)) {}

std::string RepoCache::blob_path(std::string_view etag) const { return join_path(folder_ + "/blobs", etag); }
std::string RepoCache::incomplete_path(std::string_view etag) const { return blob_path(etag) + ".incomplete"; }
std::string RepoCache::lock_path(std::string_view etag) const {
  return join_path(join_path(cache_folder_, ".locks/" + repo_), std::string(etag) + ".lock");
}
std::string RepoCache::snapshot_folder(std::string_view commit) const { return join_path(folder_ + "/snapshots", commit); }
std::string RepoCache::snapshot_path(std::string_view commit, std::string_view file) const {
  return join_path(snapshot_folder(commit), file);
}

std::optional<std::string> RepoCache::find_commit(std::string_view revision) const {
  if (is_commit(revision)) return std::string(revision);
  const std::string path = join_path(folder_ + "/refs", revision);
  if (!file_exists(path)) return std::nullopt;
  std::string text = read_file(path, kMaxRefBytes);
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) text.pop_back();
  if (!is_commit(text)) invalid(path, "bad reference in the cache: got '{}', need a commit of 40 hexadecimal digits", text);
  return text;
}

void RepoCache::write_ref(std::string_view revision, std::string_view commit) const {
  if (revision == commit) return;
  const std::string path = join_path(folder_ + "/refs", revision);
  // Unchanged references are left alone, so that a cache without write permission still serves.
  if (file_exists(path) && read_file(path, kMaxRefBytes) == commit) return;
  make_directories(parent_path(path));
  write_file_atomic(path, commit);
}

void RepoCache::prepare(std::string_view commit) const {
  make_directories(folder_ + "/blobs");
  make_directories(snapshot_folder(commit));
  const std::string tag = join_path(cache_folder_, "CACHEDIR.TAG");
  if (!file_exists(tag)) {
    try {
      write_file_atomic(tag, kCacheTag);
    } catch (const Error&) {
      // A courtesy to backup programs; nothing depends on it.
    }
  }
}

void RepoCache::publish(std::string_view commit, std::string_view file, std::string_view etag, bool symlinks,
                        bool may_move) const {
  const std::string path = snapshot_path(commit, file);
  make_directories(parent_path(path));
  const std::string blob = blob_path(etag);
  const std::string temporary = temporary_name(path);
  if (symlinks) {
    if (::symlink(link_target(file, etag).c_str(), temporary.c_str()) == 0) {
      if (::rename(temporary.c_str(), path.c_str()) == 0) return;
      const int error = errno;
      ::unlink(temporary.c_str());
      fail_errno(path, "cannot place link", error);
    }
    if (errno != EPERM && errno != ENOTSUP && errno != ENOSYS) fail_errno(path, "cannot make link", errno);
  }
  if (!may_move) {
    std::error_code error;
    fs::copy_file(blob, temporary, error);
    if (error) {
      ::unlink(temporary.c_str());
      fail_errno(path, "cannot copy out of blobs/", error.value());
    }
  }
  if (::rename((may_move ? blob : temporary).c_str(), path.c_str()) != 0) {
    const int error = errno;
    if (!may_move) ::unlink(temporary.c_str());
    fail_errno(path, "cannot move file into place", error);
  }
}

void RepoCache::mark_missing(std::string_view commit, std::string_view file) const {
  const std::string path = join_path(join_path(folder_ + "/.no_exist", commit), file);
  try {
    make_directories(parent_path(path));
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd >= 0) ::close(fd);
  } catch (const Error&) {
    // See the header.
  }
}

bool RepoCache::known_missing(std::string_view commit, std::string_view file) const {
  return file_exists(join_path(join_path(folder_ + "/.no_exist", commit), file));
}

void RepoCache::write_listing(std::string_view commit, const std::vector<std::string>& names) const {
  const std::string path = join_path(folder_ + "/.pagoda", std::string(commit) + ".json");
  if (file_exists(path)) return;
  Json tree = Json::object(), files = Json::object();
  for (const std::string& name : names) files.as_object(path).push_back({name, Json::object()});
  tree.set("format_version", 1).set("files", std::move(files));
  try {
    make_directories(parent_path(path));
    write_file_atomic(path, tree.dump());
  } catch (const Error&) {
    // See the header.
  }
}

std::optional<std::vector<std::string>> RepoCache::listing(std::string_view commit, bool own) const {
  const std::string path = join_path(folder_ + (own ? "/.pagoda" : "/trees"), std::string(commit) + ".json");
  if (!file_exists(path)) return std::nullopt;
  try {
    const Json tree = Json::parse(read_file(path, Limits{}.max_json_bytes), path);
    if (tree.get_int("format_version", 0, path) != 1) return std::nullopt;
    std::vector<std::string> names;
    for (const auto& member : tree.at("files", path).as_object(path)) names.push_back(member.key);
    std::sort(names.begin(), names.end());
    return names;
  } catch (const Error&) {
    return std::nullopt;  // another program's note to itself: without it the check is only weaker
  }
}

RepoCache::Snapshot RepoCache::snapshot(std::string_view commit) const {
  Snapshot out;
  const fs::path root = snapshot_folder(commit);
  std::error_code error;
  for (fs::recursive_directory_iterator it(root, error), end; !error && it != end; it.increment(error)) {
    std::error_code type_error;
    const bool file = it->is_regular_file(type_error);
    if (!file && !it->is_symlink(type_error)) continue;
    if (!file && fs::is_directory(it->path(), type_error)) continue;
    (file ? out.files : out.broken).push_back(it->path().lexically_relative(root).generic_string());
    if (out.files.size() + out.broken.size() > kMaxSnapshotFiles) {
      invalid(root.string(), "too many files in the snapshot: got over {}, need fewer", kMaxSnapshotFiles);
    }
  }
  std::sort(out.files.begin(), out.files.end());
  std::sort(out.broken.begin(), out.broken.end());
  return out;
}

std::optional<int64_t> free_bytes(const std::string& folder) {
  std::string path = folder;
  for (;;) {
    struct statvfs info{};
    if (::statvfs(path.c_str(), &info) == 0) {
      return static_cast<int64_t>(info.f_bavail) * static_cast<int64_t>(info.f_frsize);
    }
    const std::string parent = parent_path(path);
    if (errno != ENOENT || parent == path) return std::nullopt;
    path = parent;
  }
}

}  // namespace pagoda::hub
