// How many numbers a model has.
#pragma once

#include "models/model.h"
#include "tensor/shape.h"

namespace pagoda {

// Elements of all parameters, loaded or not.
inline int64_t parameter_count(Model& model) {
  int64_t count = 0;
  for (const Parameter* parameter : model.parameters()) {
    count = checked_add(count, element_count(parameter->shape, parameter->name), parameter->name);
  }
  return count;
}

}  // namespace pagoda
