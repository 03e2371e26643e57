// What one step of a decoder, or one pass of an encoder, must do at least, for setting a measured rate against the machine's
// limits.
#pragma once

#include <cstdint>
#include <vector>

#include "models/decoder.h"
#include "models/encoder.h"

namespace pagoda::cli {

// Rows [from, from + count) of one sequence, in a step.
struct StepRows {
  int64_t from = 0, count = 0;
  int64_t logits = 0;  // rows whose logits are wanted
};

struct StepCost {
  double flops = 0;  // 2 x weights of products x rows, the head for the wanted rows alone, 4 x heads x head_dim a visible key
  double bytes = 0;  // weights of products once (the head only where logits are wanted), and keys and values of the contexts
};
// Bytes of the weights of products as they lie in memory, and of the head's.
struct WeightBytes {
  double products = 0, head = 0;
};
WeightBytes weight_bytes(const DecoderConfig& config, DType dtype);  // all of one dtype
WeightBytes weight_bytes(const DecoderModel& model);                 // prepared for inference
// cached: of keys and values.
StepCost step_cost(const DecoderConfig& config, const WeightBytes& weights, DType cached, const std::vector<StepRows>& rows);

// A whole pass of an encoder over sequences of these lengths: products of every row, its head where it has one, attention of
// every row to every row of its sequence, and the weights of products once, shared layers too.
StepCost encoder_cost(const EncoderConfig& config, DType compute, const std::vector<int64_t>& lengths);

struct MachineRates {
  double read_bytes_per_s = 0, flops_per_s = 0;  // 0: not known
};
// The least time: the longer of computing and reading. 0 where no rate is known.
double least_seconds(const StepCost& cost, const MachineRates& rates);

// Weights that take part in products, the head left out; and those of the head (the embedding where they are tied).
int64_t product_weights(const DecoderConfig& config);
int64_t head_weights(const DecoderConfig& config);

}  // namespace pagoda::cli
