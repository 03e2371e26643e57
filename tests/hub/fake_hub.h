// A hub for tests: the API, resolve with redirects of large files to a second host, ranges, refusals, and faults on demand.
#pragma once

#include <openssl/evp.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/json.h"
#include "hub/digest.h"
#include "tests/hub/test_server.h"

namespace pagoda::testing {

struct FakeFile {
  std::string bytes;
  bool large = false;  // stored apart: etag is the SHA-256, GET is redirected to the other host
  std::string etag() const { return large ? hub::sha256_hex(bytes) : hub::git_blob_hex(bytes); }
};

struct FakeRepo {
  std::map<std::string, std::string> revisions;                    // branch or tag -> commit
  std::map<std::string, std::map<std::string, FakeFile>> commits;  // commit -> files
  std::string token;                                               // non-empty: others are refused
  bool gated = false;                                              // refused as gated rather than unknown
};

// What goes wrong, counted down by the requests it hits.
struct Faults {
  std::atomic<int> drop{0};  // bodies of files cut after drop_after bytes
  std::atomic<int64_t> drop_after{0};
  std::atomic<int> unavailable{0};  // 503 for any request
  std::atomic<int> too_many{0};     // 429 with Retry-After: 0
  std::atomic<int> stall{0};        // bodies that stop halfway without closing
  std::atomic<int> expired{0};      // 403 by the second host
  std::atomic<int> corrupt{0};      // one byte changed
  std::atomic<bool> ignore_range{false};
  std::atomic<bool> wrong_range{false};
  std::atomic<bool> extra_bytes{false};  // more than was announced by the listing
  std::atomic<int> lose_put{0};          // uploads whose connection breaks before the answer
  std::atomic<int> no_commit{0};         // 500 for commits
  std::atomic<int64_t> part_size{0};     // > 0: larger files are uploaded in parts
  std::atomic<bool> no_blobs{false};     // the listing tells neither sizes nor checksums
  static bool take(std::atomic<int>& count) {
    int now = count.load();
    while (now > 0 && !count.compare_exchange_weak(now, now - 1)) {
    }
    return now > 0;
  }
};

class FakeHub {
 public:
  explicit FakeHub(const TestCertificate* tls = nullptr)
      : store_([this](const Request& r, Connection& c) { return serve_store(r, c); }, tls),
        hub_([this](const Request& r, Connection& c) { return serve_hub(r, c); }, tls) {}

  std::map<std::string, FakeRepo> repos;
  Faults faults;
  std::function<bool(const Request&, Connection&)> override_hub;  // true: it has answered
  std::string listing_override;                                   // JSON for every listing when not empty

  std::string write_token = "hf_write";  // of pushes
  std::string last_message;              // of a commit

  std::string url() const { return hub_.url(); }
  // Lines "hub GET /path", "store GET /path" with " range" and " auth" where the request had such a header.
  std::vector<std::string> log() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return log_;
  }
  int count(const std::string& part) const {
    const auto lines = log();
    return static_cast<int>(
        std::count_if(lines.begin(), lines.end(), [&](const auto& line) { return line.find(part) != std::string::npos; }));
  }
  void clear_log() {
    const std::lock_guard<std::mutex> lock(mutex_);
    log_.clear();
  }

 private:
  using Headers = std::map<std::string, std::string>;

  static std::string unquote(const std::string& text) {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '%' && i + 2 < text.size()) {
        out += static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16));
        i += 2;
      } else {
        out += text[i];
      }
    }
    return out;
  }

  void note(const char* host, const Request& request) {
    const std::lock_guard<std::mutex> lock(mutex_);
    log_.push_back(std::string(host) + " " + request.method + " " + request.path +
                   (request.header("range").empty() ? "" : " range") +
                   (request.header("authorization").empty() ? "" : " auth"));
  }

  bool refuse(Connection& connection, int status, const std::string& code, const std::string& message) {
    return connection.answer(status, {{"X-Error-Code", code}, {"X-Error-Message", message}}, R"({"error":")" + message + "\"}");
  }

  bool serve_hub(const Request& asked, Connection& connection) {
    Request request = asked;
    if (request.path.rfind("http://", 0) == 0) {  // asked as a proxy
      note("proxy", request);
      request.path.erase(0, request.path.find('/', 7));
    }
    note("hub", request);
    if (override_hub && override_hub(request, connection)) return true;
    if (Faults::take(faults.unavailable)) return connection.answer(503, {}, "busy");
    if (request.method == "POST") return serve_push(request, connection);
    if (Faults::take(faults.too_many)) return connection.answer(429, {{"Retry-After", "0"}}, "slow down");
    const bool api = request.path.rfind("/api/models/", 0) == 0;
    const std::string rest = request.path.substr(api ? 12 : 1);
    const std::string mark = api ? "/revision/" : "/resolve/";
    const size_t split = rest.find(mark);
    if (split == std::string::npos) return refuse(connection, 404, "", "no route");
    const std::string name = rest.substr(0, split);
    std::string revision = rest.substr(split + mark.size());
    std::string file;
    if (!api) {
      const size_t slash = revision.find('/');
      file = unquote(revision.substr(slash + 1));
      revision.resize(slash);
    }
    revision = unquote(revision);
    const auto found = repos.find(name);
    if (found == repos.end()) return refuse(connection, 401, "", "Repository not found");
    const FakeRepo& repo = found->second;
    if (!repo.token.empty() && request.header("authorization") != "Bearer " + repo.token) {
      if (!request.header("authorization").empty()) {
        return refuse(connection, 401, "", "Invalid credentials in Authorization header");
      }
      if (repo.gated) return refuse(connection, 401, "GatedRepo", "Access to model is restricted");
      return refuse(connection, 401, "RepoNotFound", "Repository not found");
    }
    const auto branch = repo.revisions.find(revision);
    const std::string commit = branch != repo.revisions.end() ? branch->second : revision;
    const auto files = repo.commits.find(commit);
    if (files == repo.commits.end()) return refuse(connection, 404, "RevisionNotFound", "Invalid rev id: " + revision);
    if (api) return connection.answer(200, {{"Content-Type", "application/json"}}, listing(commit, files->second));
    const auto entry = files->second.find(file);
    if (entry == files->second.end()) return refuse(connection, 404, "EntryNotFound", "Entry not found");
    Headers headers = {{"X-Repo-Commit", commit}};
    if (entry->second.large) {
      headers["X-Linked-Etag"] = "\"" + entry->second.etag() + "\"";
      headers["X-Linked-Size"] = std::to_string(entry->second.bytes.size());
      headers["Location"] = store_.url() + "/" + entry->second.etag() + "?signature=secret";
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        stored_[entry->second.etag()] = entry->second.bytes;
      }
      return connection.answer(302, headers, "");
    }
    headers["ETag"] = "\"" + entry->second.etag() + "\"";
    return body(request, connection, headers, entry->second.bytes);
  }

  bool serve_store(const Request& request, Connection& connection) {
    note("store", request);
    if (request.method == "PUT") return take_upload(request, connection);
    if (Faults::take(faults.expired)) return connection.answer(403, {}, "Request has expired");
    std::string bytes;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      bytes = stored_[request.path.substr(1)];
    }
    return body(request, connection, {}, std::move(bytes));
  }

  bool body(const Request& request, Connection& connection, Headers headers, std::string bytes) {
    if (Faults::take(faults.corrupt) && !bytes.empty()) bytes[bytes.size() / 2] ^= 1;
    if (faults.extra_bytes) bytes += "more";
    int status = 200;
    long long begin = 0;
    const std::string range = request.header("range");
    if (!range.empty() && !faults.ignore_range && std::sscanf(range.c_str(), "bytes=%lld-", &begin) == 1) {
      const std::string total = std::to_string(bytes.size());
      if (begin >= static_cast<long long>(bytes.size()))
        return connection.answer(416, {{"Content-Range", "bytes */" + total}}, "");
      status = 206;
      headers["Content-Range"] = "bytes " + std::to_string(begin + (faults.wrong_range ? 1 : 0)) + "-" +
                                 std::to_string(bytes.size() - 1) + "/" + total;
      bytes.erase(0, static_cast<size_t>(begin));
    }
    headers["Content-Length"] = std::to_string(bytes.size());
    const bool head = request.method == "HEAD";
    if (!head && Faults::take(faults.drop)) {
      connection.answer(status, headers, bytes.substr(0, static_cast<size_t>(faults.drop_after.load())));
      return false;
    }
    if (!head && Faults::take(faults.stall)) {
      connection.answer(status, headers, bytes.substr(0, bytes.size() / 2));
      connection.stall(20'000);
      return false;
    }
    return connection.answer(status, headers, bytes, head);
  }

  // ---- pushes

  static Json read(const Request& request) { return Json::parse(request.body, "request"); }
  static bool answer_json(Connection& connection, const Json& json, int status = 200) {
    return connection.answer(status, {{"Content-Type", "application/json"}}, json.dump());
  }

  bool serve_push(const Request& request, Connection& connection) {
    if (request.header("authorization") != "Bearer " + write_token) {
      return connection.answer(401, {{"X-Error-Message", "Invalid credentials in Authorization header"}}, "");
    }
    if (request.path == "/api/repos/create") return create(read(request), connection);
    if (const size_t end = request.path.find(".git/info/lfs/objects/batch"); end != std::string::npos) {
      return batch(read(request), connection);
    }
    if (request.path.rfind("/complete/", 0) == 0) return complete(request, connection);
    if (request.path.rfind("/verify/", 0) == 0) {
      const std::lock_guard<std::mutex> lock(mutex_);
      return connection.answer(stored_.count(request.path.substr(8)) > 0 ? 200 : 404, {}, "");
    }
    for (const char* verb : {"/preupload/", "/commit/", "/branch/"}) {
      const size_t split = request.path.find(verb);
      if (split == std::string::npos) continue;
      const auto found = repos.find(request.path.substr(12, split - 12));
      if (found == repos.end()) return refuse(connection, 404, "RepoNotFound", "Repository not found");
      FakeRepo& repo = found->second;
      const std::string revision = unquote(request.path.substr(split + std::string(verb).size()));
      if (std::string(verb) == "/branch/") {
        repo.revisions[revision] = repo.revisions["main"];
        return answer_json(connection, Json::object());
      }
      if (repo.revisions.count(revision) == 0) return refuse(connection, 404, "RevisionNotFound", "Invalid rev id");
      return std::string(verb) == "/commit/" ? commit(request, repo, revision, connection)
                                             : preupload(read(request), repo, revision, connection);
    }
    return refuse(connection, 404, "", "no route");
  }

  bool create(const Json& body, Connection& connection) {
    const std::string name = body.at("organization", "create").as_string("o") + "/" + body.at("name", "create").as_string("n");
    if (repos.count(name) > 0) return refuse(connection, 409, "", "You already created this model repo");
    FakeRepo& repo = repos[name];
    if (body.get_string("visibility", "public", "create") == "private") repo.token = write_token;
    repo.revisions["main"] = std::string(40, '1');
    repo.commits[std::string(40, '1')] = {{".gitattributes", {"*.bin filter=lfs\n"}}};
    Json out = Json::object();
    out.set("url", url() + "/" + name);
    return answer_json(connection, out);
  }

  bool preupload(const Json& body, const FakeRepo& repo, const std::string& revision, Connection& connection) {
    Json files = Json::array();
    const auto& known = repo.commits.at(repo.revisions.at(revision));
    for (const Json& file : body.at("files", "preupload").as_array("files")) {
      const std::string path = file.at("path", "preupload").as_string("path");
      Json entry = Json::object();
      entry.set("path", path).set("shouldIgnore", path == "ignored.txt");
      entry.set("uploadMode", path.find(".safetensors") != std::string::npos ? "lfs" : "regular");
      const auto found = known.find(path);
      if (found != known.end()) entry.set("oid", found->second.etag());
      files.push_back(entry);
    }
    Json out = Json::object();
    out.set("files", files);
    return answer_json(connection, out);
  }

  bool batch(const Json& body, Connection& connection) {
    Json objects = Json::array();
    for (const Json& object : body.at("objects", "batch").as_array("objects")) {
      const std::string oid = object.at("oid", "batch").as_string("oid");
      const int64_t size = object.at("size", "batch").as_int("size"), part = faults.part_size;
      Json entry = Json::object(), upload = Json::object(), verify = Json::object(), actions = Json::object();
      entry.set("oid", oid).set("size", size);
      const std::lock_guard<std::mutex> lock(mutex_);
      if (stored_.count(oid) == 0) {
        const bool parts = part > 0 && size > part;
        upload.set("href", parts ? url() + "/complete/" + oid : store_.url() + "/" + oid + "?signature=secret");
        if (parts) {
          Json fields = Json::object();
          fields.set("chunk_size", std::to_string(part));
          for (int64_t i = 0; i * part < size; ++i) {
            fields.set(std::to_string(i + 1), store_.url() + "/" + oid + "." + std::to_string(i + 1) + "?signature=secret");
          }
          upload.set("header", fields);
        }
        verify.set("href", url() + "/verify/" + oid);
        actions.set("upload", upload).set("verify", verify);
        entry.set("actions", actions);
      }
      objects.push_back(entry);
    }
    Json out = Json::object();
    out.set("transfer", "basic").set("objects", objects);
    return answer_json(connection, out);
  }

  bool take_upload(const Request& request, Connection& connection) {
    if (request.query != "signature=secret" || !request.header("authorization").empty()) return connection.answer(403, {}, "");
    if (Faults::take(faults.lose_put)) return false;
    const std::lock_guard<std::mutex> lock(mutex_);
    stored_[request.path.substr(1)] = request.body;
    return connection.answer(200, {{"ETag", "\"" + request.path.substr(request.path.size() - 1) + "\""}}, "");
  }

  bool complete(const Request& request, Connection& connection) {
    const std::string oid = request.path.substr(10);
    const Json body = read(request);
    std::string whole;
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const Json& part : body.at("parts", "complete").as_array("parts")) {
      const std::string number = std::to_string(part.at("partNumber", "complete").as_int("number"));
      if (part.at("etag", "complete").as_string("etag") != "\"" + number.substr(number.size() - 1) + "\"")
        return connection.answer(400, {}, "");
      whole += stored_[oid + "." + number];
    }
    if (hub::sha256_hex(whole) != oid) return connection.answer(400, {}, "wrong content");
    stored_[oid] = whole;
    return connection.answer(200, {}, "{}");
  }

  static std::string unbase64(const std::string& text) {
    std::string out(text.size(), '\0');
    int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                               reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
    for (size_t i = text.size(); i > 0 && text[i - 1] == '='; --i) --size;
    out.resize(static_cast<size_t>(std::max(size, 0)));
    return out;
  }

  bool commit(const Request& request, FakeRepo& repo, const std::string& revision, Connection& connection) {
    if (Faults::take(faults.no_commit)) return connection.answer(500, {}, "");
    auto files = repo.commits.at(repo.revisions.at(revision));
    for (size_t begin = 0; begin < request.body.size();) {
      const size_t end = request.body.find('\n', begin);
      const Json line = Json::parse(request.body.substr(begin, end - begin), "commit");
      begin = end + 1;
      const std::string key = line.at("key", "commit").as_string("key");
      const Json& value = line.at("value", "commit");
      if (key == "header") {
        last_message = value.at("summary", "commit").as_string("summary");
      } else if (key == "file") {
        files[value.at("path", "commit").as_string("path")] = {unbase64(value.at("content", "commit").as_string("content")),
                                                               false};
      } else {
        const std::lock_guard<std::mutex> lock(mutex_);
        const auto found = stored_.find(value.at("oid", "commit").as_string("oid"));
        if (found == stored_.end()) return refuse(connection, 400, "", "LFS object is missing");
        files[value.at("path", "commit").as_string("path")] = {found->second, true};
      }
    }
    const std::string id = hub::git_blob_hex(request.body);
    Json out = Json::object();
    const bool pull_request = request.query == "create_pr=1";
    repo.commits[id] = files;
    repo.revisions[pull_request ? "refs/pr/1" : revision] = id;
    out.set("commitUrl", url() + "/commit/" + id).set("commitOid", id);
    if (pull_request) out.set("pullRequestUrl", url() + "/discussions/1");
    return answer_json(connection, out);
  }

  std::string listing(const std::string& commit, const std::map<std::string, FakeFile>& files) const {
    if (!listing_override.empty()) return listing_override;
    Json siblings = Json::array();
    for (const auto& [name, file] : files) {
      Json entry = Json::object();
      entry.set("rfilename", name);
      if (!faults.no_blobs) {
        entry.set("size", static_cast<int64_t>(file.bytes.size()));
        entry.set("blobId", hub::git_blob_hex(file.large ? "pointer " + file.etag() : file.bytes));
        if (file.large) {
          Json lfs = Json::object();
          lfs.set("sha256", file.etag());
          lfs.set("size", static_cast<int64_t>(file.bytes.size()));
          lfs.set("pointerSize", int64_t{134});
          entry.set("lfs", lfs);
        }
      }
      siblings.push_back(entry);
    }
    Json info = Json::object();
    info.set("sha", commit);
    info.set("siblings", siblings);
    return info.dump();
  }

  mutable std::mutex mutex_;
  std::vector<std::string> log_;
  std::map<std::string, std::string> stored_;
  TestServer store_;
  TestServer hub_;
};

}  // namespace pagoda::testing
