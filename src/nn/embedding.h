// Embedding tables; a tied head shares the packed table.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "nn/linear.h"

namespace pagoda {

class Embedding : public Module {
 public:
  Embedding(const std::string& path, int64_t rows, int64_t hidden_size);
  void collect(std::vector<Parameter*>& parameters) override;
  // Keeps the table as it lies in the file: rows are gathered, never multiplied. One in a coding of its own is decoded.
  void prepare(Device& device, DType compute) override;
  // For a tied head: packs the table, gathers rows from the packed form and drops the source.
  std::shared_ptr<PackedWeight> prepare_tied(Device& device, DType compute);
  Tensor forward(const Tensor& ids, DType out) const;  // int32 [T] -> [T, hidden_size]
  const std::string& name() const { return table_.name; }
  int64_t num_rows() const { return table_.shape[0]; }
  // torch.nn.Embedding's padding_idx: forward() gives this row no gradient (logits() does).
  void set_padding_row(int64_t row) { padding_row_ = row; }
  // A tied head in training: x table^T + bias (undefined: none), float32 (float64 in the double reference).
  Tensor logits(const Tensor& x, const Tensor& bias) const;

 private:
  Parameter table_;
  std::optional<int64_t> padding_row_;
  std::shared_ptr<PackedWeight> packed_;
};

}  // namespace pagoda
