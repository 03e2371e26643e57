// Which files of a model folder hold its weights, in whatever form: new weights leave them behind.
#pragma once

#include <algorithm>
#include <string_view>

namespace pagoda {

// By the end of its name; `pagoda compile`'s files, which are made of the weights, are among them.
inline bool is_weight_file(std::string_view name) {
  constexpr std::string_view kEnds[] = {".safetensors", ".bin",     ".index.json", ".gguf", ".pt",    ".pth",
                                        ".h5",          ".msgpack", ".onnx",       ".ot",   ".pagoda"};
  return std::any_of(std::begin(kEnds), std::end(kEnds), [&](std::string_view end) {
    return name.size() >= end.size() && name.substr(name.size() - end.size()) == end;
  });
}

}  // namespace pagoda
