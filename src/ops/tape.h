// The tape: nodes that ops hang on their results, and the walk back over them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "tensor/tensor.h"

namespace pagoda {

// One op's place on the tape. It owns what backward needs; the result's tensor owns the node.
class GradNode {
 public:
  explicit GradNode(std::vector<Tensor> inputs);
  virtual ~GradNode() = default;
  // Given the gradient of the result, returns one gradient an input (undefined where the input requires none).
  virtual std::vector<Tensor> backward(const Tensor& grad) = 0;
  const std::vector<Tensor>& inputs() const { return inputs_; }
  // Drops inputs and saved tensors once used, so that memory falls while the walk goes on.
  virtual void release() { inputs_.clear(); }

 private:
  friend void backward(const Tensor& result, const Tensor& grad);
  std::vector<Tensor> inputs_;
};

// While one lives, ops on this thread make no nodes (serving, evaluation).
class NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  bool before_;
};

// The opposite: for the parts of a backward pass that compute a forward pass again.
class WithGrad {
 public:
  WithGrad();
  ~WithGrad();
  WithGrad(const WithGrad&) = delete;
  WithGrad& operator=(const WithGrad&) = delete;

 private:
  bool before_;
};

bool grad_enabled();
// Must an op with these inputs make a node?
bool needs_grad(std::initializer_list<const Tensor*> inputs);

// Runs the tape back from a scalar: every leaf that requires gradients gets its sum in grad() (added to what is there).
// Gradients of parameters add, those of activations are summed over their uses in a fixed order. Frees the tape.
void backward(const Tensor& loss);
// The same from any result, given the gradient of what comes after it.
void backward(const Tensor& result, const Tensor& grad);

namespace ops {

using BackwardFn = std::function<std::vector<Tensor>(const Tensor& grad)>;
// `raw` with a node whose backward is `fn`; the result is a new handle, so that fn may hold `raw` itself.
Tensor attach(const Tensor& raw, std::vector<Tensor> inputs, BackwardFn fn);

// block(x) of which nothing is kept but x: backward computes the block again (Chen et al. 2016), bit-equal to the first time.
// The block must depend on nothing that changes in between; parameters inside it get their gradients. Without gradients it is
// block(x) itself.
Tensor checkpoint(const Tensor& x, std::function<Tensor(const Tensor& x)> block);

}  // namespace ops
}  // namespace pagoda
