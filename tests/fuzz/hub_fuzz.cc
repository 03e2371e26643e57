// Feeds bytes to what reads the hub's answers and users' names: listings, indexes, patterns, names, redirects.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "hub/api.h"
#include "hub/http.h"
#include "hub/push.h"
#include "hub/repo_id.h"
#include "hub/select.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t half = bytes.size() / 2;
  try {
    switch (data[0] % 7) {
      case 0: pagoda::hub::parse_repo_info(bytes, "fuzz"); break;
      case 1: pagoda::hub::shards_of_index(bytes, "fuzz"); break;
      case 2: pagoda::hub::glob_match(bytes.substr(0, half), bytes.substr(half)); break;
      case 3: pagoda::hub::parse_repo_id(bytes); break;
      case 4: pagoda::hub::url_origin(pagoda::hub::resolve_url("https://hub/a/b?c", std::string(bytes))); break;
      case 5: pagoda::hub::parse_upload_modes(bytes, "fuzz"); break;
      case 6: pagoda::hub::parse_lfs_batch(bytes, "fuzz"); break;
    }
  } catch (const pagoda::Error&) {
  }
  return 0;
}
