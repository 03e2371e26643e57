// A hint for who named the folder above a model's.
#pragma once

#include <string>
#include <vector>

namespace pagoda::cli {

// "; a folder below it holds a model: F/a" where one of these folders is not a model's itself, and folders right below it are:
// they have a config.json of a model, and weights. Else "".
std::string model_below(const std::vector<std::string>& folders);

}  // namespace pagoda::cli
