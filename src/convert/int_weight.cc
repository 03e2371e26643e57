// Scales, rounding, and GPTQ with its Cholesky factor.
#include "convert/int_weight.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "base/stable_sort.h"

namespace pagoda {

namespace {

float as_stored(float scale, DType dtype) {
  if (dtype == DType::kBFloat16) return static_cast<float>(BFloat16(scale));
  if (dtype == DType::kFloat16) return static_cast<float>(Float16(scale));
  return scale;
}

// Scale and zero of one group.
struct Step {
  float scale = 1, zero = 0;
};

class Rounder {
 public:
  explicit Rounder(const IntCoding& coding)
      : coding_(coding),
        low_(-static_cast<float>(1 << (coding.bits - 1))),
        high_(static_cast<float>((1 << (coding.bits - 1)) - 1)) {}

  float code(float value, const Step& step) const {
    return std::min(std::max(std::nearbyint(value / step.scale) + step.zero, low_), high_);
  }
  float rounded(float value, const Step& step) const { return (code(value, step) - step.zero) * step.scale; }

  // For values that go from `least` to `most`.
  Step step_for(float least, float most) const {
    Step step;
    least = std::min(least, 0.0f);
    most = std::max(most, 0.0f);
    float range = coding_.symmetric ? 2 * std::max(-least, most) : most - least;
    if (!(range > 0)) range = 1;  // a group of zeros
    step.scale = as_stored(range / (high_ - low_), coding_.scale_dtype);
    // A scale that its dtype cannot hold: the smallest that it can, so that nothing is divided by zero.
    if (!(step.scale > 0)) step.scale = coding_.scale_dtype == DType::kFloat16 ? 6e-8f : std::numeric_limits<float>::min();
    if (!coding_.symmetric) step.zero = std::min(std::max(std::nearbyint(low_ - least / step.scale), low_), high_);
    return step;
  }

  Step extremes(const float* w, int64_t count) const {
    const auto [least, most] = std::minmax_element(w, w + count);
    return step_for(*least, *most);
  }

  // The range, shrunken by up to a half, that loses least; `power`: what an error in each column costs.
  Step best(const float* w, const float* power, int64_t count) const {
    const auto [least, most] = std::minmax_element(w, w + count);
    Step found;
    double lowest = std::numeric_limits<double>::infinity();
    for (int i = 0; i <= 50; ++i) {
      const float share = 1 - 0.01f * static_cast<float>(i);
      const Step step = step_for(*least * share, *most * share);
      double loss = 0;
      for (int64_t k = 0; k < count; ++k) {
        const double error = static_cast<double>(w[k] - rounded(w[k], step));
        loss += error * error * static_cast<double>(power[k]);
      }
      if (loss < lowest) {
        lowest = loss;
        found = step;
      }
    }
    return found;
  }

 private:
  IntCoding coding_;
  float low_, high_;
};

IntWeight empty_weight(int64_t n, int64_t k, const IntCoding& coding) {
  IntWeight out;
  out.n = n;
  out.k = k;
  out.bits = coding.bits;
  out.group = coding.group > 0 ? coding.group : k;
  out.groups = k / out.group;
  out.codes.resize(static_cast<size_t>(n * k));
  out.scales.resize(static_cast<size_t>(n * out.groups));
  if (!coding.symmetric) out.zeros.resize(out.scales.size());
  return out;
}

void put_step(IntWeight& out, int64_t n, int64_t g, const Step& step) {
  const size_t at = static_cast<size_t>(n * out.groups + g);
  out.scales[at] = step.scale;
  if (!out.zeros.empty()) out.zeros[at] = static_cast<int8_t>(step.zero);
}

Step step_of(const IntWeight& w, int64_t n, int64_t g) {
  const size_t at = static_cast<size_t>(n * w.groups + g);
  return {w.scales[at], w.zeros.empty() ? 0 : static_cast<float>(w.zeros[at])};
}

// a [k, k], lower half: a = l l^T in place, by blocks of columns. False if a is not positive definite.
bool cholesky(ThreadPool& pool, std::vector<double>& a, int64_t k) {
  constexpr int64_t kBlock = 64;
  std::vector<double> panel;  // the block's columns as rows
  for (int64_t first = 0; first < k; first += kBlock) {
    const int64_t last = std::min(first + kBlock, k), rest = k - last;
    for (int64_t j = first; j < last; ++j) {
      for (int64_t i = j; i < last; ++i) {
        double sum = a[static_cast<size_t>(i * k + j)];
        for (int64_t t = first; t < j; ++t) sum -= a[static_cast<size_t>(i * k + t)] * a[static_cast<size_t>(j * k + t)];
        if (i == j) {
          if (!(sum > 0) || !std::isfinite(sum)) return false;
          a[static_cast<size_t>(i * k + j)] = std::sqrt(sum);
        } else {
          a[static_cast<size_t>(i * k + j)] = sum / a[static_cast<size_t>(j * k + j)];
        }
      }
    }
    panel.resize(static_cast<size_t>((last - first) * rest));
    pool.parallel_for(rest, 16, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = last + begin; i < last + end; ++i) {
        double* row = a.data() + i * k;
        for (int64_t j = first; j < last; ++j) {
          double sum = row[j];
          for (int64_t t = first; t < j; ++t) sum -= row[t] * a[static_cast<size_t>(j * k + t)];
          row[j] = sum / a[static_cast<size_t>(j * k + j)];
          panel[static_cast<size_t>((j - first) * rest + i - last)] = row[j];
        }
      }
    });
    pool.parallel_for(rest, 16, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        double* row = a.data() + (last + i) * k + last;
        for (int64_t t = 0; t < last - first; ++t) {
          const double times = a[static_cast<size_t>((last + i) * k + first + t)];
          const double* column = panel.data() + t * rest;
          for (int64_t c = 0; c <= i; ++c) row[c] -= times * column[c];
        }
      }
    });
  }
  return true;
}

// The lower factor of the damped hessian with its columns in reverse order.
std::vector<double> damped_factor(ThreadPool& pool, const std::vector<float>& hessian, const std::vector<int64_t>& order,
                                  double damp) {
  const int64_t k = static_cast<int64_t>(order.size());
  std::vector<double> l(static_cast<size_t>(k * k));
  double mean = 0;
  for (int64_t i = 0; i < k; ++i) mean += static_cast<double>(hessian[static_cast<size_t>(i * k + i)]) / static_cast<double>(k);
  for (bool done = false; !done; damp = std::max(10 * damp, 1e-6)) {
    if (damp > 1e6) invalid("quantize", "the inputs of a matrix are not finite: no calibration is possible");
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        const int64_t from = order[static_cast<size_t>(k - 1 - i)], to = order[static_cast<size_t>(k - 1 - j)];
        l[static_cast<size_t>(i * k + j)] = static_cast<double>(hessian[static_cast<size_t>(from * k + to)]);
      }
      l[static_cast<size_t>(i * k + i)] += damp * mean;
    }
    done = cholesky(pool, l, k);
  }
  return l;
}

std::vector<double> inverse_of(ThreadPool& pool, const std::vector<double>& l, int64_t k) {
  std::vector<double> inverse(static_cast<size_t>(k * k), 0.0);
  pool.parallel_for(k, 64, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < k; ++i) {
      double* row = inverse.data() + i * k;
      const int64_t stop = std::min(end, i + 1);
      if (i < end) row[i] = 1;
      for (int64_t t = begin; t < i; ++t) {
        const double times = l[static_cast<size_t>(i * k + t)];
        const double* above = inverse.data() + t * k;
        for (int64_t c = begin; c < std::min(stop, t + 1); ++c) row[c] -= times * above[c];
      }
      for (int64_t c = begin; c < stop; ++c) row[c] /= l[static_cast<size_t>(i * k + i)];
    }
  });
  return inverse;
}

// u [k, k] upper with u^T u = hessian^-1, hessian in the given order of columns. The Cholesky factor of the reversed matrix,
// inverted and reversed again, is that: the inverse itself is never formed. Each step's memory goes before the next: k may be
// 10,000 and more.
std::vector<float> inverse_factor(ThreadPool& pool, std::vector<float> hessian, const std::vector<int64_t>& order,
                                  double damp) {
  const int64_t k = static_cast<int64_t>(order.size());
  std::vector<double> l = damped_factor(pool, hessian, order, damp);
  std::vector<float>().swap(hessian);
  const std::vector<double> inverse = inverse_of(pool, l, k);
  std::vector<double>().swap(l);
  std::vector<float> u(static_cast<size_t>(k * k), 0.0f);
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t j = i; j < k; ++j)
      u[static_cast<size_t>(i * k + j)] = static_cast<float>(inverse[static_cast<size_t>((k - 1 - i) * k + k - 1 - j)]);
  }
  return u;
}

}  // namespace

void check_finite(const std::string& name, const float* w, int64_t n, int64_t k) {
  for (int64_t i = 0; i < n * k; ++i) {
    if (!std::isfinite(w[i])) invalid(name, "got {} at [{}, {}], need finite weights to quantize", w[i], i / k, i % k);
  }
}

IntWeight round_to_nearest(ThreadPool& pool, const float* w, int64_t n, int64_t k, const IntCoding& coding) {
  IntWeight out = empty_weight(n, k, coding);
  const Rounder rounder(coding);
  pool.parallel_for(n, 8, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t g = 0; g < out.groups; ++g) {
        const float* values = w + row * k + g * out.group;
        const Step step = rounder.extremes(values, out.group);
        put_step(out, row, g, step);
        int8_t* codes = out.codes.data() + row * k + g * out.group;
        for (int64_t i = 0; i < out.group; ++i) codes[i] = static_cast<int8_t>(rounder.code(values[i], step));
      }
    }
  });
  return out;
}

GptqInputs prepare_gptq(ThreadPool& pool, std::vector<float> hessian, int64_t k, const GptqOptions& options) {
  GptqInputs inputs;
  inputs.power.resize(static_cast<size_t>(k));
  for (int64_t i = 0; i < k; ++i) {
    float& diagonal = hessian[static_cast<size_t>(i * k + i)];
    inputs.power[static_cast<size_t>(i)] = diagonal;
    if (diagonal == 0) diagonal = 1;
  }
  inputs.order.resize(static_cast<size_t>(k));
  std::iota(inputs.order.begin(), inputs.order.end(), int64_t{0});
  if (options.act_order) {
    const auto power = [&](int64_t column) { return inputs.power[static_cast<size_t>(column)]; };
    stable_sort(inputs.order, [&](int64_t a, int64_t b) { return power(a) > power(b); });
  }
  inputs.factor = inverse_factor(pool, std::move(hessian), inputs.order, options.damp);
  return inputs;
}

IntWeight gptq(ThreadPool& pool, const float* w, int64_t n, int64_t k, const IntCoding& coding, const GptqInputs& inputs) {
  IntWeight out = empty_weight(n, k, coding);
  const Rounder rounder(coding);
  const std::vector<float>&power = inputs.power, &u = inputs.factor;
  const std::vector<int64_t>& order = inputs.order;
  // A few rows at a time share each row of the factor.
  constexpr int64_t kRows = 8;
  pool.parallel_for(n, kRows, [&](int64_t begin, int64_t end, int) {
    std::vector<float> rest(static_cast<size_t>((end - begin) * k));  // what is left of each row, in the order of columns
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t g = 0; g < out.groups; ++g)
        put_step(out, row, g, rounder.best(w + row * k + g * out.group, power.data() + g * out.group, out.group));
      for (int64_t i = 0; i < k; ++i)
        rest[static_cast<size_t>((row - begin) * k + i)] = w[row * k + order[static_cast<size_t>(i)]];
    }
    for (int64_t i = 0; i < k; ++i) {
      const float* factor = u.data() + i * k;
      const int64_t column = order[static_cast<size_t>(i)];
      for (int64_t row = begin; row < end; ++row) {
        float* values = rest.data() + (row - begin) * k;
        const Step step = step_of(out, row, column / out.group);
        const float code = rounder.code(values[i], step);
        out.codes[static_cast<size_t>(row * k + column)] = static_cast<int8_t>(code);
        const float error = (values[i] - (code - step.zero) * step.scale) / factor[i];
        for (int64_t j = i + 1; j < k; ++j) values[j] -= error * factor[j];
      }
    }
  });
  return out;
}

void decode(ThreadPool& pool, const IntWeight& weight, float* out) {
  pool.parallel_for(weight.n, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t g = 0; g < weight.groups; ++g) {
        const Step step = step_of(weight, row, g);
        for (int64_t i = row * weight.k + g * weight.group; i < row * weight.k + (g + 1) * weight.group; ++i)
          out[i] = (static_cast<float>(weight.codes[static_cast<size_t>(i)]) - step.zero) * step.scale;
      }
    }
  });
}

}  // namespace pagoda
