// pytorch_model.bin: tensors of torch.save (the zip format since torch 1.6) as views of the mapped file, one file or shards.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/limits.h"
#include "formats/model_folder.h"
#include "tensor/dtype.h"

namespace pagoda {

struct TorchTensor {
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;   // elements; as torch has them, 0 where elements repeat
  const uint8_t* data = nullptr;  // the first element, in the map; any alignment
  int64_t bytes = 0;              // of all elements packed row-major
  bool contiguous = false;        // data[0, bytes) is the tensor row-major
  std::string_view storage;       // key of its storage: equal keys of one file share memory (tied weights)
  int64_t storage_offset = 0;     // elements
};

// Packs a tensor row-major into out[0, tensor.bytes).
void copy_torch_tensor(const TorchTensor& tensor, uint8_t* out);

// The tensors of one file's bytes, in the file's order; `data` points into `bytes`. No code of the file is run: a pickle that
// asks for any function beyond those that rebuild tensors is refused by name (formats/torch_pickle.h). Throws kInvalidInput,
// kUnsupported (older formats, compressed or big-endian records, refused globals), kNotFound (a storage that is not there).
std::vector<TorchTensor> parse_torch_bin(std::string_view bytes, std::string_view where, const Limits& limits = {});

// pytorch_model.bin and its shards as weights by name. Row-major tensors are views of the mapped files; others are packed into
// memory when the file is opened. A name in two files throws.
std::shared_ptr<WeightSource> open_torch_bin(const std::vector<std::string>& files, const Limits& limits = {});

}  // namespace pagoda
