// Puts the container, the pickle and the index together, and packs views that are not row-major.
#include "formats/torch_bin.h"

#include <cstring>
#include <map>

#include "base/checked.h"
#include "base/error.h"
#include "base/file.h"
#include "formats/torch_pickle.h"
#include "formats/torch_zip.h"

namespace pagoda {

namespace {

constexpr int64_t kSpareBytes = 64 << 20;

// What torch wrote before its zip format: three pickles in a row, the first a magic number; before that, a tar.
void refuse_legacy(std::string_view bytes, std::string_view where) {
  constexpr std::string_view kMagic("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 12);
  const bool pickles = bytes.size() > 14 && bytes[0] == '\x80' && bytes.substr(2, kMagic.size()) == kMagic;
  const bool tar = bytes.size() > 262 && bytes.substr(257, 5) == "ustar";
  if (pickles || tar) {
    unsupported(where,
                "torch's format from before version 1.6: got no zip archive, need the file saved again by a newer torch, or "
                "model.safetensors");
  }
}

class TorchSource : public WeightSource {
 public:
  TorchSource(const std::vector<std::string>& files, const Limits& limits) {
    for (const std::string& path : files) {
      const std::shared_ptr<const MappedFile> file = MappedFile::open(path);
      files_.push_back(file);
      // Views may overlap, so a small file could ask for any number of packed copies.
      int64_t budget = checked_add(checked_mul(file->size(), 4, path), kSpareBytes, path);
      for (TorchTensor& tensor : parse_torch_bin(file->bytes(), path, limits)) {
        TensorEntry entry;
        entry.name = tensor.name;
        entry.dtype = tensor.dtype;
        entry.shape = tensor.shape;
        entry.bytes = tensor.bytes;
        entry.set_data(tensor.data);
        entry.owner = file;
        if (!tensor.contiguous) {
          budget -= tensor.bytes;
          if (budget < 0) invalid(path, "too many views of the same data: need fewer that are not row-major");
          const auto packed = std::make_shared<std::vector<uint8_t>>(static_cast<size_t>(tensor.bytes));
          copy_torch_tensor(tensor, packed->data());
          entry.set_data(packed->data());
          entry.owner = packed;
        }
        if (!entries_.emplace(tensor.name, std::move(entry)).second) invalid(path, "tensor '{}' is in two shards", tensor.name);
      }
    }
  }
  const TensorEntry* find(const std::string& name) const override {
    const auto it = entries_.find(name);
    return it == entries_.end() ? nullptr : &it->second;
  }
  std::vector<std::string> names() const override {
    std::vector<std::string> all;
    for (const auto& [name, entry] : entries_) all.push_back(name);
    return all;
  }
  void drop_pages() const override {
    for (const std::shared_ptr<const MappedFile>& file : files_) file->drop_pages();
  }

 private:
  std::vector<std::shared_ptr<const MappedFile>> files_;
  std::map<std::string, TensorEntry> entries_;
};

bool is_contiguous(const TorchView& view) {
  int64_t step = 1;
  for (size_t axis = view.shape.size(); axis-- > 0;) {
    if (view.shape[axis] != 1 && view.strides[axis] != step) return false;
    step *= view.shape[axis];  // checked when the view was made
  }
  return true;
}

}  // namespace

void copy_torch_tensor(const TorchTensor& tensor, uint8_t* out) {
  if (tensor.bytes == 0) return;
  if (tensor.contiguous) {
    std::memcpy(out, tensor.data, static_cast<size_t>(tensor.bytes));
    return;
  }
  const auto size = static_cast<size_t>(dtype_size(tensor.dtype));
  const size_t rank = tensor.shape.size();
  std::vector<int64_t> index(rank, 0);
  int64_t offset = 0;  // elements from tensor.data
  for (int64_t done = 0; done < tensor.bytes; done += static_cast<int64_t>(size)) {
    std::memcpy(out + done, tensor.data + offset * static_cast<int64_t>(size), size);
    for (size_t axis = rank; axis-- > 0;) {
      offset += tensor.strides[axis];
      if (++index[axis] < tensor.shape[axis]) break;
      offset -= tensor.strides[axis] * tensor.shape[axis];
      index[axis] = 0;
    }
  }
}

std::vector<TorchTensor> parse_torch_bin(std::string_view bytes, std::string_view where, const Limits& limits) {
  if (static_cast<int64_t>(bytes.size()) > limits.max_bytes) {
    invalid(where, "file too large: got {} bytes, need at most {}", bytes.size(), limits.max_bytes);
  }
  refuse_legacy(bytes, where);
  const auto records = read_stored_zip(bytes, where, limits);
  // All records stand below one folder, named after the file that torch wrote.
  std::string root;
  int pickles = 0;
  for (const auto& [name, data] : records) {
    if (name.ends_with("/data.pkl") && name.find('/') == name.size() - 9) {
      root = name.substr(0, name.size() - 8);
      ++pickles;
    }
  }
  if (pickles != 1) invalid(where, "no file of torch.save: got {} records named FOLDER/data.pkl, need 1", pickles);
  const auto order = records.find(root + "byteorder");
  if (order != records.end() && order->second != "little") {
    unsupported(where, "byte order: got '{}', need little", order->second.starts_with("big") ? "big" : "something else");
  }
  std::string key;
  const auto record = [&](std::string_view storage) -> const std::string_view* {
    key = root + "data/";
    key += storage;
    const auto found = records.find(key);
    return found == records.end() ? nullptr : &found->second;
  };
  TorchState state = run_torch_pickle(records.at(root + "data.pkl"), where, limits, record);

  std::vector<TorchTensor> tensors;
  tensors.reserve(state.tensors.size());
  for (auto& named : state.tensors) {
    const TorchStorage& storage = state.storages[named.view.storage];
    TorchTensor tensor;
    tensor.name = std::move(named.name);
    tensor.dtype = storage.dtype;
    tensor.contiguous = is_contiguous(named.view);
    tensor.storage = storage.key;
    tensor.storage_offset = named.view.offset;
    const int64_t size = dtype_size(storage.dtype);
    tensor.data = reinterpret_cast<const uint8_t*>(storage.bytes.data()) + named.view.offset * size;
    tensor.bytes = size;
    for (const int64_t extent : named.view.shape) {
      // In this order an empty axis ends the product before it can overflow.
      tensor.bytes = extent == 0 || tensor.bytes == 0 ? 0 : checked_mul(tensor.bytes, extent, where);
    }
    tensor.shape = std::move(named.view.shape);
    tensor.strides = std::move(named.view.strides);
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

std::shared_ptr<WeightSource> open_torch_bin(const std::vector<std::string>& files, const Limits& limits) {
  return std::make_shared<TorchSource>(files, limits);
}

}  // namespace pagoda
