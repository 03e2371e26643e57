// The hub's settings from environment variables.
#include "hub/config.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "base/error.h"
#include "base/file.h"

namespace pagoda::hub {

namespace {

bool is_true(const std::optional<std::string>& value) {
  if (!value) return false;
  std::string upper = *value;
  std::transform(upper.begin(), upper.end(), upper.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return upper == "1" || upper == "ON" || upper == "YES" || upper == "TRUE";
}

bool is_name_char(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

int seconds_or(const std::optional<std::string>& value, std::string_view name, int fallback) {
  if (!value || value->empty()) return fallback;
  const bool digits = std::all_of(value->begin(), value->end(), [](unsigned char c) { return std::isdigit(c) != 0; });
  const int seconds = digits && value->size() <= 6 ? std::atoi(value->c_str()) : -1;
  if (seconds < 0) invalid(name, "not a number of seconds: got '{}', need a whole number below 1000000", *value);
  return seconds == 0 ? fallback : seconds;
}

}  // namespace

std::string expand_path(std::string_view path, const EnvLookup& lookup) {
  std::string out;
  size_t pos = 0;
  if (!path.empty() && path[0] == '~' && (path.size() == 1 || path[1] == '/')) {
    if (const auto home = lookup("HOME"); home && !home->empty()) {
      out = *home;
      pos = 1;
    }
  }
  while (pos < path.size()) {
    if (path[pos] != '$') {
      out += path[pos++];
      continue;
    }
    const bool braces = pos + 1 < path.size() && path[pos + 1] == '{';
    const size_t begin = pos + (braces ? 2 : 1);
    size_t end = begin;
    while (end < path.size() && (braces ? path[end] != '}' : is_name_char(path[end]))) ++end;
    const size_t next = braces ? end + 1 : end;
    const auto value = end > begin && next <= path.size() ? lookup(path.substr(begin, end - begin)) : std::nullopt;
    if (value) {
      out += *value;
      pos = next;
    } else {
      out += path[pos++];
    }
  }
  return out;
}

void set_endpoint(HubConfig& config, std::string_view endpoint, std::string_view flag) {
  std::string out(endpoint);
  while (!out.empty() && out.back() == '/') out.pop_back();
  const bool http = out.rfind("http://", 0) == 0 && out.size() > 7;
  const bool https = out.rfind("https://", 0) == 0 && out.size() > 8;
  const bool clean = std::all_of(out.begin(), out.end(), [](unsigned char c) { return c > 0x20 && c != 0x7F; });
  if ((!http && !https) || !clean) {
    invalid(flag, "bad hub address: got '{}', need a URL such as https://huggingface.co", endpoint);
  }
  config.endpoint = out;
  config.endpoint_from = flag;
}

std::string checked_token(std::string_view token, std::string_view where) {
  const auto space = [](unsigned char c) { return std::isspace(c) != 0; };
  while (!token.empty() && space(static_cast<unsigned char>(token.front()))) token.remove_prefix(1);
  while (!token.empty() && space(static_cast<unsigned char>(token.back()))) token.remove_suffix(1);
  for (const unsigned char c : token) {
    // The value is a secret: the error does not repeat it.
    if (c <= 0x20 || c >= 0x7F)
      invalid(where, "bad token: got a character of value {}, need printable ASCII without spaces", c);
  }
  return std::string(token);
}

HubConfig hub_config_from_environment(const EnvLookup& lookup) {
  // A variable set to nothing counts as unset, so that `HF_HOME= pagoda ...` does not put a cache into the current folder.
  const auto value = [&](std::string_view name) -> std::optional<std::string> {
    auto found = lookup(name);
    if (found && found->empty()) return std::nullopt;
    return found;
  };
  HubConfig config;
  std::string home;
  if (const auto set = value("HF_HOME")) {
    home = *set;
  } else if (const auto cache = value("XDG_CACHE_HOME")) {
    home = join_path(*cache, "huggingface");
  } else {
    home = "~/.cache/huggingface";
  }
  home = expand_path(home, lookup);
  config.cache_folder = join_path(home, "hub");
  for (const char* name : {"HUGGINGFACE_HUB_CACHE", "HF_HUB_CACHE"}) {
    if (const auto set = value(name)) config.cache_folder = expand_path(*set, lookup);
  }
  if (const auto set = value("HF_ENDPOINT")) set_endpoint(config, *set, "HF_ENDPOINT");
  config.offline = is_true(value("HF_HUB_OFFLINE") ? value("HF_HUB_OFFLINE") : value("TRANSFORMERS_OFFLINE"));
  config.symlinks = !is_true(value("HF_HUB_DISABLE_SYMLINKS"));
  config.stall_seconds = seconds_or(value("HF_HUB_DOWNLOAD_TIMEOUT"), "HF_HUB_DOWNLOAD_TIMEOUT", config.stall_seconds);
  config.connect_seconds = seconds_or(value("HF_HUB_ETAG_TIMEOUT"), "HF_HUB_ETAG_TIMEOUT", config.connect_seconds);
  for (const char* name : {"SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"}) {
    const auto set = value(name);
    auto& files = config.ca_files;
    if (set && std::find(files.begin(), files.end(), *set) == files.end()) files.push_back(*set);
  }
  if (const auto set = value("SSL_CERT_DIR")) config.ca_folder = *set;

  if (is_true(value("HF_HUB_DISABLE_IMPLICIT_TOKEN"))) return config;
  if (const auto set = value("HF_TOKEN")) {
    config.token = checked_token(*set, "HF_TOKEN");
  } else if (const auto old = value("HUGGING_FACE_HUB_TOKEN")) {
    config.token = checked_token(*old, "HUGGING_FACE_HUB_TOKEN");
  } else {
    const auto named = value("HF_TOKEN_PATH");
    const std::string path = expand_path(named ? *named : join_path(home, "token"), lookup);
    if (file_exists(path)) config.token = checked_token(read_file(path, 1 << 16), path);
  }
  return config;
}

}  // namespace pagoda::hub
