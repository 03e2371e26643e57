// How tokenised rows become examples: cut, packed, or one by one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "text/encoding.h"
#include "train/data/rows.h"

namespace pagoda::train {

class BlockBuilder {
 public:
  using Emit = std::function<void(const Example&)>;
  virtual ~BlockBuilder() = default;
  virtual void add(const Encoding& row) = 0;
  virtual void finish() = 0;
  int64_t dropped_tokens() const { return dropped_; }

 protected:
  explicit BlockBuilder(Emit emit) : emit_(std::move(emit)) {}
  Emit emit_;
  int64_t dropped_ = 0;
};

// Modes and sizes as in PrepareOptions.
std::unique_ptr<BlockBuilder> make_block_builder(const std::string& mode, int64_t block_size, int64_t group_size, bool cut_left,
                                                 BlockBuilder::Emit emit);

}  // namespace pagoda::train
