// Computes in double, as vectors are few beside what made them.
#include "pipelines/sentence_layers.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "formats/model_folder.h"
#include "tensor/shape.h"

namespace pagoda {

namespace {

constexpr int64_t kWidest = 1 << 20;

double identity(double x) { return x; }
double relu(double x) { return std::max(x, 0.0); }
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double silu(double x) { return x * sigmoid(x); }
double gelu(double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }
double tanh_of(double x) { return std::tanh(x); }

struct Activation {
  const char* name;
  double (*function)(double);
};
constexpr Activation kActivations[] = {
    {"torch.nn.modules.linear.Identity", identity},   {"torch.nn.modules.activation.Tanh", tanh_of},
    {"torch.nn.modules.activation.ReLU", relu},       {"torch.nn.modules.activation.GELU", gelu},
    {"torch.nn.modules.activation.Sigmoid", sigmoid}, {"torch.nn.modules.activation.SiLU", silu},
};

double (*activation_of(const std::string& name, const std::string& where))(double) {
  std::string known;
  for (const Activation& each : kActivations) {
    if (name == each.name) return each.function;
    known += (known.empty() ? "" : ", ") + std::string(each.name);
  }
  unsupported(where, "activation_function: got '{}', need one of {}", name.substr(0, 128), known);
}

// Reads the sentence's vector and puts its result in its place, unless the module says otherwise.
void check_place(const Json& config, const std::string& where) {
  for (const char* key : {"module_input_name", "module_output_name"}) {
    const std::string name = config.get_string(key, "sentence_embedding", where);
    if (name != "sentence_embedding") unsupported(where, "{}: got '{}', need sentence_embedding", key, name.substr(0, 64));
  }
}

int64_t width_of(const Json& config, const char* key, const std::string& where) {
  const int64_t width = config.at(key, where).as_int(where + ": " + key);
  if (width < 1 || width > kWidest) invalid(where, "{}: got {}, need 1 to {}", key, width, kWidest);
  return width;
}

std::vector<float> read_weight(const ModelFolder& folder, const std::string& name, const std::vector<int64_t>& shape) {
  const TensorEntry* entry = folder.weights().find(name);
  if (entry == nullptr) invalid(folder.path(), "tensor missing: need '{}'", name);
  if (entry->shape != shape) invalid(folder.path(), "{}: the shape is not what config.json says", name);
  if (entry->encoded) {
    unsupported(folder.path(), "{}: got {}, need float32, bfloat16 or float16", name, entry->encoded->coding());
  }
  std::vector<float> values(static_cast<size_t>(element_count(shape, name)));
  for (size_t i = 0; i < values.size(); ++i) {
    uint16_t half = 0;
    switch (entry->dtype) {
      case DType::kFloat32: std::memcpy(&values[i], entry->data() + i * 4, 4); break;
      case DType::kFloat16:
        std::memcpy(&half, entry->data() + i * 2, 2);
        values[i] = float16_to_float(half);
        break;
      case DType::kBFloat16:
        std::memcpy(&half, entry->data() + i * 2, 2);
        values[i] = bits_to_float(uint32_t{half} << 16);
        break;
      default: unsupported(folder.path(), "{}: got {}, need float32, bfloat16 or float16", name, dtype_name(entry->dtype));
    }
  }
  return values;
}

void check_width(const char* what, int64_t got, int64_t need) {
  if (got != need) invalid(what, "got a vector of {} values, need {}", got, need);
}

// weight [out, in] on x [in].
std::vector<double> product(const std::vector<float>& weight, const std::vector<double>& x, int64_t out) {
  std::vector<double> y(static_cast<size_t>(out), 0.0);
  const float* row = weight.data();
  for (double& value : y) {
    for (const double each : x) value += each * static_cast<double>(*row++);
  }
  return y;
}

class Dense final : public SentenceLayer {
 public:
  explicit Dense(const std::string& path) {
    const auto folder = ModelFolder::open(path);
    const std::string where = folder->config_path();
    const Json& config = folder->config();
    check_place(config, where);
    in_ = width_of(config, "in_features", where);
    out_ = width_of(config, "out_features", where);
    activation_ = activation_of(config.get_string("activation_function", kActivations[1].name, where), where);
    weight_ = read_weight(*folder, "linear.weight", {out_, in_});
    if (config.get_bool("bias", true, where)) bias_ = read_weight(*folder, "linear.bias", {out_});
    residual_ = config.get_bool("use_residual", false, where);
    if (residual_ && in_ != out_) residual_weight_ = read_weight(*folder, "residual.weight", {out_, in_});
  }
  int64_t width(int64_t in) const override {
    check_width("Dense", in, in_);
    return out_;
  }
  std::vector<double> apply(const std::vector<double>& in) const override {
    width(static_cast<int64_t>(in.size()));
    std::vector<double> out = product(weight_, in, out_);
    const std::vector<double> around = !residual_                 ? std::vector<double>(out.size(), 0.0)
                                       : residual_weight_.empty() ? in
                                                                  : product(residual_weight_, in, out_);
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] = activation_(out[i] + (bias_.empty() ? 0.0 : static_cast<double>(bias_[i]))) + around[i];
    }
    return out;
  }

 private:
  int64_t in_ = 0, out_ = 0;
  double (*activation_)(double) = nullptr;
  std::vector<float> weight_, bias_, residual_weight_;
  bool residual_ = false;
};

class LayerNorm final : public SentenceLayer {
 public:
  explicit LayerNorm(const std::string& path) {
    const auto folder = ModelFolder::open(path);
    width_ = width_of(folder->config(), "dimension", folder->config_path());
    weight_ = read_weight(*folder, "norm.weight", {width_});
    bias_ = read_weight(*folder, "norm.bias", {width_});
  }
  int64_t width(int64_t in) const override {
    check_width("LayerNorm", in, width_);
    return width_;
  }
  std::vector<double> apply(const std::vector<double>& in) const override {
    width(static_cast<int64_t>(in.size()));
    constexpr double kEpsilon = 1e-5;  // torch's, which the module leaves as it is
    const double count = static_cast<double>(in.size());
    double sum = 0, squares = 0;
    for (const double value : in) sum += value;
    const double mean = sum / count;
    for (const double value : in) squares += (value - mean) * (value - mean);
    const double scale = 1 / std::sqrt(squares / count + kEpsilon);
    std::vector<double> out(in.size());
    for (size_t i = 0; i < in.size(); ++i) {
      out[i] = (in[i] - mean) * scale * static_cast<double>(weight_[i]) + static_cast<double>(bias_[i]);
    }
    return out;
  }

 private:
  int64_t width_ = 0;
  std::vector<float> weight_, bias_;
};

class Normalize final : public SentenceLayer {
 public:
  int64_t width(int64_t in) const override { return in; }
  std::vector<double> apply(const std::vector<double>& in) const override {
    double squares = 0;
    for (const double value : in) squares += value * value;
    std::vector<double> out = in;
    for (double& value : out) value /= std::max(std::sqrt(squares), 1e-12);
    return out;
  }
};

}  // namespace

std::shared_ptr<const SentenceLayer> open_dense(const std::string& folder) { return std::make_shared<Dense>(folder); }
std::shared_ptr<const SentenceLayer> open_layer_norm(const std::string& folder) { return std::make_shared<LayerNorm>(folder); }
std::shared_ptr<const SentenceLayer> normalize_layer() { return std::make_shared<Normalize>(); }

}  // namespace pagoda
