// Embedding tables over ops.
#include "nn/embedding.h"

#include "ops/math.h"

namespace pagoda {

Embedding::Embedding(const std::string& path, int64_t rows, int64_t hidden_size)
    : table_{path + ".weight", {rows, hidden_size}, Init::kNormal, {}} {
  table_.copies = std::make_shared<ops::WeightCopies>();
}

void Embedding::collect(std::vector<Parameter*>& parameters) { parameters.push_back(&table_); }

void Embedding::prepare(Device& device, DType compute) {
  if (table_.encoded) table_.value = take(device, table_, compute);
}

std::shared_ptr<PackedWeight> Embedding::prepare_tied(Device& device, DType compute) {
  PackedWeight::Source source{table_.name, {}, table_.encoded, table_.shape};
  if (!table_.encoded) source.value = take(device, table_, compute);
  packed_ = PackedWeight::pack(device, compute, {source});
  table_.encoded = nullptr;
  return packed_;
}

Tensor Embedding::forward(const Tensor& ids, DType out) const {
  return packed_ ? ops::embedding(*packed_, ids, out) : ops::embedding(table_.value, ids, out, padding_row_);
}

Tensor Embedding::logits(const Tensor& x, const Tensor& bias) const {
  if (x.dtype() != DType::kBFloat16) return ops::linear(x, table_.value, bias);
  return ops::linear(x, table_.value, bias, false, table_.copies, table_.version, DType::kFloat32);
}

}  // namespace pagoda
