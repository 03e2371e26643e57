// One blob from the hub into the cache: resumed, checked, and put in place in one step.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "hub/api.h"
#include "hub/cache.h"
#include "hub/http.h"

namespace pagoda::hub {

struct DownloadJob {
  std::string url;
  std::string name;   // of the file in the repository, for errors
  std::string etag;   // SHA-256 or git blob id (checked), or another tag (not checkable, then only the size is)
  int64_t size = -1;  // -1: not known
  bool force = false;
};

// Called with the bytes that arrived just now (fresh) or were already there from an earlier pull, and with what had to be
// thrown away as a negative number (not fresh).
using ByteCounter = std::function<void(int64_t bytes, bool fresh)>;

// Leaves blobs/<etag> complete, or throws and leaves at most <etag>.incomplete, which the next call goes on from. A full disk
// and a wrong checksum leave nothing. The caller holds the blob's lock; returns at once when another program finished it
// meanwhile. True: the blob was not there before, so that nothing leads to it yet. `where` (the model's name) opens error
// texts.
bool download_blob(HttpClient& client, const HubConfig& config, const std::string& where, const RepoCache& cache,
                   const DownloadJob& job, Backoff backoff, const std::function<bool()>& should_stop, const ByteCounter& count);

}  // namespace pagoda::hub
