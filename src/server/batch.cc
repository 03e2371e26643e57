// Lines in, a window of requests under way, lines out in order.
#include "server/batch.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"

namespace pagoda::server {

namespace {

// What is answered and not yet written, by line, and what is to be done for answers under way.
class Finished {
 public:
  struct Line {
    std::string text;
    bool failed = false;
  };
  // Done by who waits for lines: the engine's thread has others to serve. Once nobody waits any more, at once.
  void post(std::function<void()> work) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!closed_) {
        works_.push_back(std::move(work));
        changed_.notify_one();
        return;
      }
    }
    work();
  }
  void close() {
    std::deque<std::function<void()>> works;
    const std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
    works.swap(works_);
  }
  void add(int64_t number, Line line) {
    const std::lock_guard<std::mutex> lock(mutex_);
    lines_[number] = std::move(line);
    changed_.notify_one();
  }
  // The line `number` once it is there; waits a little.
  bool take(int64_t number, std::chrono::milliseconds patience, Line& line) {
    std::unique_lock<std::mutex> lock(mutex_);
    const auto there = [&] { return lines_.find(number) != lines_.end(); };
    const auto until = std::chrono::steady_clock::now() + patience;
    while (!there()) {
      if (!changed_.wait_until(lock, until, [&] { return there() || !works_.empty(); })) return false;
      while (!works_.empty()) {
        std::function<void()> work = std::move(works_.front());
        works_.pop_front();
        lock.unlock();
        work();
        work = nullptr;  // it may hold the last of an answer, which is then added here
        lock.lock();
      }
    }
    line = std::move(lines_[number]);
    lines_.erase(number);
    return true;
  }
  int64_t count() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return static_cast<int64_t>(lines_.size());
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<int64_t, Line> lines_;
  std::deque<std::function<void()>> works_;
  bool closed_ = false;
};

std::string json_text(const Json& value) { return value.dump(); }

Finished::Line error_line(const std::string& id, const Json& custom_id, std::string_view message) {
  Json error = Json::object();
  error.set("code", "invalid_request").set("message", message);
  return {fmt::format(R"({{"id":{},"custom_id":{},"response":null,"error":{}}})", json_text(id), json_text(custom_id),
                      error.dump()),
          true};
}

// Gathers one answer; dropped unanswered it becomes an error.
class BatchResponse : public HttpResponse {
 public:
  BatchResponse(std::shared_ptr<Finished> finished, int64_t number, std::string id, Json custom_id)
      : finished_(std::move(finished)), number_(number), id_(std::move(id)), custom_id_(std::move(custom_id)) {}
  ~BatchResponse() override {
    if (!answered_) finished_->add(number_, error_line(id_, custom_id_, "[batch] the request was dropped"));
  }
  void send(int status, std::string_view, std::string body, const Headers&) override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (answered_) return;
      answered_ = true;
      disconnected_ = nullptr;
    }
    finished_->add(
        number_,
        {fmt::format(R"({{"id":{},"custom_id":{},"response":{{"status_code":{},"request_id":{},"body":{}}},"error":null}})",
                     json_text(id_), json_text(custom_id_), status, json_text(id_), body.empty() ? "null" : body),
         status >= 400});
  }
  void begin(int, std::string_view, const Headers&) override { send(400, "", error_body(400, "[batch] no streams"), {}); }
  bool write(std::string) override { return false; }
  void finish() override {}
  void on_disconnect(std::function<void()> callback) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!answered_) disconnected_ = std::move(callback);
  }
  void post(std::function<void()> work) override { finished_->post(std::move(work)); }
  bool gone() const override { return false; }
  void keep(MemoryLedger::Lease) override {}  // nobody is slow to take it
  int64_t pending_bytes() const override { return 0; }
  void abandon() {
    std::function<void()> callback;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      callback = std::move(disconnected_);
      disconnected_ = nullptr;
      answered_ = true;
    }
    if (callback) callback();
  }

 private:
  std::shared_ptr<Finished> finished_;  // a job may outlive the batch
  int64_t number_;
  std::string id_;
  Json custom_id_;
  std::mutex mutex_;
  bool answered_ = false;
  std::function<void()> disconnected_;
};

bool is_blank(const std::string& line) { return line.find_first_not_of(" \t\r") == std::string::npos; }

int64_t count_lines(const std::string& path) {
  std::ifstream in(path);
  if (!in) not_found(path, "cannot be read");
  int64_t count = 0;
  for (std::string line; std::getline(in, line);) count += is_blank(line) ? 0 : 1;
  return count;
}

// The id of a line's answer tells which request was answered: a run goes on only after the very same ones.
std::string answer_id(int64_t number, const std::string& line) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (EVP_Digest(line.data(), line.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1) {
    fail(ErrorKind::kInternal, "batch", "SHA-256 failed");
  }
  std::string id = "batch_req_";
  for (size_t i = 0; i < 12; ++i) id += fmt::format("{:02x}", digest[i]);
  return id + "_" + std::to_string(number + 1);
}

// The ids of whole lines that an earlier run wrote; a torn last line is cut off.
std::vector<std::string> read_part(const std::string& path) {
  std::vector<std::string> ids;
  if (!file_exists(path)) return ids;
  int64_t whole = 0;
  {
    std::ifstream in(path, std::ios::binary);
    for (std::string line; std::getline(in, line) && !in.eof();) {
      whole += static_cast<int64_t>(line.size()) + 1;
      ids.push_back(Json::parse(line, path).get_string("id", "", path));
    }
  }
  if (whole < file_size(path) && ::truncate(path.c_str(), whole) != 0) fail_errno(path, "cannot be cut", errno);
  return ids;
}

// Names made, renamed and removed in it outlast a loss of power.
void sync_directory(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) fail_errno(path, "cannot open", errno);
  const int failed = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  // Some file systems cannot sync a folder, and need not.
  if (failed != 0 && failed != EINVAL && failed != ENOTSUP) fail_errno(path, "cannot sync", failed);
}

class Writer {
 public:
  explicit Writer(const std::string& path) : path_(path), file_(std::fopen(path.c_str(), "ab")) {
    if (file_ == nullptr) fail_errno(path, "cannot be written", errno);
  }
  ~Writer() {
    if (file_ != nullptr) std::fclose(file_);
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  void write(const std::string& line) {
    if (std::fwrite(line.data(), 1, line.size(), file_) != line.size() || std::fputc('\n', file_) == EOF) fail_write();
  }
  void flush() {
    if (std::fflush(file_) != 0) fail_write();
  }
  void sync() {
    flush();
    if (::fsync(::fileno(file_)) != 0) fail_write();
  }

 private:
  [[noreturn]] void fail_write() { fail_errno(path_, "cannot be written", errno); }
  std::string path_;
  std::FILE* file_;
};

class Batch {
 public:
  Batch(const std::string& input, const std::string& output, const Handler& handler, const BatchOptions& options)
      : input_(input), output_(output), part_(batch_part_path(output)), handler_(handler), options_(options), in_(input) {
    result_.total = count_lines(input);
    earlier_ = read_part(part_);
    result_.resumed = static_cast<int64_t>(earlier_.size());
    if (result_.resumed > result_.total) other_input(result_.total);
    skip_earlier();
  }

  ~Batch() { finished_->close(); }
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  BatchResult run() {
    Writer writer(part_);
    while (next_write_ < result_.total) {
      if (options_.interrupted && options_.interrupted()) {
        result_.interrupted = true;
        break;
      }
      submit_more();
      if (in_.fail() && next_read_ == next_write_) {
        writer.sync();
        invalid(input_, "got shorter while it was read: {} requests of {}", next_read_, result_.total);
      }
      Finished::Line line;
      if (!finished_->take(next_write_, std::chrono::milliseconds(50), line)) continue;
      do {
        writer.write(line.text);
        requests_.erase(next_write_);
        ++next_write_;
        ++result_.done;
        result_.failed += line.failed ? 1 : 0;
      } while (finished_->take(next_write_, std::chrono::milliseconds(0), line));
      writer.flush();
      if (options_.progress) options_.progress(result_.done, result_.total - result_.resumed);
    }
    writer.sync();
    for (const auto& [number, request] : requests_) {
      if (const std::shared_ptr<BatchResponse> response = request.lock()) response->abandon();
    }
    if (!result_.interrupted && ::rename(part_.c_str(), output_.c_str()) != 0) {
      fail_errno(output_, "cannot rename into place", errno);
    }
    sync_directory(parent_path(output_));
    return result_;
  }

 private:
  [[noreturn]] void other_input(int64_t line) {
    invalid(part_, "holds answers to other requests (line {} of the input differs): remove it, or name another output",
            line + 1);
  }

  void skip_earlier() {
    std::string line;
    while (next_read_ < result_.resumed && std::getline(in_, line)) {
      if (is_blank(line)) continue;
      if (answer_id(next_read_, line) != earlier_[static_cast<size_t>(next_read_)]) other_input(next_read_);
      ++next_read_;
    }
    next_write_ = next_read_;
  }

  // Lines that wait for an earlier one to be written count too, so that one slow request does not fill the memory.
  void submit_more() {
    std::string line;
    while (next_read_ < next_write_ + 4 * options_.concurrency &&
           next_read_ - next_write_ - finished_->count() < options_.concurrency && std::getline(in_, line)) {
      if (is_blank(line)) continue;
      submit(next_read_++, line);
    }
  }

  static Json custom_id_of(const std::string& line) {
    try {
      const Json request = Json::parse(line, "line");
      const Json* id = request.find("custom_id");
      return id != nullptr && id->is_string() ? *id : Json();
    } catch (const Error&) {
      return {};
    }
  }

  void submit(int64_t number, const std::string& line) {
    const std::string id = answer_id(number, line);
    try {
      HttpRequest http = read_line(line);
      http.id = id;
      auto response = std::make_shared<BatchResponse>(finished_, number, id, custom_id_of(line));
      requests_[number] = response;
      try {
        handler_(std::move(http), response);
      } catch (...) {
        const Error error = current_error();
        const int status = http_status(error.kind());
        response->send(status, "", error_body(status, error.message()), {});
      }
    } catch (const Error& error) {
      finished_->add(number, error_line(id, custom_id_of(line), error.message()));
    }
  }

  static HttpRequest read_line(const std::string& line) {
    const Json request = Json::parse(line, "line");
    request.at("custom_id", "line").as_string("custom_id");
    HttpRequest http;
    http.method = request.at("method", "line").as_string("method");
    if (http.method != "POST") invalid("method", "got '{}', need POST", utf8_cut(http.method, 16));
    http.path = request.at("url", "line").as_string("url");
    if (http.path.compare(0, 4, "/v1/") != 0)
      invalid("url", "got '{}', need a path as /v1/completions", utf8_cut(http.path, 64));
    const Json& body = request.at("body", "line");
    body.as_object("body");
    if (body.get_bool("stream", false, "body")) invalid("stream", "answers of a batch cannot be streamed");
    http.body = body.dump();
    http.remote = "batch";
    return http;
  }

  std::string input_, output_, part_;
  const Handler& handler_;
  const BatchOptions& options_;
  std::ifstream in_;
  std::vector<std::string> earlier_;
  BatchResult result_;
  std::shared_ptr<Finished> finished_ = std::make_shared<Finished>();
  std::map<int64_t, std::weak_ptr<BatchResponse>> requests_;
  int64_t next_read_ = 0, next_write_ = 0;
};

}  // namespace

std::string batch_part_path(const std::string& output) { return output + ".part"; }

BatchResult run_batch(const std::string& input, const std::string& output, const Handler& handler,
                      const BatchOptions& options) {
  // The answers are renamed to `output`, which would put an end to what is there.
  std::error_code ignored;
  for (const std::string& path : {output, batch_part_path(output)}) {
    if (std::filesystem::equivalent(input, path, ignored)) invalid(path, "is the input too: need another output file");
    const auto status = std::filesystem::status(path, ignored);
    if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) invalid(path, "is no regular file");
  }
  return Batch(input, output, handler, options).run();
}

}  // namespace pagoda::server
