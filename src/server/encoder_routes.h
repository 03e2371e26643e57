// The routes over an encoder.
#pragma once

#include <vector>

#include "server/route.h"

namespace pagoda::server {

class ServedEncoder;

// All of them, in the order of the document.
const std::vector<RouteOf<ServedEncoder>>& encoder_routes();

// Its parts, each in a file of its own.
RouteOf<ServedEncoder> encoder_embeddings_route();
std::vector<RouteOf<ServedEncoder>> score_routes();  // rerank, score, classify
RouteOf<ServedEncoder> task_route();

}  // namespace pagoda::server
