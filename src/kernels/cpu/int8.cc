// Operands of products in int8.
#include "kernels/cpu/int8.h"

namespace pagoda::int8 {

Operands prepare(const Exec& exec, const View& x, const PackedView& w, const Epilogue& epilogue, Form form, QuantizeFn quantize,
                 products::EpilogueFn finish) {
  const int64_t m = x.dims[0], padded = padded_k(w), row_bytes = padded * form_bytes(form);
  char* codes = exec.scratch->allocate_array<char>(m * row_bytes);
  float* scales = exec.scratch->allocate_array<float>(m);
  const auto rows = [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) scales[i] = quantize(x, i, padded, form, codes + i * row_bytes);
  };
  if (m <= 4) {
    rows(0, m, 0);
  } else {
    exec.pool->parallel_for(m, 4, rows);
  }
  Operands operands;
  static_cast<Epilogue&>(operands.epilogue) = epilogue;
  operands.epilogue.x_scales = scales;
  operands.epilogue.w_scales = scales_of(w);
  operands.epilogue.w_sums = form == Form::kUnsigned ? sums_of(w) : nullptr;
  operands.epilogue.finish = finish;
  operands.x.data = codes;
  operands.x.dtype = form == Form::kWords ? DType::kFloat32 : DType::kBFloat16;
  operands.x.rank = 2;
  operands.x.dims[0] = m;
  operands.x.dims[1] = padded / 2;
  operands.x.strides[0] = padded / 2;
  operands.x.strides[1] = 1;
  operands.w = {w.data, WeightFormat::kBf16Pairs, w.n, padded / 2};
  return operands;
}

}  // namespace pagoda::int8
