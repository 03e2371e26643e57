// Files of weights in a kernel's own layout: mapped and read where they lie, by many processes at once.
//
// 64 bytes: "PAGODACM", uint32 version, uint32 CRC-32C of the header, uint64 bytes of the header, uint64 bytes of the file,
// zeros (all little-endian); the header, a JSON object {"key": {...}, "weights": [...]}; then the weights, each at a multiple
// of 4096.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/task_hooks.h"

namespace pagoda {

struct CompiledWeight {
  std::vector<std::pair<std::string, int64_t>> parts;  // state-dict names and rows, joined along the outputs
  std::string layout;                                  // of the bytes, in the words of who packed them: compared, not read
  int64_t n = 0, k = 0;
  int64_t offset = 0, bytes = 0;  // in the file
};

class CompiledFile {
 public:
  // kInvalidInput for what is no such file, or is cut off or damaged: everything but the weights' own bytes is checked. A
  // checksum of those would read the whole file at start, which mapping it is there to avoid; and as in safetensors, a wrong
  // byte gives a wrong number, never a read out of bounds, since offsets and sizes come from the header.
  static std::shared_ptr<const CompiledFile> open(const std::string& path, const Limits& limits = {});
  // `owner` keeps the bytes alive.
  static std::shared_ptr<const CompiledFile> parse(std::string_view bytes, const std::string& where,
                                                   std::shared_ptr<const void> owner, const Limits& limits = {});

  const Json& key() const { return key_; }  // what the bytes were made for
  const std::vector<CompiledWeight>& weights() const { return weights_; }
  const CompiledWeight* find(const std::string& first_part) const;  // by the name of its first part; null: none
  const void* data(const CompiledWeight& weight) const { return bytes_.data() + weight.offset; }

 private:
  void read_weight(const Json& json, const std::string& where, int64_t least_offset);
  std::string_view bytes_;
  std::shared_ptr<const void> owner_;
  Json key_;
  std::vector<CompiledWeight> weights_;
  std::map<std::string, size_t> index_;
};

// Writes atomically. Offsets are filled in; data: one for each weight, in order. Cancelled, it leaves nothing behind.
void write_compiled(const std::string& path, const Json& key, std::vector<CompiledWeight> weights,
                    const std::vector<const void*>& data, const TaskHooks& hooks = {});

}  // namespace pagoda
