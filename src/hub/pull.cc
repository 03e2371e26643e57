// Plans a pull (listing, choice of files, space), runs it on a few threads, and reads the cache when offline.
#include "hub/pull.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "base/checked.h"
#include "base/error.h"
#include "base/file.h"
#include "hub/api.h"
#include "hub/cache.h"
#include "hub/download.h"
#include "hub/lock.h"
#include "hub/repo_id.h"
#include "hub/select.h"

namespace pagoda::hub {

namespace {

constexpr int64_t kMaxIndexBytes = 64 << 20;
constexpr int64_t kSpareBytes = 16 << 20;  // left free on the disk for directories, links and others
constexpr size_t kMaxNameBytes = 1024;
constexpr size_t kMaxPartBytes = 255;

struct Target {
  RepoId id;
  HubConfig config;
};

Target make_target(std::string_view name, const PullOptions& options) {
  Target target;
  target.id = parse_repo_id(name);
  if (!options.revision.empty()) {
    check_revision(options.revision);
    if (!target.id.revision.empty() && target.id.revision != options.revision) {
      invalid(name, "two revisions: got '{}' in the name and '{}' beside it, need one", target.id.revision, options.revision);
    }
    target.id.revision = options.revision;
  }
  if (target.id.revision.empty()) target.id.revision = "main";
  if (options.parallel < 1 || options.parallel > 64) invalid("pull", "parallel: got {}, need 1 to 64", options.parallel);
  target.config = hub_config_from_environment();
  if (options.endpoint) set_endpoint(target.config, *options.endpoint);
  if (options.cache_folder) target.config.cache_folder = *options.cache_folder;
  if (options.token) target.config.token = checked_token(*options.token, "token");
  if (options.offline) target.config.offline = *options.offline;
  return target;
}

bool is_placeable(std::string_view name) {
  if (name.size() > kMaxNameBytes || !is_safe_relative_path(name)) return false;
  for (size_t begin = 0; begin < name.size();) {
    const size_t end = std::min(name.find('/', begin), name.size());
    if (end - begin > kMaxPartBytes) return false;
    begin = end + 1;
  }
  return std::none_of(name.begin(), name.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; });
}

std::string join(const std::vector<std::string>& names, size_t at_most) {
  std::string out;
  for (size_t i = 0; i < names.size() && i < at_most; ++i) out += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > at_most) out += ", ... (" + std::to_string(names.size() - at_most) + " more)";
  return out;
}

// A pattern that can only mean one file.
bool is_literal(std::string_view pattern) {
  return !pattern.empty() && pattern.back() != '/' && pattern.find_first_of("*?[") == std::string_view::npos;
}

// What is wanted of a listing.
struct Choice {
  std::vector<std::string> files;
  std::string index;  // to be read for more names; empty: `files` is all
};

// `weights`: the entry that is taken, where it is known; empty: the first that there is.
Choice choose(const std::vector<std::string>& names, const PullOptions& options, const std::string& weights = "") {
  Choice choice;
  if (!options.include.empty()) {
    for (const auto& name : names) {
      if (glob_keep(name, options.include, options.exclude)) choice.files.push_back(name);
    }
    return choice;
  }
  const std::string entry = !options.weights ? "" : !weights.empty() ? weights : weights_entry(names);
  for (const auto& name : names) {
    if (is_needed_file(name, entry) && glob_keep(name, {}, options.exclude)) choice.files.push_back(name);
  }
  if (options.weights && entry.empty()) {
    for (const auto& name : loose_weights(names)) {
      if (glob_keep(name, {}, options.exclude)) choice.files.push_back(name);
    }
  }
  const bool is_index = entry.size() > 11 && entry.substr(entry.size() - 11) == ".index.json";
  if (is_index && glob_keep(entry, {}, options.exclude)) choice.index = entry;
  return choice;
}

// Shards beside their index; `index` lies at the root.
std::vector<std::string> chosen_shards(const std::string& index_path, const PullOptions& options) {
  std::vector<std::string> shards = shards_of_index(read_file(index_path, kMaxIndexBytes), index_path);
  shards.erase(std::remove_if(shards.begin(), shards.end(),
                              [&](const std::string& shard) { return !glob_keep(shard, {}, options.exclude); }),
               shards.end());
  return shards;
}

// State of one pull that its threads share.
class Pull {
 public:
  // weights: the entry of those that are there already; empty: what the hub has first.
  Pull(const Target& target, const PullOptions& options, std::string weights = "")
      : target_(target), options_(options), weights_(std::move(weights)), cache_(target.config.cache_folder, target.id.name) {}

  bool stopped() const { return stop_.load() || stopped_by_caller(); }
  bool stopped_by_caller() const { return options_.cancel != nullptr && options_.cancel->load(); }
  bool started() const { return !commit_.empty(); }  // the hub has answered
  const std::string& name() const { return target_.id.name; }

  PullResult run(bool may_fall_back) {
    const auto should_stop = [this] { return stopped(); };
    HttpClient client(target_.config, should_stop);
    // With a snapshot at hand to fall back on, nobody should wait long for a hub that does not answer.
    const Backoff backoff(may_fall_back ? std::min(options_.attempts, 1) : options_.attempts, options_.backoff_milliseconds);
    const RepoInfo info = fetch_repo_info(client, target_.config, name(), target_.id.revision, backoff, should_stop);
    if (is_commit(target_.id.revision) && info.commit != target_.id.revision) {
      invalid(name(), "the hub answers for another commit: got {}, need {}", info.commit, target_.id.revision);
    }
    commit_ = info.commit;
    std::vector<std::string> names;
    for (const auto& file : info.files) {
      if (!listing_.emplace(file.name, file).second) invalid(name(), "bad answer of the hub: {} is listed twice", file.name);
    }
    for (const auto& [file_name, file] : listing_) names.push_back(file_name);
    const Choice choice = choose(names, options_, weights_);
    check_choice(names, choice);
    cache_.prepare(commit_);
    cache_.write_listing(commit_, names);
    fetch(choice.files, client);
    if (!choice.index.empty()) fetch(chosen_shards(cache_.snapshot_path(commit_, choice.index), options_), client);
    cache_.write_ref(target_.id.revision, commit_);
    PullResult result;
    result.folder = cache_.snapshot_folder(commit_);
    result.commit = commit_;
    result.files = {done_.begin(), done_.end()};
    result.downloaded_bytes = downloaded_;
    return result;
  }

 private:
  void check_choice(const std::vector<std::string>& names, const Choice& choice) const {
    for (const auto& pattern : options_.include) {
      if (!is_literal(pattern) || listing_.count(pattern) != 0 || !is_placeable(pattern)) continue;
      cache_.mark_missing(commit_, pattern);
      not_found(name(), "no such file: got '{}', need for example one of {}", pattern, join(names, 8));
    }
    if (!choice.files.empty()) return;
    if (!options_.include.empty()) {
      not_found(name(), "no file matches: got include '{}' among {} files, need for example one of {}",
                join(options_.include, 5), names.size(), join(names, 8));
    }
    std::vector<std::string> gguf;
    for (const auto& file : names) {
      if (file.size() > 5 && file.substr(file.size() - 5) == ".gguf") gguf.push_back(file);
    }
    if (!gguf.empty()) {
      invalid(name(), "only GGUF files, which one is not said: got {}, need --include with one of them", join(gguf, 12));
    }
    not_found(name(), "nothing that Pagoda reads: got {}, need config.json and model.safetensors", join(names, 8));
  }

  // Downloads what is missing of these names; returns when all are in the snapshot.
  void fetch(const std::vector<std::string>& names, HttpClient& client) {
    const auto should_stop = [this] { return stopped(); };
    std::vector<RepoFile> open;
    int64_t missing_bytes = 0;
    std::set<std::string> blobs;
    for (const auto& file_name : names) {
      if (done_.count(file_name) != 0) continue;
      const auto entry = listing_.find(file_name);
      if (entry == listing_.end()) not_found(name(), "the index names a shard that the hub does not have: got '{}'", file_name);
      if (!is_placeable(file_name)) {
        invalid(name(), "unsafe file name in the hub's answer: got '{}', need a path inside the model", file_name);
      }
      RepoFile& file = entry->second;
      if (file.etag.empty() || file.size < 0) {
        const std::string etag = file.etag;
        file = fetch_file_info(client, target_.config, name(), commit_, file_name,
                               Backoff(options_.attempts, options_.backoff_milliseconds), should_stop);
        if (!etag.empty()) file.etag = etag;
      }
      ++total_files_;
      total_bytes_ = checked_add(total_bytes_, std::max<int64_t>(file.size, 0), name());
      if (!options_.force && is_present(file)) {
        count(file_name, std::max<int64_t>(file.size, 0), false);
        finish(file_name);
        continue;
      }
      if (blobs.insert(file.etag).second) {
        const std::string partial = cache_.incomplete_path(file.etag);
        const int64_t have = !file_exists(partial) ? 0 : std::min(file_size(partial), std::max<int64_t>(file.size, 0));
        if (!file_exists(cache_.blob_path(file.etag)) || options_.force) {
          missing_bytes = checked_add(missing_bytes, std::max<int64_t>(file.size, 0) - have, name());
        }
      }
      open.push_back(file);
    }
    if (const auto free = free_bytes(target_.config.cache_folder);
        free && missing_bytes > 0 && missing_bytes > *free - kSpareBytes) {
      fail(ErrorKind::kDevice, name(), "not enough space in {}: got {} bytes free, need {} (HF_HOME names another place)",
           target_.config.cache_folder, *free, checked_add(missing_bytes, kSpareBytes, name()));
    }
    // Large files first: they decide how long it takes.
    std::sort(open.begin(), open.end(),
              [](const RepoFile& a, const RepoFile& b) { return a.size != b.size ? a.size > b.size : a.name < b.name; });
    run_workers(open);
  }

  // In the snapshot with the right size (a commit's files never change, so its name stands for its content).
  bool is_present(const RepoFile& file) const {
    const std::string path = cache_.snapshot_path(commit_, file.name);
    return file_exists(path) && (file.size < 0 || file_size(path) == file.size);
  }

  void run_workers(const std::vector<RepoFile>& files) {
    std::atomic<size_t> next{0};
    const auto work = [&] {
      try {
        HttpClient client(target_.config, [this] { return stopped(); });
        for (size_t i = next++; i < files.size() && !stopped(); i = next++) fetch_one(client, files[i]);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (!error_) error_ = std::current_exception();  // later ones only say that the first stopped them
        stop_ = true;
      }
    };
    std::vector<std::thread> threads;
    const size_t wanted = std::min<size_t>(static_cast<size_t>(options_.parallel), files.size());
    try {
      for (size_t i = 1; i < wanted; ++i) threads.emplace_back(work);
    } catch (const std::system_error&) {
      // Fewer threads do it too.
    }
    work();
    for (auto& thread : threads) thread.join();
    if (error_) std::rethrow_exception(error_);
    if (stopped()) fail(ErrorKind::kDevice, name(), "interrupted: finished parts are kept, the next pull goes on from them");
  }

  void fetch_one(HttpClient& client, const RepoFile& file) {
    DownloadJob job;
    job.url = file_url(target_.config, name(), commit_, file.name);
    job.name = file.name;
    job.etag = file.etag;
    job.size = file.size;
    job.force = options_.force;
    const auto should_stop = [this] { return stopped(); };
    // Until the file is in the snapshot: without links the blob may be moved there, and another file of the same content waits.
    const FileLock lock(cache_.lock_path(file.etag), should_stop);
    const bool is_new =
        download_blob(client, target_.config, name(), cache_, job, Backoff(options_.attempts, options_.backoff_milliseconds),
                      should_stop, [&](int64_t bytes, bool fresh) { count(file.name, bytes, fresh); });
    cache_.publish(commit_, file.name, file.etag, target_.config.symlinks, is_new);
    finish(file.name);
  }

  void count(const std::string& file, int64_t bytes, bool fresh) {
    const std::lock_guard<std::mutex> lock(mutex_);
    bytes_ += bytes;
    if (fresh) downloaded_ += bytes;
    const auto now = std::chrono::steady_clock::now();
    if (now - reported_ < std::chrono::milliseconds(50)) return;
    reported_ = now;
    report(file);
  }

  void finish(const std::string& file) {
    const std::lock_guard<std::mutex> lock(mutex_);
    done_.insert(file);
    report(file);
  }

  void report(const std::string& file) const {
    if (!options_.progress) return;
    PullProgress progress;
    progress.file = file;
    progress.bytes = bytes_;
    progress.total = total_bytes_;
    progress.files = static_cast<int>(done_.size());
    progress.total_files = total_files_;
    options_.progress(progress);
  }

  const Target& target_;
  const PullOptions& options_;
  std::string weights_;
  RepoCache cache_;
  std::string commit_;
  std::map<std::string, RepoFile> listing_;
  std::atomic<bool> stop_{false};
  std::mutex mutex_;  // guards all below while workers run
  std::exception_ptr error_;
  std::set<std::string> done_;
  int64_t bytes_ = 0;
  int64_t downloaded_ = 0;
  int64_t total_bytes_ = 0;
  int total_files_ = 0;
  std::chrono::steady_clock::time_point reported_{};
};

// What of the wanted is not in a cached snapshot; empty `missing`: complete as far as can be told.
struct CacheCheck {
  PullResult result;
  std::vector<std::string> missing;
};

enum class Proof {
  kFiles,    // a configuration and weights will do, unless trees/ says what else the commit holds
  kListing,  // all that is wanted of a listing: other programs leave snapshots that lack what they did not need
};

// The entry of weights that a snapshot has whole where what the commit has first is not there at all: another program took
// pytorch_model.bin, and the same weights are not fetched again as model.safetensors. Empty: none.
std::string weights_at_hand(const RepoCache& cache, const std::string& commit, const std::vector<std::string>& files,
                            const std::vector<std::string>& listed) {
  const auto has = [&](const std::string& file) { return std::binary_search(files.begin(), files.end(), file); };
  const std::string own = weights_entry(files), first = weights_entry(listed);
  if (own.empty() || own == first || has(first)) return {};
  if (!own.ends_with(".index.json")) return own;
  const std::vector<std::string> shards = chosen_shards(cache.snapshot_path(commit, own), {});
  return std::all_of(shards.begin(), shards.end(), has) ? own : std::string();
}

// Nothing when the cache does not know the revision or has no file of it; with kListing, also where there is no listing.
std::optional<CacheCheck> check_cache(const Target& target, const PullOptions& options, Proof proof) {
  const RepoCache cache(target.config.cache_folder, target.id.name);
  const auto commit = cache.find_commit(target.id.revision);
  if (!commit || !directory_exists(cache.snapshot_folder(*commit))) return std::nullopt;
  CacheCheck check;
  check.result.folder = cache.snapshot_folder(*commit);
  check.result.commit = *commit;
  const RepoCache::Snapshot snapshot = cache.snapshot(*commit);
  const auto has = [&](const std::string& file) {
    return std::binary_search(snapshot.files.begin(), snapshot.files.end(), file);
  };
  // The listing says what the commit holds; without one, what is there must do, links that lead nowhere included.
  std::vector<std::string> names = snapshot.files;
  names.insert(names.end(), snapshot.broken.begin(), snapshot.broken.end());
  auto listing = cache.listing(*commit, false);
  if (!listing && proof == Proof::kListing) {
    listing = cache.listing(*commit, true);
    if (!listing) return std::nullopt;
  }
  if (listing) names = *listing;
  const Choice choice = choose(names, options, weights_at_hand(cache, *commit, snapshot.files, names));
  std::vector<std::string> wanted = choice.files;
  if (!choice.index.empty() && has(choice.index)) {
    const auto shards = chosen_shards(cache.snapshot_path(*commit, choice.index), options);
    wanted.insert(wanted.end(), shards.begin(), shards.end());
  }
  for (const auto& file : wanted) (has(file) ? check.result.files : check.missing).push_back(file);
  // Patterns without wildcards name files that must be there.
  for (const auto& pattern : options.include) {
    if (is_literal(pattern) && !has(pattern)) check.missing.push_back(pattern);
  }
  if (!listing && options.include.empty()) {
    const bool tokenizer = std::any_of(snapshot.files.begin(), snapshot.files.end(), is_tokenizer_file);
    if (options.weights) {
      if (!has("config.json") && !has("adapter_config.json")) check.missing.push_back("config.json");
      if (weights_entry(names).empty() && loose_weights(names).empty()) check.missing.push_back("model.safetensors");
    } else if (!tokenizer && !cache.known_missing(*commit, "tokenizer.json")) {
      check.missing.push_back("tokenizer.json");
    }
  }
  std::sort(check.result.files.begin(), check.result.files.end());
  std::sort(check.missing.begin(), check.missing.end());
  check.missing.erase(std::unique(check.missing.begin(), check.missing.end()), check.missing.end());
  if (check.result.files.empty() && check.missing.empty()) return std::nullopt;
  return check;
}

PullResult pull_offline(const Target& target, const PullOptions& options) {
  const auto check = check_cache(target, options, Proof::kFiles);
  if (!check) {
    not_found(target.id.name,
              "not in the cache and offline: got no snapshot of '{}' in {}, need one pull with HF_HUB_OFFLINE=0",
              target.id.revision, target.config.cache_folder);
  }
  if (!check->missing.empty()) {
    not_found(target.id.name, "incomplete in the cache and offline: got no {} in {}, need one pull with HF_HUB_OFFLINE=0",
              join(check->missing, 4), check->result.folder);
  }
  return check->result;
}

// What can be used without the hub. A damaged reference or index counts as nothing: a pull will say so, or mend it.
std::optional<PullResult> complete_in_cache(const Target& target, const PullOptions& options, Proof proof) {
  try {
    const auto check = check_cache(target, options, proof);
    if (check && check->missing.empty()) return check->result;
  } catch (const Error&) {
    // Counts as nothing.
  }
  return std::nullopt;
}

// Falls back on `cached`, where there is one, when the hub does not answer.
PullResult pull_from_hub(const Target& target, const PullOptions& options, std::optional<PullResult> cached) {
  Pull run(target, options);
  try {
    return run.run(cached.has_value());
  } catch (const Error& error) {
    if (!cached || error.kind() != ErrorKind::kDevice || run.stopped_by_caller() || run.started()) throw;
    cached->stale_reason = error.message();
    return *cached;
  }
}

// Asks for what a snapshot of another program lacks. It runs as it is, so that whatever fails (the hub, one file of it, a cache
// that cannot be written, a full disk) changes nothing, and nobody waits long for it.
PullResult complete_snapshot(const Target& target, PullOptions options, PullResult left) {
  options.attempts = std::min(options.attempts, 2);
  Pull run(target, options, weights_entry(left.files));
  try {
    return run.run(true);
  } catch (const Error& error) {
    if (run.stopped_by_caller()) throw;
    left.stale_reason = error.message();
    return left;
  }
}

}  // namespace

PullResult pull(std::string_view name, const PullOptions& options) {
  const Target target = make_target(name, options);
  if (target.config.offline) {
    if (options.force) invalid(name, "force and offline: got both, need one");
    return pull_offline(target, options);
  }
  return pull_from_hub(target, options, options.force ? std::nullopt : complete_in_cache(target, options, Proof::kFiles));
}

std::optional<PullResult> find_cached(std::string_view name, const PullOptions& options) {
  const Target target = make_target(name, options);
  return complete_in_cache(target, options, target.config.offline ? Proof::kFiles : Proof::kListing);
}

std::string resolve_model(const std::string& model, const PullOptions& options) {
  if (file_exists(model) || directory_exists(model)) return model;
  constexpr std::string_view kGguf = ".gguf";
  const bool file = model.size() >= kGguf.size() && model.compare(model.size() - kGguf.size(), kGguf.size(), kGguf) == 0;
  const bool path = file || model.empty() || model[0] == '/' || model[0] == '.' || model[0] == '~' || !is_repo_id(model);
  if (path) {
    not_found(model, "no such model: got neither a file, nor a folder, nor a name of the hub, need one of them (ORG/NAME)");
  }
  if (options.force) return pull(model, options).folder;
  if (const auto cached = find_cached(model, options)) return cached->folder;
  Target target = make_target(model, options);
  const auto left = complete_in_cache(target, options, Proof::kFiles);
  if (!left) return pull(model, options).folder;
  target.id.revision = left->commit;  // what is there is completed, not replaced by what the branch is now
  const PullResult result = complete_snapshot(target, options, *left);
  if (!result.stale_reason.empty() && options.warn) {
    options.warn(model +
                 ": another program left it in the cache, and what it may lack could not be fetched: " + result.stale_reason);
  }
  return result.folder;
}

}  // namespace pagoda::hub
