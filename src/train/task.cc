// Rows to tensors, and the loss that most tasks share.
#include "train/task.h"

#include <algorithm>

#include "base/error.h"
#include "ops/loss.h"

namespace pagoda::train {

namespace {

constexpr int kRowBits = 24;  // of a row's number: its place in the example

template <class T>
Tensor tensor_of(Device& device, DType dtype, const std::vector<T>& values) {
  Tensor tensor = Tensor::empty(device, dtype, {static_cast<int64_t>(values.size())});
  std::copy(values.begin(), values.end(), tensor.data<T>());
  return tensor;
}

}  // namespace

int32_t BatchRows::add_sequence(const std::vector<int32_t>& ids, const std::vector<int32_t>& type_ids, uint64_t example) {
  const int32_t first = starts.back();
  const bool goes_on = !numbers.empty() && numbers.back() >> kRowBits == example;
  uint64_t number = goes_on ? numbers.back() + 1 : example << kRowBits;
  for (size_t t = 0; t < ids.size(); ++t) {
    positions.push_back(static_cast<int32_t>(t));
    numbers.push_back(number++);
  }
  input_ids.insert(input_ids.end(), ids.begin(), ids.end());
  token_type_ids.insert(token_type_ids.end(), type_ids.begin(), type_ids.end());
  starts.push_back(first + static_cast<int32_t>(ids.size()));
  return first;
}

void BatchRows::want(int32_t row, int64_t label) {
  wanted_rows.push_back(row);
  labels.push_back(label);
  ++num_labels;
}

MicroBatch make_micro_batch(Device& device, const BatchRows& rows, std::optional<uint64_t> dropout_seed) {
  MicroBatch batch;
  batch.num_labels = rows.num_labels;
  batch.num_examples = rows.num_examples;
  if (rows.input_ids.empty()) return batch;
  batch.inputs.ids = tensor_of(device, DType::kInt32, rows.input_ids);
  if (!rows.token_type_ids.empty()) {
    if (rows.token_type_ids.size() != rows.input_ids.size()) {
      invalid("batch", "token_type_ids: got {}, need {}: every example has them, or none", rows.token_type_ids.size(),
              rows.input_ids.size());
    }
    batch.inputs.type_ids = tensor_of(device, DType::kInt32, rows.token_type_ids);
  }
  auto layout = std::make_shared<Layout>();
  layout->positions = rows.positions;
  layout->starts = std::make_shared<const std::vector<int32_t>>(rows.starts);
  for (size_t s = 0; s + 1 < rows.starts.size(); ++s) layout->lengths.push_back(rows.starts[s + 1] - rows.starts[s]);
  layout->wanted_rows = rows.wanted_rows;
  if (dropout_seed) {
    auto draws = std::make_shared<ops::DropoutRows>();
    draws->seed = *dropout_seed;
    draws->numbers = rows.numbers;
    layout->dropout = draws;
  }
  batch.layout = layout;
  batch.labels = tensor_of(device, DType::kInt64, rows.labels);
  return batch;
}

void evaluate_batches(Device& device, Communicator* ranks, int64_t count, const TaskHooks& hooks,
                      const std::function<BatchScores(int64_t batch)>& score,
                      const std::function<void(int64_t batch, const BatchScores& scores)>& take) {
  if (ranks == nullptr) {
    for (int64_t batch = 0; batch < count; ++batch) {
      hooks.at("evaluating", batch, count);
      take(batch, score(batch));
    }
    return;
  }
  struct Head {
    double loss;
    int64_t labels, correct, rows, columns, cancelled;
  };
  const int size = ranks->size();
  std::vector<Head> heads(static_cast<size_t>(size));
  for (int64_t begin = 0; begin < count; begin += size) {
    if (hooks.progress) hooks.progress("evaluating", begin, count);
    const int64_t mine = begin + ranks->rank();
    const BatchScores own = mine < count ? score(mine) : BatchScores();
    const bool cancelled = hooks.cancel != nullptr && hooks.cancel->load(std::memory_order_relaxed);
    const Head head = {
        own.loss,         own.labels, own.correct, own.logits ? own.logits.dim(0) : 0, own.logits ? own.logits.dim(1) : 0,
        cancelled ? 1 : 0};
    ranks->all_gather(&head, heads.data(), std::vector<int64_t>(heads.size(), sizeof(Head)));
    if (std::any_of(heads.begin(), heads.end(), [](const Head& each) { return each.cancelled != 0; })) throw Cancelled();
    std::vector<Message> sends, receives;
    std::vector<BatchScores> all;
    if (ranks->rank() > 0) {
      if (head.rows * head.columns > 0) sends.push_back({0, own.logits.view().data, own.logits.bytes()});
    } else {
      all.push_back(own);
      for (int r = 1; r < size && begin + r < count; ++r) {
        const Head& theirs = heads[static_cast<size_t>(r)];
        all.push_back({theirs.loss, theirs.labels, theirs.correct, {}});
        if (theirs.rows * theirs.columns == 0) continue;
        Tensor& logits = all.back().logits = Tensor::empty(device, DType::kFloat32, {theirs.rows, theirs.columns});
        receives.push_back({r, logits.view().data, logits.bytes()});
      }
    }
    ranks->exchange(sends, receives);
    for (size_t r = 0; r < all.size(); ++r) take(begin + static_cast<int64_t>(r), all[r]);
  }
}

Tensor Task::loss(const Model& model, const MicroBatch& batch, int64_t count, Observer* observer) const {
  ForwardContext context;
  context.layout = batch.layout;
  context.observer = observer;
  return ops::cross_entropy(model.forward(batch.inputs, context).logits, batch.labels, count, smoothing());
}

}  // namespace pagoda::train
