// Where the hub and its cache are: the same environment variables as huggingface_hub.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/env.h"

namespace pagoda::hub {

struct HubConfig {
  std::string endpoint = "https://huggingface.co";  // HF_ENDPOINT; no trailing slash
  std::string endpoint_from = "HF_ENDPOINT";        // what messages name: where the endpoint may be set
  std::string cache_folder;  // HF_HUB_CACHE, else HUGGINGFACE_HUB_CACHE, else HF_HOME/hub; HF_HOME is by default
                             // XDG_CACHE_HOME/huggingface, else ~/.cache/huggingface
  std::string token;         // HF_TOKEN, else HUGGING_FACE_HUB_TOKEN, else the file HF_TOKEN_PATH (by default HF_HOME/token)
  bool offline = false;      // HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is 1, ON, YES or TRUE
  bool symlinks = true;      // false where HF_HUB_DISABLE_SYMLINKS is true: snapshots then hold the files themselves
  int stall_seconds = 10;    // HF_HUB_DOWNLOAD_TIMEOUT: a connection without a byte for so long is dropped and resumed
  int connect_seconds = 10;  // HF_HUB_ETAG_TIMEOUT
  std::vector<std::string> ca_files;  // SSL_CERT_FILE, CURL_CA_BUNDLE, REQUESTS_CA_BUNDLE: the authorities of all that are
                                      // set are trusted (huggingface_hub looks at the first, curl at the second); none: the
                                      // system's
  std::string ca_folder;              // SSL_CERT_DIR; empty: the system's
};

using EnvLookup = std::function<std::optional<std::string>(std::string_view)>;

// Throws kInvalidInput for an endpoint that is no http(s) URL, and for a token with control characters.
HubConfig hub_config_from_environment(const EnvLookup& lookup = env);

// "~" and "~/..." by HOME; "$NAME" and "${NAME}" where the variable is set, else left as they are.
std::string expand_path(std::string_view path, const EnvLookup& lookup);

// Sets the endpoint of a flag, whose name messages say from then on.
void set_endpoint(HubConfig& config, std::string_view endpoint, std::string_view flag = "--endpoint");
// Takes white space off both ends and refuses what could not stand in a header.
std::string checked_token(std::string_view token, std::string_view where);

}  // namespace pagoda::hub
