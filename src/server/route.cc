// Paths against the patterns of routes.
#include "server/route.h"

#include <algorithm>

namespace pagoda::server {

bool matches(const RouteInfo& route, std::string_view path) {
  const std::string_view pattern = route.path;
  if (const size_t at = pattern.find("{model}"); at != std::string_view::npos) {
    return path.size() > at && path.substr(0, at) == pattern.substr(0, at);
  }
  const size_t at = pattern.find('{');
  if (at == std::string_view::npos) return pattern == path;
  if (path.substr(0, at) != pattern.substr(0, at)) return false;
  const size_t end = std::min(path.find('/', at), path.size());
  return end > at && path.substr(end) == pattern.substr(pattern.find('}') + 1);
}

}  // namespace pagoda::server
