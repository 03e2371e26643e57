// The kinds of models that can be served.
#include "server/served_model.h"

#include <algorithm>

#include "server/encoder_routes.h"
#include "server/generation_routes.h"

namespace pagoda::server {

std::vector<RouteInfo> routes_of_all_kinds() {
  std::vector<RouteInfo> list;
  const auto add = [&](const auto& routes) {
    for (const auto& route : routes) {
      const RouteInfo& info = route.info;
      const auto same = [&](const RouteInfo& each) { return each.method == info.method && each.path == info.path; };
      if (std::none_of(list.begin(), list.end(), same)) list.push_back(info);
    }
  };
  add(generation_routes());
  add(encoder_routes());
  return list;
}

}  // namespace pagoda::server
