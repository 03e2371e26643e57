// Speeds of the last steps, losses and metrics as lines of text.
#include "cli/train_console.h"

#include <fmt/format.h>

namespace pagoda::cli {

void Console::on_train_begin(const Json& run) {
  const int64_t step = run.get_int("global_step", 0, "run"), steps = run.get_int("max_steps", 0, "run");
  tell(fmt::format("training {} parameters for {} steps{}", run.get_int("num_parameters", 0, "run"), steps,
                   step > 0 ? fmt::format(", going on after step {}", step) : ""));
}

void Console::on_step(const train::StepReport& step) {
  // Over the last steps; the first of all is slow (memory is touched, weights are packed) and goes as soon as there are
  // others.
  if (recent_.size() == 8 || (recent_.size() == 1 && first_)) {
    recent_.pop_front();
    first_ = false;
  }
  recent_.push_back(step);
  double seconds = 0, tokens = 0, flops = 0;
  for (const train::StepReport& each : recent_) {
    seconds += each.seconds;
    tokens += each.tokens;
    flops += each.flops;
  }
  rate_ = tokens / seconds;
  flops_ = flops / seconds;
  if (limit_ > 0) raise_limit(flops_);
  if (program_.quiet || !progress_) return;
  const std::string loss = loss_.empty() ? "" : " loss " + loss_;
  line_.update(fmt::format("train{}, {}", loss, speed()), step.step, step.max_steps);
  max_steps_ = step.max_steps;
}

void Console::on_log(const Json& entry) {
  const Json* loss = entry.find("loss");
  if (loss == nullptr) return;
  loss_ = fmt::format("{:.4f}", loss->as_double("loss"));
  tell(fmt::format("step {}/{} (epoch {:.2f}): loss {}, learning rate {:.3g}, gradient norm {:.3g}, {}",
                   entry.get_int("step", 0, "log"), max_steps_, entry.get_double("epoch", 0, "log"), loss_,
                   entry.get_double("learning_rate", 0, "log"), entry.get_double("grad_norm", 0, "log"), speed()));
}

void Console::on_evaluate(const Json& entry) {
  std::string text = fmt::format("step {}:", entry.get_int("step", 0, "log"));
  for (const JsonMember& member : entry.as_object("log")) {
    if (member.key.rfind("eval_", 0) != 0 || member.key == "eval_runtime" || member.key.ends_with("_per_second")) continue;
    text += fmt::format(" {} {:.4f}", member.key, member.value.as_double("log"));
  }
  tell(text);
  evaluation_ = entry;
}

std::string Console::speed() const {
  if (limit_ == 0) return fmt::format("{:.0f} tokens/s", rate_);
  return fmt::format("{:.0f} tokens/s, MFU {:.1f} %", rate_, 100 * mfu());
}

void Console::tell(const std::string& text) {
  line_.clear();
  note(program_, text);
}

}  // namespace pagoda::cli
