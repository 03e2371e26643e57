// The steps of a push, in order.
#include "hub/push.h"

#include <algorithm>
#include <cctype>
#include <exception>
#include <filesystem>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "hub/api.h"
#include "hub/digest.h"
#include "hub/http.h"
#include "hub/repo_id.h"
#include "hub/select.h"

namespace pagoda::hub {

namespace {

namespace fs = std::filesystem;

constexpr size_t kSampleBytes = 512;
constexpr size_t kFilesARequest = 256;
constexpr int64_t kMaxAnswerBytes = 32 << 20;
constexpr int64_t kMaxRegularBytes = 64 << 20;  // the hub stores larger ones by LFS
constexpr int kAnswerSeconds = 120;             // the hub may think so long about a commit, the store about a file's end
constexpr size_t kMaxFiles = 100'000;
constexpr const char* kReadMe = "README.md";

class TextBody : public BodySource {
 public:
  explicit TextBody(std::string text) : text_(std::move(text)) {}
  int64_t size() const override { return static_cast<int64_t>(text_.size()); }
  size_t read(char* data, size_t size) override {
    const size_t count = std::min(size, text_.size() - at_);
    std::copy_n(text_.data() + at_, count, data);
    at_ += count;
    return count;
  }
  void rewind() override { at_ = 0; }

 private:
  std::string text_;
  size_t at_ = 0;
};

// What is counted as sent; taken back where a part is sent again.
using Counter = std::function<void(int64_t bytes)>;

class SliceBody : public BodySource {
 public:
  SliceBody(std::shared_ptr<MappedFile> file, int64_t begin, int64_t size, Counter count)
      : file_(std::move(file)), begin_(begin), size_(size), count_(std::move(count)) {}
  int64_t size() const override { return size_; }
  size_t read(char* data, size_t size) override {
    const auto count = std::min<int64_t>(static_cast<int64_t>(size), size_ - at_);
    std::copy_n(file_->data() + begin_ + at_, count, data);
    at_ += count;
    count_(count);
    return static_cast<size_t>(count);
  }
  void rewind() override {
    count_(-at_);
    at_ = 0;
  }

 private:
  std::shared_ptr<MappedFile> file_;
  int64_t begin_, size_, at_ = 0;
  Counter count_;
};

struct LocalFile {
  std::string name;  // in the repository
  std::string path;  // empty: `text`
  std::string text;
  int64_t size = 0;
  UploadMode mode;
  std::string sha256;  // of LFS files
  std::string content(int64_t max_bytes) const { return path.empty() ? text : read_file(path, max_bytes); }
};

bool left_out(const std::string& name) {
  if (name.ends_with(".pagoda")) return true;  // compiled for one machine, from the weights that are beside it
  for (const char* folder : {".git/", ".cache/"}) {
    if (name.rfind(folder, 0) == 0) return true;
  }
  const size_t slash = name.find('/');
  if (slash == std::string::npos || name.rfind("checkpoint-", 0) != 0) return false;
  return std::all_of(name.begin() + 11, name.begin() + static_cast<int64_t>(slash),
                     [](unsigned char c) { return std::isdigit(c) != 0; });
}

std::vector<LocalFile> local_files(const std::string& folder, const PushOptions& options) {
  if (!directory_exists(folder)) not_found(folder, "no such folder: need one with a model's files");
  std::vector<LocalFile> files;
  std::error_code error;
  fs::recursive_directory_iterator walk(folder, error), end;
  for (; !error && walk != end; walk.increment(error)) {
    std::error_code unknown;
    const bool link = walk->is_symlink(unknown), leads_nowhere = link && !fs::exists(walk->path(), unknown);
    const bool to_folder = link && fs::is_directory(walk->path(), unknown);  // what is behind it is not walked through
    if (!leads_nowhere && !to_folder && !walk->is_regular_file(unknown)) continue;
    LocalFile file;
    file.path = walk->path().string();
    file.name = walk->path().lexically_relative(folder).generic_string() + (to_folder ? "/" : "");
    if (left_out(file.name) || !glob_keep(file.name, options.include, options.exclude)) continue;
    if (to_folder) {
      invalid(folder, "a link to a folder, whose files are not taken: got '{}', need the folder itself, or --exclude it",
              file.name);
    }
    if (!utf8_valid(file.name) || !is_safe_relative_path(file.name)) {
      invalid(folder, "bad file name: got '{}', need UTF-8", utf8_replace_invalid(file.name));
    }
    if (leads_nowhere) {
      invalid(folder, "a link that leads nowhere: got '{}', need what it is a link to, or --exclude it", file.name);
    }
    file.size = file_size(file.path);
    files.push_back(std::move(file));
    if (files.size() > kMaxFiles) invalid(folder, "too many files: got over {}, need fewer", kMaxFiles);
  }
  if (error) fail(ErrorKind::kDevice, folder, "cannot list: {}", error.message());
  if (files.empty()) invalid(folder, "nothing to push: got no file that the patterns keep, need at least 1");
  std::sort(files.begin(), files.end(), [](const LocalFile& a, const LocalFile& b) { return a.name < b.name; });
  return files;
}

std::string sha256_of_file(const std::string& path, const std::function<bool()>& should_stop) {
  const auto file = MappedFile::open(path);
  Digest digest(Digest::Kind::kSha256);
  constexpr int64_t kPiece = 8 << 20;
  for (int64_t at = 0; at < file->size(); at += kPiece) {
    if (should_stop()) fail(ErrorKind::kDevice, path, "interrupted: push again to go on");
    digest.update(file->data() + at, static_cast<size_t>(std::min(kPiece, file->size() - at)));
  }
  return digest.hex();
}

std::string message_of(const HttpResult& result) {
  std::string text(header(result.headers, "x-error-message"));
  if (text.empty()) {
    try {
      text = Json::parse(result.body, "answer").get_string("error", "", "answer");
    } catch (const Error&) {
      text.clear();
    }
  }
  text.resize(std::min<size_t>(text.size(), 300));
  std::replace_if(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c >= 0x7F; }, '?');
  return text;
}

[[noreturn]] void fail_push(const HttpResult& result, const HubConfig& config, const std::string& name,
                            const std::string& what) {
  const std::string message = message_of(result);
  if (result.transport_error == "interrupted") {
    fail(ErrorKind::kDevice, name, "interrupted: large files that came through stay there, push again to go on");
  }
  if (result.transport_error.empty()) {
    if (result.status == 401 || result.status == 403) {
      invalid(name, "{}: the hub refuses the token: got HTTP {} '{}', need a token with the right to write there (HF_TOKEN)",
              what, result.status, message);
    }
    if (result.status == 412) invalid(name, "{}: the revision has moved: got HTTP 412 '{}', push again", what, message);
    if (result.status == 400 || result.status == 413 || result.status == 422) {
      invalid(name, "{}: refused: got HTTP {} '{}', need what the hub accepts", what, result.status, message);
    }
  }
  fail_http(result, config, name, what);
}

class Pushing {
 public:
  Pushing(std::string name, const PushOptions& options)
      : name_(std::move(name)),
        options_(options),
        config_(hub_config_from_environment()),
        should_stop_([cancel = options.cancel] { return cancel != nullptr && cancel->load(std::memory_order_relaxed); }) {
    if (options.endpoint) set_endpoint(config_, *options.endpoint);
    if (options.token) config_.token = checked_token(*options.token, "token");
    if (config_.offline) invalid(name_, "the hub is switched off: got HF_HUB_OFFLINE=1, need it unset to push");
    if (config_.token.empty()) invalid(name_, "no token: need one with the right to write, in HF_TOKEN or --token");
  }

  PushResult run(const std::string& folder) {
    files_ = local_files(folder, options_);
    HttpClient client(config_, should_stop_);
    create_repository(client);
    if (!options_.create_pr) make_branch(client);
    add_model_card();
    ask_modes(client);
    drop_unchanged();
    upload_large(client);
    return files_.empty() ? unchanged(client) : commit(client);
  }

 private:
  Backoff backoff() const { return {options_.attempts, options_.backoff_milliseconds}; }
  std::string api(const std::string& rest) const { return config_.endpoint + "/api/models/" + url_quote(name_, true) + rest; }
  std::string at_revision(const std::string& verb) const { return api("/" + verb + "/" + url_quote(options_.revision, false)); }

  HttpResult post(HttpClient& client, const std::string& url, const std::string& text, const char* type = "application/json",
                  bool again = true) {
    TextBody body(text);
    HttpRequest request;
    request.method = "POST";
    request.url = url;
    request.headers = {{"Content-Type", type}};
    if (std::string_view(type).find("lfs") != std::string_view::npos) request.headers.emplace_back("Accept", type);
    request.body = &body;
    request.silent_seconds = kAnswerSeconds;
    request.max_body_bytes = kMaxAnswerBytes;
    return send(client, request, again);
  }

  // The hub has not begun: it asks for a pause.
  static bool told_to_wait(const HttpResult& result) {
    if (!result.transport_error.empty()) return false;
    return result.status == 429 || (result.status == 503 && !header(result.headers, "retry-after").empty());
  }

  // `again`: also where it is not known whether the hub has done it already.
  HttpResult send(HttpClient& client, const HttpRequest& request, bool again = true) {
    Backoff tries = backoff();
    for (;;) {
      HttpResult result = client.perform(request);
      if (result.ok() || !is_transient(result) || (!again && !told_to_wait(result))) return result;
      if (!tries.again(should_stop_, asked_wait(result))) return result;
    }
  }

  void create_repository(HttpClient& client) {
    const size_t slash = name_.find('/');
    Json body = Json::object();
    body.set("name", slash == std::string::npos ? name_ : name_.substr(slash + 1));
    body.set("organization", slash == std::string::npos ? Json() : Json(name_.substr(0, slash)));
    body.set("type", "model");
    if (options_.private_repo) body.set("visibility", "private");
    const HttpResult result = post(client, config_.endpoint + "/api/repos/create", body.dump());
    if (result.ok() || result.status == 409) return;  // made, or there
    // A token may write to a repository that it may not make.
    if (result.status == 403) {
      HttpRequest info;
      info.url = api("");
      if (send(client, info).ok()) return;
    }
    fail_push(result, config_, name_, "making the repository");
  }

  void make_branch(HttpClient& client) {
    if (options_.revision == "main" || options_.revision.rfind("refs/pr/", 0) == 0) return;
    HttpRequest info;
    info.url = at_revision("revision");
    if (send(client, info).ok()) return;
    const HttpResult result = post(client, at_revision("branch"), "{}");
    if (!result.ok() && result.status != 409) fail_push(result, config_, name_, "making branch " + options_.revision);
  }

  void add_model_card() {
    const bool there = std::any_of(files_.begin(), files_.end(), [](const LocalFile& file) { return file.name == kReadMe; });
    if (!options_.model_card || there) return;
    LocalFile card;
    card.name = kReadMe;
    card.text = *options_.model_card;
    card.size = static_cast<int64_t>(card.text.size());
    files_.push_back(std::move(card));
  }

  void ask_modes(HttpClient& client) {
    for (size_t begin = 0; begin < files_.size(); begin += kFilesARequest) {
      const size_t end = std::min(files_.size(), begin + kFilesARequest);
      Json list = Json::array();
      for (size_t i = begin; i < end; ++i) {
        const LocalFile& file = files_[i];
        const std::string sample = file.path.empty()
                                       ? file.text.substr(0, kSampleBytes)
                                       : std::string(MappedFile::open(file.path)->bytes().substr(0, kSampleBytes));
        Json entry = Json::object();
        entry.set("path", file.name).set("sample", base64(sample)).set("size", file.size);
        list.push_back(std::move(entry));
      }
      Json body = Json::object();
      body.set("files", std::move(list));
      const HttpResult result = post(client, at_revision("preupload") + pull_request_query(), body.dump());
      if (!result.ok()) fail_push(result, config_, name_, "asking how files are stored");
      std::map<std::string, UploadMode> modes;
      for (UploadMode& mode : parse_upload_modes(result.body, name_)) modes[mode.path] = std::move(mode);
      for (size_t i = begin; i < end; ++i) {
        const auto found = modes.find(files_[i].name);
        if (found == modes.end()) invalid(name_, "bad answer of the hub: got no upload mode of {}, need one", files_[i].name);
        files_[i].mode = found->second;
        // The store takes no empty files; a card is text.
        if (files_[i].size == 0 || files_[i].path.empty()) files_[i].mode.lfs = false;
      }
    }
  }

  void drop_unchanged() {
    std::vector<LocalFile> kept;
    for (LocalFile& file : files_) {
      if (file.mode.ignored) continue;
      if (file.path.empty() && !file.mode.oid.empty()) continue;  // the hub has a card: ours is only in place of none
      std::string oid;
      if (file.mode.lfs) {
        file.sha256 = sha256_of_file(file.path, should_stop_);
        oid = file.sha256;
      } else if (file.size > kMaxRegularBytes) {
        invalid(name_, "{} is too large: got {} bytes outside LFS, need at most {}", file.name, file.size, kMaxRegularBytes);
      } else if (!file.mode.oid.empty()) {
        oid = git_blob_hex(file.content(kMaxRegularBytes));
      }
      if (!oid.empty() && oid == file.mode.oid) {
        ++result_.unchanged;
        continue;
      }
      kept.push_back(std::move(file));
    }
    files_ = std::move(kept);
  }

  void upload_large(HttpClient& client) {
    std::map<std::string, const LocalFile*> by_oid;  // the same content twice is sent once
    for (const LocalFile& file : files_) {
      if (file.mode.lfs) by_oid.emplace(file.sha256, &file);
    }
    std::vector<std::pair<const LocalFile*, LfsUpload>> jobs;
    auto next = by_oid.begin();
    while (next != by_oid.end()) {
      Json objects = Json::array();
      for (size_t i = 0; i < kFilesARequest && next != by_oid.end(); ++i, ++next) {
        Json object = Json::object();
        object.set("oid", next->first).set("size", next->second->size);
        objects.push_back(std::move(object));
      }
      Json body = Json::object(), transfers = Json::array();
      transfers.push_back("basic");
      transfers.push_back("multipart");
      body.set("operation", "upload").set("transfers", std::move(transfers));
      const size_t asked = objects.size();
      body.set("objects", std::move(objects)).set("hash_algo", "sha256");
      if (!options_.create_pr) {
        Json ref = Json::object();
        ref.set("name", options_.revision);
        body.set("ref", std::move(ref));
      }
      const HttpResult result = post(client, config_.endpoint + "/" + url_quote(name_, true) + ".git/info/lfs/objects/batch",
                                     body.dump(), "application/vnd.git-lfs+json");
      if (!result.ok()) fail_push(result, config_, name_, "asking where large files go");
      auto uploads = parse_lfs_batch(result.body, name_);
      if (uploads.size() != asked) {
        invalid(name_, "bad answer of the hub: got {} uploads, need {}", uploads.size(), asked);
      }
      for (LfsUpload& upload : uploads) {
        const auto found = by_oid.find(upload.oid);
        if (found == by_oid.end())
          invalid(name_, "bad answer of the hub: got an upload of {}, which is no file here", upload.oid);
        if (upload.needed) jobs.emplace_back(found->second, std::move(upload));
      }
    }
    run_jobs(jobs);
  }

  void run_jobs(const std::vector<std::pair<const LocalFile*, LfsUpload>>& jobs) {
    for (const auto& job : jobs) progress_.total += job.first->size;
    progress_.total_files = static_cast<int>(jobs.size());
    std::atomic<size_t> next{0};
    std::exception_ptr error;
    const auto work = [&] {
      try {
        HttpClient client(config_, [&] { return should_stop_() || failed_; });
        for (size_t i = next++; i < jobs.size(); i = next++) {
          upload(client, *jobs[i].first, jobs[i].second);
          const std::lock_guard<std::mutex> lock(mutex_);
          ++progress_.files;
        }
      } catch (...) {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (!error) error = std::current_exception();
        failed_ = true;
      }
    };
    std::vector<std::thread> threads;
    const size_t count = std::min(jobs.size(), static_cast<size_t>(std::clamp(options_.parallel, 1, 64)));
    try {
      for (size_t i = 1; i < count; ++i) threads.emplace_back(work);
    } catch (const std::system_error&) {
      // Fewer threads do it too.
    }
    if (count > 0) work();
    for (std::thread& thread : threads) thread.join();
    if (error) std::rethrow_exception(error);
  }

  void count(const LocalFile& file, int64_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    progress_.bytes += bytes;
    progress_.file = file.name;
    if (options_.progress && bytes > 0) options_.progress(progress_);
  }

  // The answer's ETag.
  std::string put(HttpClient& client, const LocalFile& file, const std::string& url, int64_t begin, int64_t size) {
    SliceBody body(MappedFile::open(file.path), begin, size, [&](int64_t bytes) { count(file, bytes); });
    HttpRequest request;
    request.method = "PUT";
    request.url = url;
    request.body = &body;
    request.silent_seconds = kAnswerSeconds;
    const HttpResult result = send(client, request);
    if (!result.ok()) fail_push(result, config_, name_, "uploading " + file.name);
    return std::string(header(result.headers, "etag"));
  }

  void upload(HttpClient& client, const LocalFile& file, const LfsUpload& where) {
    if (where.part_size == 0) {
      put(client, file, where.href, 0, file.size);
    } else {
      const int64_t parts = (file.size + where.part_size - 1) / where.part_size;
      if (parts != static_cast<int64_t>(where.parts.size())) {
        invalid(name_, "bad answer of the hub: got {} parts of {} bytes for {}, need {}", where.parts.size(), where.part_size,
                file.name, parts);
      }
      Json done = Json::array();
      for (int64_t part = 0; part < parts; ++part) {
        const int64_t begin = part * where.part_size;
        const std::string etag =
            put(client, file, where.parts[static_cast<size_t>(part)], begin, std::min(where.part_size, file.size - begin));
        if (etag.empty()) invalid(name_, "bad answer of the store: got no ETag for part {} of {}", part + 1, file.name);
        Json entry = Json::object();
        entry.set("partNumber", part + 1).set("etag", etag);
        done.push_back(std::move(entry));
      }
      Json body = Json::object();
      body.set("oid", where.oid).set("parts", std::move(done));
      const HttpResult result = post(client, where.href, body.dump(), "application/vnd.git-lfs+json");
      if (!result.ok()) fail_push(result, config_, name_, "completing " + file.name);
    }
    if (!where.verify_href.empty()) {
      Json body = Json::object();
      body.set("oid", where.oid).set("size", file.size);
      const HttpResult result = post(client, where.verify_href, body.dump());
      if (!result.ok()) fail_push(result, config_, name_, "verifying " + file.name);
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    result_.uploaded_bytes += file.size;
  }

  std::string pull_request_query() const { return options_.create_pr ? "?create_pr=1" : ""; }

  PushResult commit(HttpClient& client) {
    Json head = Json::object(), value = Json::object();
    value.set("summary", options_.commit_message.empty() ? "Upload with pagoda" : options_.commit_message);
    value.set("description", options_.commit_description);
    head.set("key", "header").set("value", std::move(value));
    std::string lines = head.dump() + "\n";
    for (const LocalFile& file : files_) {
      Json line = Json::object(), entry = Json::object();
      if (file.mode.lfs) {
        entry.set("path", file.name).set("algo", "sha256").set("oid", file.sha256).set("size", file.size);
      } else {
        entry.set("content", base64(file.content(kMaxRegularBytes))).set("path", file.name).set("encoding", "base64");
      }
      line.set("key", file.mode.lfs ? "lfsFile" : "file").set("value", std::move(entry));
      lines += line.dump() + "\n";
      result_.files.push_back(file.name);
    }
    const HttpResult result = post(client, at_revision("commit") + pull_request_query(), lines, "application/x-ndjson", false);
    if (!result.ok()) {
      const bool unknown = is_transient(result) && !told_to_wait(result);
      fail_push(result, config_, name_, unknown ? "the commit (it may be there: look before pushing again)" : "the commit");
    }
    const Json answer = Json::parse(result.body, name_);
    result_.url = answer.get_string("commitUrl", config_.endpoint + "/" + name_, name_);
    result_.commit = answer.get_string("commitOid", "", name_);
    result_.pull_request = answer.get_string("pullRequestUrl", "", name_);
    return result_;
  }

  PushResult unchanged(HttpClient& client) {
    result_.url = config_.endpoint + "/" + name_;
    result_.commit = fetch_repo_info(client, config_, name_, options_.revision, backoff(), should_stop_).commit;
    return result_;
  }

  std::string name_;
  const PushOptions& options_;
  HubConfig config_;
  std::function<bool()> should_stop_;
  std::vector<LocalFile> files_;
  PushResult result_;
  PushProgress progress_;
  std::mutex mutex_;
  std::atomic<bool> failed_{false};
};

const std::string& web_address(const Json& json, std::string_view where) {
  const std::string& url = json.as_string(where);
  if (url.rfind("http://", 0) != 0 && url.rfind("https://", 0) != 0) {
    invalid(where, "bad answer of the hub: got address '{}', need http or https", url.substr(0, 200));
  }
  return url;
}

int64_t positive(const Json& json, std::string_view where) {
  int64_t value = 0;
  if (json.is_string()) {  // the hub gives numbers in headers as texts
    for (const char c : json.as_string(where)) {
      if (c < '0' || c > '9' || value > (int64_t{1} << 50)) return 0;
      value = 10 * value + (c - '0');
    }
    return value;
  }
  return json.as_int(where);
}

}  // namespace

std::vector<UploadMode> parse_upload_modes(std::string_view text, std::string_view where, const Limits& limits) {
  const Json json = Json::parse(text, where, limits);
  std::vector<UploadMode> modes;
  for (const Json& entry : json.at("files", where).as_array(where)) {
    UploadMode mode;
    mode.path = entry.at("path", where).as_string(where);
    const std::string& how = entry.at("uploadMode", where).as_string(where);
    if (how != "lfs" && how != "regular") {
      invalid(where, "bad answer of the hub: got upload mode '{}', need lfs or regular", how.substr(0, 80));
    }
    mode.lfs = how == "lfs";
    mode.ignored = entry.get_bool("shouldIgnore", false, where);
    mode.oid = entry.get_string("oid", "", where);
    modes.push_back(std::move(mode));
  }
  return modes;
}

std::vector<LfsUpload> parse_lfs_batch(std::string_view text, std::string_view where, const Limits& limits) {
  const Json json = Json::parse(text, where, limits);
  std::vector<LfsUpload> uploads;
  for (const Json& entry : json.at("objects", where).as_array(where)) {
    LfsUpload upload;
    upload.oid = entry.at("oid", where).as_string(where);
    if (!is_sha256(upload.oid)) {
      invalid(where, "bad answer of the hub: got object '{}', need 64 hexadecimal digits", upload.oid.substr(0, 80));
    }
    if (const Json* error = entry.find("error"); error != nullptr) {
      invalid(where, "the hub refuses a large file: got '{}', need what it accepts",
              error->get_string("message", "an error", where).substr(0, 200));
    }
    const Json* actions = entry.find("actions");
    if (actions != nullptr && !actions->is_null()) {
      upload.needed = true;
      const Json& action = actions->at("upload", where);
      upload.href = web_address(action.at("href", where), where);
      if (const Json* verify = actions->find("verify"); verify != nullptr && !verify->is_null()) {
        upload.verify_href = web_address(verify->at("href", where), where);
      }
      const Json* fields = action.find("header");
      if (const Json* size = fields == nullptr ? nullptr : fields->find("chunk_size"); size != nullptr) {
        upload.part_size = positive(*size, where);
        if (upload.part_size <= 0) invalid(where, "bad answer of the hub: got chunk_size {}, need at least 1", size->dump());
        std::map<int64_t, std::string> parts;
        for (const JsonMember& member : fields->as_object(where)) {
          const int64_t number = positive(Json(member.key), where);
          if (number > 0) parts[number] = web_address(member.value, where);
        }
        for (auto& [number, url] : parts) upload.parts.push_back(std::move(url));
      }
    }
    uploads.push_back(std::move(upload));
  }
  return uploads;
}

PushResult push(const std::string& folder, std::string_view name, const PushOptions& options) {
  const RepoId id = parse_repo_id(name);
  PushOptions chosen = options;
  // The hub would put it under the token's user and go on to call it USER/NAME.
  if (id.name.find('/') == std::string::npos) {
    invalid(name, "whose model it is to be is not said: got '{}', need ORG/NAME or USER/NAME", id.name);
  }
  if (!id.revision.empty()) {
    if (!chosen.revision.empty() && chosen.revision != id.revision) {
      invalid(name, "two revisions: got '{}' in the name and '{}' beside it, need one", id.revision, chosen.revision);
    }
    chosen.revision = id.revision;
  }
  if (chosen.revision.empty()) chosen.revision = "main";
  check_revision(chosen.revision);
  Pushing pushing(id.name, chosen);
  return pushing.run(folder);
}

}  // namespace pagoda::hub
