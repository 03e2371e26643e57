// Requests of a file through a handler, many at once, their answers into a file in the same order: OpenAI's batch format.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "server/http_server.h"

namespace pagoda::server {

struct BatchOptions {
  int64_t concurrency = 512;  // requests under way
  std::function<bool()> interrupted;
  std::function<void(int64_t done, int64_t total)> progress;  // lines of this run
};

struct BatchResult {
  int64_t done = 0;     // lines answered in this run
  int64_t failed = 0;   // ... with an error or a status from 400 on
  int64_t resumed = 0;  // lines that an earlier run had answered
  int64_t total = 0;    // lines of the input
  bool interrupted = false;
};

// The name of the file that holds the answers until all are there: "out.jsonl.part".
std::string batch_part_path(const std::string& output);

// Each line {"custom_id", "method": "POST", "url": "/v1/...", "body": {...}} becomes a line {"id", "custom_id", "response":
// {"status_code", "request_id", "body"}, "error"}; a line that cannot be sent gets its "error" and the others go on. Answers
// are appended to the part file in order as they come; once all are there it is renamed to `output`, so that `output` is whole
// or absent. A run that was ended leaves the part file, and the next goes on after it. Throws kInvalidInput where a line that
// the part file answers has changed since: an answer's id holds the SHA-256 of its request's line. What is written is on the
// disk when this returns.
BatchResult run_batch(const std::string& input, const std::string& output, const Handler& handler, const BatchOptions& options);

}  // namespace pagoda::server
