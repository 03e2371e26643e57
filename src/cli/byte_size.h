// Sizes in bytes as people write them.
#pragma once

#include <cstdint>
#include <string>

namespace pagoda::cli {

// "4194304", "512MiB", "2GB", "1.5G" (a single letter is binary, as in vLLM's and llama.cpp's flags). Throws kInvalidInput
// naming `flag`.
int64_t parse_bytes(const std::string& text, const std::string& flag);

}  // namespace pagoda::cli
