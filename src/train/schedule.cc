// The curves: warm-up first, then one formula a type.
#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace pagoda::train {

namespace {

constexpr double kPi = 3.141592653589793;
constexpr const char* kWhere = "--lr-scheduler-kwargs";

void check_known(const std::string& type, const Json& options, const std::vector<std::string>& known) {
  if (options.is_null()) return;
  for (const JsonMember& member : options.as_object(kWhere)) {
    if (std::find(known.begin(), known.end(), member.key) != known.end()) continue;
    std::string names;
    for (const std::string& name : known) names += (names.empty() ? "" : ", ") + name;
    invalid(kWhere, "{} has no option '{}', need {}", type, member.key, names.empty() ? "none" : names);
  }
}

std::string shape_of(const Json& options, const char* key, const char* fallback) {
  const std::string name = options.get_string(key, fallback, kWhere);
  if (name != "linear" && name != "cosine" && name != "1-sqrt") {
    invalid(kWhere, "{}: got '{}', need linear, cosine or 1-sqrt", key, name);
  }
  return name;
}

}  // namespace

const std::vector<std::string>& Schedule::types() {
  static const std::vector<std::string> kTypes = {"linear",
                                                  "cosine",
                                                  "cosine_with_restarts",
                                                  "cosine_with_min_lr",
                                                  "cosine_warmup_with_min_lr",
                                                  "polynomial",
                                                  "constant",
                                                  "constant_with_warmup",
                                                  "inverse_sqrt",
                                                  "warmup_stable_decay",
                                                  "reduce_lr_on_plateau"};
  return kTypes;
}

Schedule::Schedule(const std::string& type, double learning_rate, int64_t warmup_steps, int64_t max_steps, const Json& options)
    : type_(type), base_(learning_rate), warmup_(static_cast<double>(warmup_steps)), total_(static_cast<double>(max_steps)) {
  if (std::find(types().begin(), types().end(), type) == types().end()) {
    std::string names;
    for (const std::string& name : types()) names += (names.empty() ? "" : ", ") + name;
    invalid("--lr-scheduler-type", "got '{}', need one of {}", type, names);
  }
  if (type == "constant" || type == "reduce_lr_on_plateau") warmup_ = 0;
  if (type == "cosine") {
    check_known(type, options, {"num_cycles"});
    num_cycles_ = options.get_double("num_cycles", 0.5, kWhere);
  } else if (type == "cosine_with_restarts") {
    check_known(type, options, {"num_cycles"});
    num_cycles_ = options.get_double("num_cycles", 1, kWhere);
  } else if (type == "cosine_with_min_lr" || type == "cosine_warmup_with_min_lr") {
    std::vector<std::string> known{"num_cycles", "min_lr", "min_lr_rate"};
    if (type == "cosine_warmup_with_min_lr") known.emplace_back("warmup_lr_rate");
    check_known(type, options, known);
    num_cycles_ = options.get_double("num_cycles", 0.5, kWhere);
    warmup_rate_ = options.get_double("warmup_lr_rate", -1, kWhere);
    if (options.contains("min_lr") == options.contains("min_lr_rate")) {
      invalid(kWhere, "{} needs one of min_lr and min_lr_rate", type);
    }
    if (options.contains("min_lr") && !(base_ > 0)) {
      invalid(kWhere, "min_lr needs a learning rate above 0: got {} (min_lr_rate does not)", base_);
    }
    min_rate_ = options.contains("min_lr") ? options.get_double("min_lr", 0, kWhere) / base_
                                           : options.get_double("min_lr_rate", 0, kWhere);
  } else if (type == "polynomial") {
    check_known(type, options, {"lr_end", "power"});
    lr_end_ = options.get_double("lr_end", 1e-7, kWhere);
    power_ = options.get_double("power", 1, kWhere);
    if (!(base_ > lr_end_)) invalid(kWhere, "lr_end: got {}, need less than the learning rate {}", lr_end_, base_);
  } else if (type == "inverse_sqrt") {
    check_known(type, options, {"timescale"});
    timescale_ = options.get_double("timescale", warmup_ > 0 ? warmup_ : 10000, kWhere);
    if (!(timescale_ > 0)) invalid(kWhere, "timescale: got {}, need more than 0", timescale_);
  } else if (type == "warmup_stable_decay") {
    check_known(type, options,
                {"num_decay_steps", "num_stable_steps", "warmup_type", "decay_type", "min_lr_ratio", "num_cycles"});
    // HF has no default; a tenth of the steps is what the schedule's papers use (MiniCPM, Hu et al. 2024).
    decay_steps_ = options.get_double("num_decay_steps", std::ceil(total_ / 10), kWhere);
    stable_steps_ = options.get_double("num_stable_steps", total_ - warmup_ - decay_steps_, kWhere);
    warmup_type_ = shape_of(options, "warmup_type", "linear");
    decay_type_ = shape_of(options, "decay_type", "cosine");
    min_rate_ = options.get_double("min_lr_ratio", 0, kWhere);
    num_cycles_ = options.get_double("num_cycles", 0.5, kWhere);
    if (stable_steps_ < 0) {
      invalid(kWhere, "num_decay_steps: got {} beside {} steps of warm-up, need at most {} together", decay_steps_, warmup_,
              total_);
    }
  } else if (type == "reduce_lr_on_plateau") {
    read_plateau(options);
  } else {
    check_known(type, options, {});
  }
}

void Schedule::read_plateau(const Json& options) {
  check_known(type_, options, {"mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "min_lr", "eps"});
  const std::string mode = options.get_string("mode", "min", kWhere);
  const std::string threshold_mode = options.get_string("threshold_mode", "rel", kWhere);
  if (mode != "min" && mode != "max") invalid(kWhere, "mode: got '{}', need min or max", mode);
  if (threshold_mode != "rel" && threshold_mode != "abs") {
    invalid(kWhere, "threshold_mode: got '{}', need rel or abs", threshold_mode);
  }
  plateau_.greater = mode == "max";
  plateau_.relative = threshold_mode == "rel";
  plateau_.factor = options.get_double("factor", plateau_.factor, kWhere);
  plateau_.patience = options.get_int("patience", plateau_.patience, kWhere);
  plateau_.threshold = options.get_double("threshold", plateau_.threshold, kWhere);
  plateau_.cooldown = options.get_int("cooldown", 0, kWhere);
  plateau_.min_lr = options.get_double("min_lr", 0, kWhere);
  plateau_.eps = options.get_double("eps", plateau_.eps, kWhere);
  if (!(plateau_.factor > 0 && plateau_.factor < 1)) invalid(kWhere, "factor: got {}, need 0 to 1", plateau_.factor);
  plateau_.rate = base_;
  plateau_.best = std::numeric_limits<double>::quiet_NaN();
}

void Schedule::observe(double metric) {
  if (type_ != "reduce_lr_on_plateau") return;
  Plateau& p = plateau_;
  const double margin = (p.greater ? 1 : -1) * p.threshold;
  const double bar = p.relative ? p.best * (1 + margin) : p.best + margin;
  if (std::isnan(p.best) || (p.greater ? metric > bar : metric < bar)) {
    p.best = metric;
    p.bad = 0;
  } else {
    ++p.bad;
  }
  if (p.cooling > 0) {
    --p.cooling;
    p.bad = 0;
  }
  if (p.bad <= p.patience) return;
  const double lower = std::max(p.rate * p.factor, p.min_lr);
  if (p.rate - lower > p.eps) p.rate = lower;
  p.cooling = p.cooldown;
  p.bad = 0;
}

Json Schedule::state() const {
  if (type_ != "reduce_lr_on_plateau") return {};
  const Json best = std::isnan(plateau_.best) ? Json() : Json(plateau_.best);
  Json json = Json::object();
  json.set("lr", plateau_.rate).set("best", best).set("num_bad_epochs", plateau_.bad);
  return json.set("cooldown_counter", plateau_.cooling);
}

void Schedule::restore(const Json& state) {
  if (type_ != "reduce_lr_on_plateau" || state.is_null()) return;
  constexpr const char* kPlace = "lr_scheduler";
  plateau_.rate = state.at("lr", kPlace).as_double(kPlace);
  plateau_.best = state.get_double("best", std::numeric_limits<double>::quiet_NaN(), kPlace);
  plateau_.bad = state.get_int("num_bad_epochs", 0, kPlace);
  plateau_.cooling = state.get_int("cooldown_counter", 0, kPlace);
}

double Schedule::factor(int64_t step) const {
  if (type_ == "reduce_lr_on_plateau") return base_ > 0 ? plateau_.rate / base_ : 1;
  const double now = static_cast<double>(step);
  if (now >= warmup_) return after_warmup(now);
  if (type_ == "cosine_warmup_with_min_lr") {
    if (warmup_rate_ < 0) return (now + 1) / std::max(1.0, warmup_);
    return warmup_rate_ + (1 - warmup_rate_) * now / std::max(1.0, warmup_ - 1);
  }
  double factor = now / std::max(1.0, warmup_);
  if (type_ != "warmup_stable_decay") return factor;
  if (warmup_type_ == "cosine") factor = 0.5 * (1 - std::cos(kPi * factor));
  if (warmup_type_ == "1-sqrt") factor = 1 - std::sqrt(1 - factor);
  return std::max(0.0, factor * (1 - min_rate_) + min_rate_);
}

double Schedule::after_warmup(double step) const {
  const bool ahead = type_ == "cosine_warmup_with_min_lr";  // its curve begins one step on
  const double progress = (step - warmup_ + (ahead ? 1 : 0)) / std::max(1.0, total_ - warmup_);
  if (type_ == "linear") return std::max(0.0, (total_ - step) / std::max(1.0, total_ - warmup_));
  if (type_ == "cosine" || type_ == "cosine_with_min_lr" || ahead) {
    return std::max(0.0, 0.5 * (1 + std::cos(kPi * num_cycles_ * 2 * progress)) * (1 - min_rate_) + min_rate_);
  }
  if (type_ == "cosine_with_restarts") {
    return progress >= 1 ? 0 : std::max(0.0, 0.5 * (1 + std::cos(kPi * std::fmod(num_cycles_ * progress, 1.0))));
  }
  if (type_ == "polynomial") {
    if (step > total_) return lr_end_ / base_;
    const double left = 1 - (step - warmup_) / std::max(1.0, total_ - warmup_);
    return ((base_ - lr_end_) * std::pow(left, power_) + lr_end_) / base_;
  }
  if (type_ == "inverse_sqrt") return 1 / std::sqrt((step + timescale_ - warmup_) / timescale_);
  if (type_ == "warmup_stable_decay") {
    if (step < warmup_ + stable_steps_) return 1;
    if (step >= warmup_ + stable_steps_ + decay_steps_) return min_rate_;
    const double decayed = (step - warmup_ - stable_steps_) / std::max(1.0, decay_steps_);
    double factor = 1 - decayed;
    if (decay_type_ == "cosine") factor = 0.5 * (1 + std::cos(kPi * num_cycles_ * 2 * decayed));
    if (decay_type_ == "1-sqrt") factor = 1 - std::sqrt(decayed);
    return std::max(0.0, factor * (1 - min_rate_) + min_rate_);
  }
  return 1;  // constant, constant_with_warmup
}

}  // namespace pagoda::train
