// The routes over a model that generates.
#pragma once

#include <vector>

#include "server/route.h"

namespace pagoda::server {

class ServedGenerator;

// All of them, in the order of the document.
const std::vector<RouteOf<ServedGenerator>>& generation_routes();

// Its parts, each in a file of its own.
RouteOf<ServedGenerator> embeddings_route();
RouteOf<ServedGenerator> completions_route();
RouteOf<ServedGenerator> chat_completions_route();
std::vector<RouteOf<ServedGenerator>> responses_routes();

}  // namespace pagoda::server
