// A hub for tests: the API, resolve with redirects of large files to a second host, ranges, refusals, and faults on demand.
#pragma once

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
