// A pickle machine that knows what state dictionaries of torch need, and refuses everything else by name.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/limits.h"
#include "tensor/dtype.h"

namespace pagoda {

// A storage that a persistent id names: its elements, in the file.
struct TorchStorage {
  std::string_view key;  // "0", "1", ...: the record's name below data/
  DType dtype = DType::kFloat32;
  int64_t elements = 0;
  std::string_view bytes;
};

// A view of a storage, checked to lie inside.
struct TorchView {
  uint32_t storage = 0;  // index into TorchState::storages
  int64_t offset = 0;    // elements
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;  // elements, not negative
};

struct TorchState {
  std::vector<TorchStorage> storages;
  struct Named {
    std::string name;
    TorchView view;
  };
  std::vector<Named> tensors;  // in the dictionary's order; a key set twice counts once, with its last value
};

// Runs the pickle: opcodes of protocols 2 to 5 for None, bool, int, float, text, bytes, tuple, list, dict; the globals
// collections.OrderedDict, torch._utils._rebuild_tensor, _rebuild_tensor_v2, _rebuild_parameter, torch.Size,
// torch.<Kind>Storage; persistent ids of storages, whose bytes `record` gives by key (no value: the archive has none). The
// result must be a dictionary of text to tensors, or one that holds exactly one such dictionary and no tensors itself (a
// training checkpoint). Nothing is executed, nothing recursive; memory is at most a fixed multiple of the pickle's length,
// within Limits (max_items values but no more than 4 million, max_steps opcodes, max_depth open marks). Throws kInvalidInput;
// kUnsupported for refused globals and dtypes.
TorchState run_torch_pickle(std::string_view pickle, std::string_view where, const Limits& limits,
                            const std::function<const std::string_view*(std::string_view key)>& record);

}  // namespace pagoda
