// Responses kept for previous_response_id and GET /v1/responses/ID: in memory and bounded. The owner who holds most gives up
// the oldest, so that nobody loses what fits into an equal share. Those under way stay until they end: how many there may be is
// the engine's affair.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

namespace pagoda::server {

struct StoredResponse {
  std::string owner;             // the key it was made with: others do not find it
  std::string response;          // JSON, as it is answered; as text it takes the memory that is counted
  std::string messages;          // the chat so far with the answer, without instructions; empty: not finished
  std::function<void()> cancel;  // of one that runs in the background
};

// Thread-safe.
class ResponseStore {
 public:
  explicit ResponseStore(size_t max_responses = 1024, int64_t max_bytes = int64_t{64} << 20)
      : max_responses_(max_responses), max_bytes_(max_bytes) {}

  // One that is larger than all may be is not kept.
  void put(const std::string& id, StoredResponse stored);
  // Replaces one that is still open (it has a cancel); else, and where it was given up, this does nothing.
  void close(const std::string& id, std::string response, std::string messages);
  std::optional<StoredResponse> get(const std::string& id, const std::string& owner) const;
  bool erase(const std::string& id, const std::string& owner);
  size_t size() const;
  size_t num_open() const;  // under way

 private:
  struct Entry {
    std::string id;
    StoredResponse stored;
    int64_t bytes;
  };
  struct Share {
    std::list<Entry> entries;  // newest first
    int64_t bytes = 0;
    size_t num_closed = 0;  // those that may be given up
  };
  void add_locked(Entry entry);
  void erase_locked(std::list<Entry>::iterator entry);
  void trim_locked();

  const size_t max_responses_;
  const int64_t max_bytes_;
  mutable std::mutex mutex_;
  std::map<std::string, Share, std::less<>> shares_;  // by owner; none is empty
  std::unordered_map<std::string, std::list<Entry>::iterator> by_id_;
  int64_t bytes_ = 0;
};

}  // namespace pagoda::server
