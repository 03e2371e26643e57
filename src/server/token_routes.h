// /tokenize and /detokenize, which every server has.
#pragma once

#include <functional>
#include <vector>

#include "server/route.h"

namespace pagoda::server {

class ModelTexts;
class Serving;

// texts: of the served model, asked for once there is one.
std::vector<Route> token_routes(const Serving& serving, const std::function<ModelTexts&()>& texts);

}  // namespace pagoda::server
