// safetensors: mapped reading of one file or a sharded index, and writing.
// Format: 8 bytes little-endian header length, a JSON header {name: {dtype, shape, data_offsets}}, then the data.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/limits.h"
#include "tensor/encoded.h"
#include "tensor/tensor.h"

namespace pagoda {

// A tensor as it lies in a mapped file: contiguous, row-major, little-endian; not necessarily aligned. One in a coding of its
// own (GGUF blocks, packed integers) has `encoded` instead of data(): its elements are decoded as float32, `bytes` is what they
// take in the file. An entry made by default stands for no tensor.
class TensorEntry {
 public:
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<int64_t> shape;
  int64_t bytes = 0;
  std::shared_ptr<const void> owner;  // keeps data() alive
  std::shared_ptr<const EncodedTensor> encoded = nullptr;

  bool has_data() const { return data_ != nullptr; }
  // Throws kUnsupported for an encoded tensor, which has elements but no bytes of its dtype.
  const uint8_t* data() const { return data_ != nullptr ? data_ : no_data(); }
  void set_data(const uint8_t* data) { data_ = data; }

 private:
  const uint8_t* no_data() const;
  const uint8_t* data_ = nullptr;
};

class SafetensorsFile {
 public:
  // Checks everything before it returns: lengths, offsets inside the file, no overlap, no gap, sizes that agree with shapes.
  static std::shared_ptr<SafetensorsFile> open(const std::string& path, const Limits& limits = {});
  // The same checks on bytes in memory (fuzzing, network). `owner` keeps them alive.
  static std::shared_ptr<SafetensorsFile> parse(std::string_view bytes, const std::string& where,
                                                const std::shared_ptr<const void>& owner, const Limits& limits = {});

  const std::vector<TensorEntry>& tensors() const { return tensors_; }  // in order of their offsets
  const TensorEntry* find(const std::string& name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  void drop_pages() const;  // of the mapped file, see MappedFile

 private:
  std::vector<TensorEntry> tensors_;
  std::shared_ptr<const MappedFile> map_;  // null for bytes in memory
  std::map<std::string, size_t> index_;
  std::map<std::string, std::string> metadata_;
};

struct TensorSpec {
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<int64_t> shape;
};

// Writes tensors one after the other, so that none but the current one need be in memory. Atomic: `path` holds the old file or
// the whole new one, and is untouched until finish().
class SafetensorsWriter {
 public:
  SafetensorsWriter(const std::string& path, std::vector<TensorSpec> specs,
                    const std::map<std::string, std::string>& metadata = {});
  void append(const Tensor& tensor);  // the next of `specs`; contiguous
  void finish();                      // after all of them

 private:
  std::vector<TensorSpec> specs_;
  size_t next_ = 0;
  AtomicFile file_;
  std::string path_;
};

// Writes atomically: `path` holds the old file or the whole new one. Tensors must be contiguous.
void write_safetensors(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace pagoda
