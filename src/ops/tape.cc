// The walk back: depth-first order over the nodes, gradients summed where a tensor was used more than once.
#include "ops/tape.h"

#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/error.h"
#include "kernels/table.h"
#include "ops/tape_hook.h"

namespace pagoda {

namespace {

thread_local bool t_grad_enabled = true;  // the one thread-local that the design allows

void accumulate(Tensor& sum, const Tensor& grad) {
  if (!sum) {
    sum = grad;
    return;
  }
  // Into a new tensor: `sum` may be shared with another consumer of the same gradient.
  Tensor total = Tensor::like(grad);
  const View flat_a = sum.reshape({1, -1}).view(), flat_b = grad.reshape({1, -1}).view(), flat = total.reshape({1, -1}).view();
  grad.device().kernels->add(grad.device().exec, flat_a, flat_b, flat);
  sum = total;
}

class FunctionNode : public GradNode {
 public:
  FunctionNode(std::vector<Tensor> inputs, ops::BackwardFn fn) : GradNode(std::move(inputs)), fn_(std::move(fn)) {}
  std::vector<Tensor> backward(const Tensor& grad) override { return fn_(grad); }
  void release() override {
    GradNode::release();
    fn_ = nullptr;
  }

 private:
  ops::BackwardFn fn_;
};

void walk(const Tensor& result, const Tensor& grad, const GradientHook& ready);

// Keeps the block's input; the block's own tape is made and walked when the gradient comes.
class CheckpointNode final : public GradNode {
 public:
  CheckpointNode(const Tensor& x, std::function<Tensor(const Tensor& x)> block) : GradNode({x}), block_(std::move(block)) {}
  std::vector<Tensor> backward(const Tensor& grad) override { return backward_inside(grad, {}); }
  std::vector<Tensor> backward_inside(const Tensor& grad, const GradientHook& ready) {
    const WithGrad again;
    Tensor leaf = inputs()[0].detach();
    leaf.set_requires_grad(inputs()[0].requires_grad());
    const Tensor result = block_(leaf);
    if (result.grad_node()) walk(result, grad, ready);
    return {leaf.grad()};
  }
  void release() override {
    GradNode::release();
    block_ = nullptr;
  }

 private:
  std::function<Tensor(const Tensor& x)> block_;
};

}  // namespace

GradNode::GradNode(std::vector<Tensor> inputs) : inputs_(std::move(inputs)) {}

NoGrad::NoGrad() : before_(std::exchange(t_grad_enabled, false)) {}
NoGrad::~NoGrad() { t_grad_enabled = before_; }
WithGrad::WithGrad() : before_(std::exchange(t_grad_enabled, true)) {}
WithGrad::~WithGrad() { t_grad_enabled = before_; }
bool grad_enabled() { return t_grad_enabled; }

bool needs_grad(std::initializer_list<const Tensor*> inputs) {
  if (!t_grad_enabled) return false;
  for (const Tensor* input : inputs) {
    if (input->requires_grad()) return true;
  }
  return false;
}

namespace {

Tensor one_for(const Tensor& loss) {
  if (loss.numel() != 1) invalid("backward", "needs a scalar: got {}", shape_string(loss.view()));
  if (!loss.grad_node()) invalid("backward", "nothing to do: no input of this result requires gradients");
  Tensor one = Tensor::like(loss);
  if (loss.dtype() == DType::kFloat64) {
    one.data<double>()[0] = 1;
  } else {
    one.data<float>()[0] = 1;
  }
  return one;
}

bool is_leaf(const Tensor& tensor) { return tensor.is_defined() && tensor.requires_grad() && !tensor.grad_node(); }

// How many of the nodes use a leaf.
class LeafUses {
 public:
  LeafUses(const std::vector<std::shared_ptr<GradNode>>& nodes, const GradientHook& ready) : ready_(ready) {
    if (!ready_) return;
    for (const auto& node : nodes) {
      for (const Tensor& input : node->inputs()) {
        if (is_leaf(input)) ++uses_[input.id()];
      }
    }
  }
  void done(const GradNode& node) {
    if (!ready_) return;
    for (const Tensor& input : node.inputs()) {
      if (is_leaf(input) && --uses_[input.id()] == 0) ready_(input);
    }
  }

 private:
  const GradientHook& ready_;
  std::unordered_map<const void*, int> uses_;
};

void walk(const Tensor& result, const Tensor& grad, const GradientHook& ready) {
  // Post-order without recursion: a node is listed after all that its result depends on.
  std::vector<std::shared_ptr<GradNode>> order;
  std::unordered_set<GradNode*> seen;
  std::vector<std::pair<std::shared_ptr<GradNode>, size_t>> stack{{result.grad_node(), 0}};
  seen.insert(result.grad_node().get());
  while (!stack.empty()) {
    auto& [node, next] = stack.back();
    if (next < node->inputs().size()) {
      const std::shared_ptr<GradNode>& child = node->inputs()[next++].grad_node();
      if (child && seen.insert(child.get()).second) stack.emplace_back(child, 0);
      continue;
    }
    order.push_back(node);
    stack.pop_back();
  }
  std::unordered_map<GradNode*, Tensor> pending;  // gradients of the nodes' results, summed so far
  pending[result.grad_node().get()] = grad;
  LeafUses leaves(order, ready);
  const NoGrad guard;
  for (auto it = order.rbegin(); it != order.rend(); ++it) {
    GradNode& node = **it;
    const auto own = pending.find(&node);
    if (own != pending.end()) {
      auto* const block = dynamic_cast<CheckpointNode*>(&node);  // has a tape inside, whose leaves are told of too
      const std::vector<Tensor> grads = block ? block->backward_inside(own->second, ready) : node.backward(own->second);
      pending.erase(own);
      for (size_t i = 0; i < grads.size(); ++i) {
        Tensor input = node.inputs()[i];
        if (!grads[i] || !input.requires_grad()) continue;
        if (const std::shared_ptr<GradNode>& child = input.grad_node()) {
          accumulate(pending[child.get()], grads[i]);
        } else {
          Tensor sum = input.grad();
          accumulate(sum, grads[i]);
          input.set_grad(sum);
        }
      }
    }
    leaves.done(node);
    node.release();
  }
}

}  // namespace

void backward(const Tensor& loss) { walk(loss, one_for(loss), {}); }
void backward(const Tensor& loss, const GradientHook& ready) { walk(loss, one_for(loss), ready); }
void backward(const Tensor& result, const Tensor& grad) { walk(result, grad, {}); }

Tensor ops::attach(const Tensor& raw, std::vector<Tensor> inputs, BackwardFn fn) {
  Tensor result = raw.detach();
  result.set_grad_node(std::make_shared<FunctionNode>(std::move(inputs), std::move(fn)));
  return result;
}

Tensor ops::checkpoint(const Tensor& x, std::function<Tensor(const Tensor& x)> block) {
  if (!grad_enabled()) return block(x);
  Tensor y;
  {
    const NoGrad forward_only;
    y = block(x);
  }
  Tensor result = y.detach();
  result.set_grad_node(std::make_shared<CheckpointNode>(x, std::move(block)));
  return result;
}

}  // namespace pagoda
