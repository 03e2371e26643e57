// What a forward pass is told besides its inputs: five members, each made by one owner. No global context.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <variant>
#include <vector>

#include "ops/attention.h"
#include "ops/dropout.h"
#include "tensor/tensor.h"

namespace pagoda {

// Where rows stand. Immutable and shared, so that the tape may keep it.
struct Layout {
  std::vector<int32_t> positions;                      // [T] of each row in its sequence
  std::shared_ptr<const std::vector<int32_t>> starts;  // [sequences + 1] rows of each sequence
  std::vector<int32_t> lengths;                        // [sequences] tokens known of each, computed or not (dynamic rotary)
  std::vector<int32_t> wanted_rows;                    // rows whose logits are wanted, ascending
  std::shared_ptr<const ops::DropoutRows> dropout;     // training with dropout; null: nothing is dropped
  int64_t num_tokens() const { return static_cast<int64_t>(positions.size()); }
  int64_t num_sequences() const { return static_cast<int64_t>(starts->size()) - 1; }

  // Whole sequences of these lengths, dense; all rows wanted, or only the last of each.
  static std::shared_ptr<const Layout> whole(const std::vector<int32_t>& lengths, bool all_rows);
};

// State of one layer: keys and values in pages, or none (dense attention over the rows at hand).
// Room: cross-attention, recurrent and convolution views are further alternatives.
struct PagedLayerState {
  ops::PagedKv kv;
};
using LayerState = std::variant<std::monostate, PagedLayerState>;

class LayerStates {
 public:
  virtual ~LayerStates() = default;
  virtual LayerState state(int layer) const = 0;
};

class Memory;    // encoder states, for encoder-decoder models
class Adapters;  // row segments to LoRA ids

// Called with a module's path and its result; slows the pass and is null in serving.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void observe(std::string_view path, const Tensor& tensor) = 0;
};

struct ForwardContext {
  std::shared_ptr<const Layout> layout;
  const LayerStates* states = nullptr;  // null: no layer has state
  const Memory* memory = nullptr;
  const Adapters* adapters = nullptr;
  Observer* observer = nullptr;
};

}  // namespace pagoda
