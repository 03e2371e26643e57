// Named parameters: what a module owns, under the names that Hugging Face state dicts use.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ops/linear.h"
#include "tensor/encoded.h"
#include "tensor/tensor.h"

namespace pagoda {

// How Hugging Face initialises a parameter of a new model.
enum class Init : uint8_t { kNormal, kNormalResidual, kZeros, kOnes };

struct Parameter {
  std::string name;            // full state-dict name: "model.layers.0.self_attn.q_proj.weight"
  std::vector<int64_t> shape;  // as in the state dict
  Init init = Init::kNormal;
  Tensor value;  // undefined until loaded, and again once packed
  // Loaded, but still in its file's coding (matrices only): value is undefined then. take() gives the values of either.
  std::shared_ptr<const EncodedTensor> encoded = nullptr;
  // In training: raised by whoever changes `value` in place, so that packed copies of it are made again.
  uint64_t version = 0;
  std::shared_ptr<ops::WeightCopies> copies = nullptr;  // of a matrix that takes part in products; see ops/linear.h
};

// The loaded values, moved out of the parameter: decoded in `dtype` (float32 or bfloat16) if they were encoded, else as they
// are.
inline Tensor take(Device& device, Parameter& parameter, DType dtype) {
  Tensor value = parameter.encoded ? decode(device, *parameter.encoded, parameter.shape, dtype) : std::move(parameter.value);
  parameter.value = Tensor();
  parameter.encoded = nullptr;
  return value;
}

class Module {
 public:
  virtual ~Module() = default;
  // Appends every parameter of this module and of those below it, in order of use. Pointers stay valid as long as the module.
  virtual void collect(std::vector<Parameter*>& parameters) = 0;
  // Turns loaded parameters into what inference needs in dtype `compute` (float32 or bfloat16): weights of products are packed
  // and their sources dropped, vectors become float32. After this the module no longer trains.
  virtual void prepare(Device& device, DType compute) = 0;
};

}  // namespace pagoda
