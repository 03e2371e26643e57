// A hint for who named the folder above a model's.
#pragma once

#include <string>

#include "base/error.h"

namespace pagoda::cli {

// "; a folder below it holds a model: F/a" where the error says that something is not in a folder F, and folders right below it
// hold a config.json of a model and its weights; else "".
std::string model_below(const Error& error);

}  // namespace pagoda::cli
