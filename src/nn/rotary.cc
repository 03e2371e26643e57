// Frequencies after modeling_rope_utils.py, in float32 where HF uses float32.
#include "nn/rotary.h"

#include <algorithm>
#include <cmath>

namespace pagoda {

namespace {
constexpr double kTwoPi = 6.283185307179586;
}

Rotary::Rotary(const RotaryConfig& config) : config_(config) {
  frequencies_ = inverse_frequencies(config.max_position_embeddings);
}

std::vector<float> Rotary::inverse_frequencies(int64_t seq_len) const {
  const RotaryConfig& c = config_;
  const int64_t half = c.dim / 2;
  double base = c.theta;
  if (c.type == RotaryConfig::Type::kDynamic) {
    const double length = static_cast<double>(std::max(seq_len, c.max_position_embeddings));
    const double dim = static_cast<double>(c.dim);
    base *= std::pow(c.factor * length / static_cast<double>(c.max_position_embeddings) - (c.factor - 1), dim / (dim - 2));
  }
  std::vector<float> frequencies(static_cast<size_t>(half));
  for (int64_t i = 0; i < half; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(c.dim);
    const float power =
        static_cast<float>(std::pow(static_cast<double>(static_cast<float>(base)), static_cast<double>(exponent)));
    float& frequency = frequencies[static_cast<size_t>(i)];
    frequency = 1.0f / power;
    switch (c.type) {
      case RotaryConfig::Type::kDefault:
      case RotaryConfig::Type::kDynamic: break;
      case RotaryConfig::Type::kLinear: frequency /= static_cast<float>(c.factor); break;
      case RotaryConfig::Type::kYarn: {
        const auto correction = [&](double rotations) {
          return static_cast<double>(c.dim) *
                 std::log(static_cast<double>(c.original_max_position_embeddings) / (rotations * kTwoPi)) /
                 (2 * std::log(c.theta));
        };
        double low = correction(c.beta_fast), high = correction(c.beta_slow);
        if (c.truncate) {
          low = std::floor(low);
          high = std::ceil(high);
        }
        low = std::max(low, 0.0);
        high = std::min(high, static_cast<double>(c.dim - 1));
        if (low == high) high += 0.001;
        const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
        const float extrapolate = 1.0f - static_cast<float>(ramp);
        const float interpolated = 1.0f / (static_cast<float>(c.factor) * power);
        frequency = interpolated * (1.0f - extrapolate) + frequency * extrapolate;
        break;
      }
      case RotaryConfig::Type::kLlama3: {
        const double old_length = static_cast<double>(c.original_max_position_embeddings);
        const double wavelength = kTwoPi / static_cast<double>(frequency);
        if (wavelength > old_length / c.low_freq_factor) {
          frequency /= static_cast<float>(c.factor);
        } else if (wavelength >= old_length / c.high_freq_factor) {
          const double smooth = (old_length / wavelength - c.low_freq_factor) / (c.high_freq_factor - c.low_freq_factor);
          frequency = static_cast<float>((1 - smooth) * static_cast<double>(frequency) / c.factor +
                                         smooth * static_cast<double>(frequency));
        }
        break;
      }
    }
    if (!c.frequency_factors.empty()) frequency /= c.frequency_factors[static_cast<size_t>(i)];
  }
  return frequencies;
}

Rotary::Turns Rotary::turns(Device& device, const Layout& layout, DType dtype) const {
  const int64_t half = config_.dim / 2, count = layout.num_tokens();
  Turns turns{Tensor::empty(device, dtype, {count, half}), Tensor::empty(device, dtype, {count, half})};
  const double scale = config_.attention_factor;
  const auto fill = [&](int64_t row, const std::vector<float>& frequencies) {
    for (int64_t i = 0; i < half; ++i) {
      // HF multiplies in float32 before taking cosines; a double product would differ at large positions.
      const float angle = static_cast<float>(layout.positions[static_cast<size_t>(row)]) * frequencies[static_cast<size_t>(i)];
      const double cosine = std::cos(static_cast<double>(angle)) * scale, sine = std::sin(static_cast<double>(angle)) * scale;
      if (dtype == DType::kFloat64) {
        turns.cos.data<double>()[row * half + i] = cosine;
        turns.sin.data<double>()[row * half + i] = sine;
      } else {
        turns.cos.data<float>()[row * half + i] = static_cast<float>(cosine);
        turns.sin.data<float>()[row * half + i] = static_cast<float>(sine);
      }
    }
  };
  for (int64_t s = 0; s < layout.num_sequences(); ++s) {
    const int64_t begin = (*layout.starts)[static_cast<size_t>(s)], end = (*layout.starts)[static_cast<size_t>(s) + 1];
    const int64_t length = layout.lengths[static_cast<size_t>(s)];
    const bool grown = config_.type == RotaryConfig::Type::kDynamic && length > config_.max_position_embeddings;
    const std::vector<float> own = grown ? inverse_frequencies(length) : std::vector<float>();
    // Rows of a long prompt are worth a fork; a decode step's are not.
    device.exec.pool->parallel_for(end - begin, 64, [&](int64_t from, int64_t to, int) {
      for (int64_t row = begin + from; row < begin + to; ++row) fill(row, grown ? own : frequencies_);
    });
  }
  return turns;
}

}  // namespace pagoda
