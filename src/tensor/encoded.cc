// Decodes by ranges of rows.
#include "tensor/encoded.h"

#include <algorithm>

#include "base/checked.h"

namespace pagoda {

Tensor decode(Device& device, const EncodedTensor& encoded, const std::vector<int64_t>& shape, DType dtype) {
  Tensor tensor = Tensor::empty(device, dtype, shape);
  if (tensor.numel() == 0) return tensor;
  const int64_t rows = shape[0], row = tensor.numel() / rows;
  // A few rows at a time, so that the wide form of what becomes bfloat16 stays in the cache.
  const int64_t few = std::max<int64_t>(1, (int64_t{1} << 15) / row);
  const int64_t grain = encoded.by_rows() ? few : div_up(rows, device.exec.pool->num_threads());
  device.exec.pool->parallel_for(rows, grain, [&](int64_t begin, int64_t end, int) {
    if (dtype == DType::kFloat32) {
      encoded.decode(begin, end, tensor.data<float>() + begin * row);
      return;
    }
    std::vector<float> values(static_cast<size_t>((end - begin) * row));
    encoded.decode(begin, end, values.data());
    BFloat16* out = tensor.data<BFloat16>() + begin * row;
    for (size_t i = 0; i < values.size(); ++i) out[i] = BFloat16(values[i]);
  });
  return tensor;
}

}  // namespace pagoda
