// A loss, a gradient or weights that are not finite: where it began, and the end of the run.
#include <cmath>

#include "base/error.h"
#include "ops/optim.h"
#include "ops/tape.h"
#include "train/checkpoint.h"
#include "train/trainer_impl.h"

namespace pagoda::train {

namespace {

// The first module whose result is not finite.
class FiniteCheck : public Observer {
 public:
  void observe(std::string_view path, const Tensor& tensor) override {
    const bool floats = tensor.dtype() == DType::kFloat32 || tensor.dtype() == DType::kBFloat16;
    if (first_.empty() && floats && tensor.is_contiguous() && !ops::all_finite(tensor)) first_ = path;
  }
  const std::string& first() const { return first_; }

 private:
  std::string first_;
};

}  // namespace

void Trainer::Impl::stop_training(const std::string& what) {
  const auto kept = list_checkpoints(arguments_.output_dir);
  invalid(fmt::format("step {}", global_step_ + 1),
          "{}; the learning rate was {}: need a lower one, a longer warm-up or clipping. {}", what,
          arguments_.learning_rate * schedule_->factor(global_step_),
          kept.empty() ? "No checkpoint was written before" : "The last good state is " + kept.back().second);
}

void Trainer::Impl::explain_loss(double value, const MicroBatch& batch, int64_t count) {
  check_parameters(fmt::format("the loss is {}", std::fabs(value)));
  const NoGrad no_grad;
  FiniteCheck finite;
  task_.loss(model_.model(), batch, count, &finite);
  stop_training(fmt::format("the loss is {}; the first layer that is not finite is {}", std::fabs(value),
                            finite.first().empty() ? "the head" : finite.first()));
}

void Trainer::Impl::explain_gradient() {
  size_t first = 0;
  for (; first < parameters_.size(); ++first) {
    const Tensor gradient = parameters_[first]->value.grad();
    if (gradient && !ops::all_finite(gradient)) break;
  }
  if (parallel_) first = parallel_->first_of_all(first);  // a rank has the gradients of its own parameters alone
  if (first < parameters_.size()) {
    stop_training(fmt::format("the gradient is not finite; the first parameter with one is {}", parameters_[first]->name));
  }
  stop_training("the norm of the gradients is not finite");
}

void Trainer::Impl::check_parameters(const std::string& what) {
  for (const Parameter* parameter : parameters_) {
    if (!ops::all_finite(parameter->value))
      stop_training(fmt::format("{}; the weights of {} are not finite", what, parameter->name));
  }
}

}  // namespace pagoda::train
