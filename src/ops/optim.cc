// Updates as plain loops over runs of elements: memory is what they wait for.
#include "ops/optim.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "ops/check.h"

namespace pagoda::ops {

namespace {

constexpr int64_t kRun = 1 << 14;    // elements that a thread takes at a time
constexpr int64_t kBlock = 1 << 12;  // elements of one partial sum: part of what results are, not to be tuned

void check(const char* op, const Tensor& parameter, const Tensor& other) {
  check_dtype(op, "state", other, {DType::kFloat32});
  if (other.numel() != parameter.numel() || !other.is_contiguous() || !parameter.is_contiguous()) {
    invalid(op, "got {}, need {} and contiguous", shape_string(other.view()), shape_string(parameter.view()));
  }
}

template <class Fn>
void each_run(const Tensor& parameter, Fn&& fn) {
  parameter.device().exec.pool->parallel_for(parameter.numel(), kRun, [&](int64_t begin, int64_t end, int) { fn(begin, end); });
}

// The sum over [0, n) of fn(begin, end), a double, of fixed blocks, added in their order.
template <class Fn>
double sum_of_blocks(const Tensor& x, int64_t n, Fn&& fn) {
  std::vector<double> partial(static_cast<size_t>((n + kBlock - 1) / kBlock));
  x.device().exec.pool->parallel_for(static_cast<int64_t>(partial.size()), 4, [&](int64_t begin, int64_t end, int) {
    for (int64_t block = begin; block < end; ++block) {
      partial[static_cast<size_t>(block)] = fn(block * kBlock, std::min(n, (block + 1) * kBlock));
    }
  });
  return std::accumulate(partial.begin(), partial.end(), 0.0);
}

// Eight sums side by side, so that the loop need not wait for each addition.
template <class Term>
double sum_terms(int64_t begin, int64_t end, Term&& term) {
  double sums[8] = {};
  int64_t i = begin;
  for (; i + 8 <= end; i += 8) {
    for (int64_t j = 0; j < 8; ++j) sums[j] += term(i + j);
  }
  for (; i < end; ++i) sums[(i - begin) & 7] += term(i);
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

}  // namespace

void adam(const AdamOptions& o, const Tensor& parameter, const Tensor& gradient, const Tensor& exp_avg,
          const Tensor& exp_avg_sq, float gradient_scale) {
  for (const Tensor* each : {&gradient, &exp_avg, &exp_avg_sq}) check("adam", parameter, *each);
  const double correction1 = 1 - std::pow(o.beta1, static_cast<double>(o.step));
  const double correction2 = 1 - std::pow(o.beta2, static_cast<double>(o.step));
  const float rate = static_cast<float>(o.learning_rate / correction1), root = static_cast<float>(std::sqrt(correction2));
  const float keep = static_cast<float>(o.decoupled ? 1 - o.learning_rate * o.weight_decay : 1);
  const float decay = static_cast<float>(o.decoupled ? 0 : o.weight_decay), epsilon = static_cast<float>(o.epsilon);
  const float rest1 = static_cast<float>(1 - o.beta1), beta2 = static_cast<float>(o.beta2);
  const float rest2 = static_cast<float>(1 - o.beta2);
  float *const all_p = parameter.data<float>(), *const all_m = exp_avg.data<float>(), *const all_v = exp_avg_sq.data<float>();
  const float* const all_g = gradient.data<float>();
  each_run(parameter, [&](int64_t begin, int64_t end) {
    float* __restrict p = all_p + begin, * __restrict m = all_m + begin, * __restrict v = all_v + begin;
    const float* __restrict g = all_g + begin;
    for (int64_t i = 0; i < end - begin; ++i) {
      const float slope = g[i] * gradient_scale + decay * p[i];
      const float average = m[i] + rest1 * (slope - m[i]);
      const float square = beta2 * v[i] + rest2 * slope * slope;
      m[i] = average;
      v[i] = square;
      p[i] = p[i] * keep - rate * average / (std::sqrt(square) / root + epsilon);
    }
  });
}

void sgd(const SgdOptions& o, const Tensor& parameter, const Tensor& gradient, const Tensor& momentum_buffer,
         float gradient_scale) {
  check("sgd", parameter, gradient);
  const float rate = static_cast<float>(o.learning_rate), decay = static_cast<float>(o.weight_decay);
  const float momentum = static_cast<float>(o.momentum);
  float* const all_p = parameter.data<float>();
  const float* const all_g = gradient.data<float>();
  if (momentum == 0) {
    return each_run(parameter, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) all_p[i] -= rate * (all_g[i] * gradient_scale + decay * all_p[i]);
    });
  }
  check("sgd", parameter, momentum_buffer);
  float* const all_b = momentum_buffer.data<float>();
  each_run(parameter, [&](int64_t begin, int64_t end) {
    float* __restrict p = all_p + begin, * __restrict b = all_b + begin;
    const float* __restrict g = all_g + begin;
    for (int64_t i = 0; i < end - begin; ++i) {
      const float slope = g[i] * gradient_scale + decay * p[i];
      b[i] = o.step == 1 ? slope : momentum * b[i] + slope;
      p[i] -= rate * (o.nesterov ? slope + momentum * b[i] : b[i]);
    }
  });
}

void lion(const LionOptions& o, const Tensor& parameter, const Tensor& gradient, const Tensor& exp_avg, float gradient_scale) {
  for (const Tensor* each : {&gradient, &exp_avg}) check("lion", parameter, *each);
  const float rate = static_cast<float>(o.learning_rate), keep = static_cast<float>(1 - o.learning_rate * o.weight_decay);
  const float beta1 = static_cast<float>(o.beta1), rest1 = static_cast<float>(1 - o.beta1);
  const float beta2 = static_cast<float>(o.beta2), rest2 = static_cast<float>(1 - o.beta2);
  float *const all_p = parameter.data<float>(), *const all_m = exp_avg.data<float>();
  const float* const all_g = gradient.data<float>();
  each_run(parameter, [&](int64_t begin, int64_t end) {
    float* __restrict p = all_p + begin, * __restrict m = all_m + begin;
    const float* __restrict g = all_g + begin;
    for (int64_t i = 0; i < end - begin; ++i) {
      const float slope = g[i] * gradient_scale, direction = beta1 * m[i] + rest1 * slope;
      const float sign = direction > 0 ? 1.0f : direction < 0 ? -1.0f : 0.0f;
      p[i] = p[i] * keep - rate * sign;
      m[i] = beta2 * m[i] + rest2 * slope;
    }
  });
}

void adafactor(const AdafactorOptions& o, const Tensor& parameter, const Tensor& gradient, const Tensor& row,
               const Tensor& column, float gradient_scale) {
  check("adafactor", parameter, gradient);
  const bool factored = column.is_defined();
  const int64_t width = factored ? column.numel() : 1, height = row.numel();
  if (width * height != parameter.numel()) {
    invalid("adafactor", "state of another shape: got {}, need {}", width * height, parameter.numel());
  }
  ThreadPool& pool = *parameter.device().exec.pool;
  const double keep = 1 - std::pow(static_cast<double>(o.step), o.decay_rate), fresh = 1 - keep;
  const float* const g = gradient.data<float>();
  float* const p = parameter.data<float>();
  float* const r = row.data<float>();
  float* const c = factored ? column.data<float>() : nullptr;
  const auto slope = [&](int64_t i) { return static_cast<double>(g[i]) * static_cast<double>(gradient_scale); };
  pool.parallel_for(height, std::max<int64_t>(1, kRun / width), [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const double sum = sum_terms(i * width, (i + 1) * width, [&](int64_t at) { return slope(at) * slope(at) + o.epsilon; });
      r[i] = static_cast<float>(keep * static_cast<double>(r[i]) + fresh * sum / static_cast<double>(width));
    }
  });
  double row_mean = 0;
  if (factored) {
    pool.parallel_for(width, 64, [&](int64_t begin, int64_t end, int) {
      std::vector<double> sums(static_cast<size_t>(end - begin));
      for (int64_t i = 0; i < height; ++i) {
        for (int64_t j = begin; j < end; ++j)
          sums[static_cast<size_t>(j - begin)] += slope(i * width + j) * slope(i * width + j) + o.epsilon;
      }
      for (int64_t j = begin; j < end; ++j) {
        const double mean = sums[static_cast<size_t>(j - begin)] / static_cast<double>(height);
        c[j] = static_cast<float>(keep * static_cast<double>(c[j]) + fresh * mean);
      }
    });
    row_mean = sum_of_blocks(row, height,
                             [&](int64_t begin, int64_t end) {
                               return sum_terms(begin, end, [&](int64_t i) { return static_cast<double>(r[i]); });
                             }) /
               static_cast<double>(height);
  }
  // What the gradient is divided by: sqrt(row / mean of rows) * sqrt(column), or sqrt of the average itself.
  const auto update = [&](int64_t i) {
    const double scale =
        factored ? std::sqrt(static_cast<double>(r[i / width]) / row_mean) * std::sqrt(static_cast<double>(c[i % width]))
                 : std::sqrt(static_cast<double>(r[i]));
    return slope(i) / scale;
  };
  const double squares = sum_of_blocks(parameter, parameter.numel(), [&](int64_t begin, int64_t end) {
    return sum_terms(begin, end, [&](int64_t i) {
      const double u = update(i);
      return u * u;
    });
  });
  const double rms = std::sqrt(squares / static_cast<double>(parameter.numel()));
  const double rate = o.learning_rate / std::max(1.0, rms / o.clip_threshold);
  const double keep_weight = 1 - o.weight_decay * o.learning_rate;
  each_run(parameter, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      p[i] = static_cast<float>(static_cast<double>(p[i]) * keep_weight - rate * update(i));
    }
  });
}

void moving_average(double decay, const Tensor& x, const Tensor& average) {
  check("moving_average", x, average);
  const float rest = static_cast<float>(1 - decay);
  const float* const from = x.data<float>();
  float* const into = average.data<float>();
  each_run(x, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) into[i] += rest * (from[i] - into[i]);
  });
}

double sum_of_squares(const Tensor& x) {
  check_dtype("sum_of_squares", "x", x, {DType::kFloat32});
  const float* const values = x.data<float>();
  return sum_of_blocks(x, x.numel(), [&](int64_t begin, int64_t end) {
    return sum_terms(begin, end, [&](int64_t i) { return static_cast<double>(values[i]) * static_cast<double>(values[i]); });
  });
}

bool all_finite(const Tensor& x) {
  const auto check_all = [&](auto tag) {
    using T = decltype(tag);
    const T* values = x.data<T>();
    return sum_of_blocks(x, x.numel(), [&](int64_t begin, int64_t end) {
             double bad = 0;
             for (int64_t i = begin; i < end; ++i) bad += std::isfinite(static_cast<double>(values[i])) ? 0 : 1;
             return bad;
           }) == 0;
  };
  switch (x.dtype()) {
    case DType::kFloat64: return check_all(double{});
    case DType::kBFloat16: {
      const uint16_t* bits = x.data<uint16_t>();
      return std::all_of(bits, bits + x.numel(), [](uint16_t value) { return (value & 0x7F80) != 0x7F80; });
    }
    default: return check_all(float{});
  }
}

}  // namespace pagoda::ops
