// One order an epoch, drawn from seed and epoch; rank k takes places k, k + world, ... of it.
#include "train/tasks/memory_task.h"

#include <algorithm>

#include "base/error.h"
#include "ops/tape.h"

namespace pagoda::train {

namespace {

constexpr uint64_t kDropoutSeed = 0x64726F70ull;

}  // namespace

uint64_t hash_ids(const std::vector<int32_t>& ids, uint64_t hash) {
  hash = (hash ^ ids.size()) * 0x100000001B3ull;
  for (const int32_t id : ids) hash = (hash ^ static_cast<uint32_t>(id)) * 0x100000001B3ull;
  return hash;
}

void MemoryTask::set_sizes(int64_t training, int64_t validation, uint64_t contents) {
  size_ = training;
  validation_size_ = validation;
  contents_ = contents;
  order_epoch();
}

int64_t MemoryTask::checked_length(int64_t wanted, const char* flag) const {
  if (wanted < 1) invalid(flag, "got {}, need at least 1", wanted);
  // As HF's examples: never more than the model and its tokenizer are made for.
  const int64_t tokenizer = model_.tokenizer_config().model_max_length;
  const int64_t most = model_.model().max_positions();
  return std::min({wanted, most, tokenizer > 0 ? tokenizer : most});
}

std::optional<uint64_t> MemoryTask::dropout_seed(Split split) const {
  return split == Split::kTrain ? std::optional<uint64_t>(arguments_.seed ^ kDropoutSeed) : std::nullopt;
}

void MemoryTask::order_epoch() {
  order_.clear();
  RowOrder order({size_}, true, size_, arguments_.order_seed(), epoch_);
  RowOrder::Place place{};
  while (order.next(place)) order_.push_back(place.row);
}

MicroBatch MemoryTask::next(int64_t examples) {
  if (examples_left() == 0) {  // what does not fill a round of all ranks is left out
    position_ = 0;
    ++epoch_;
    order_epoch();
  }
  std::vector<int64_t> rows;
  std::vector<uint64_t> numbers;
  for (int64_t i = 0; i < examples && examples_left() > 0; ++i, position_ += arguments_.world) {
    const int64_t place = position_ + arguments_.rank;
    rows.push_back(order_[static_cast<size_t>(place)]);
    numbers.push_back(static_cast<uint64_t>(epoch_ * size_ + place));
  }
  return batch(Split::kTrain, rows, numbers);
}

Json MemoryTask::state() const {
  Json state = Json::object();
  state.set("epoch", epoch_).set("position", position_).set("examples", size_);
  return state.set("fingerprint", fmt::format("{:016x}", contents_)).set("seed", static_cast<int64_t>(arguments_.order_seed()));
}

void MemoryTask::restore(const Json& state) {
  constexpr const char* kWhere = "checkpoint";
  const std::string now = fmt::format("{:016x}", contents_);
  // Checkpoints of earlier versions have another sum, under another name: of those the number is compared.
  const std::string before = state.get_string("fingerprint", now, kWhere);
  if (state.get_int("examples", -1, kWhere) != size_ || before != now) {
    invalid("training data", "other examples than when the checkpoint was written: got {} ({}), need {} ({})", size_, now,
            state.get_int("examples", -1, kWhere), before);
  }
  if (state.get_int("seed", -1, kWhere) != static_cast<int64_t>(arguments_.order_seed())) {
    invalid(arguments_.data_seed >= 0 ? "--data-seed" : "--seed", "got {}, need {} as when the checkpoint was written",
            arguments_.order_seed(), state.get_int("seed", -1, kWhere));
  }
  epoch_ = state.at("epoch", kWhere).as_int(kWhere);
  position_ = state.at("position", kWhere).as_int(kWhere);
  if (epoch_ < 0 || position_ < 0 || position_ > size_) {
    invalid(kWhere, "bad place in the data: got epoch {}, position {} of {}", epoch_, position_, size_);
  }
  order_epoch();
}

Tensor MemoryTask::loss(const Model& model, const MicroBatch& batch, int64_t count, Observer* observer) const {
  ForwardContext context;
  context.layout = batch.layout;
  context.observer = observer;
  return loss_of(model.forward(batch.inputs, context).logits, batch, count);
}

std::vector<std::string> MemoryTask::metric_names() const {
  std::vector<std::string> names = score_names();
  names.insert(names.begin(), "loss");
  return names;
}

Metrics MemoryTask::evaluate(const Model& model, const TaskHooks& hooks, Communicator* ranks) {
  const NoGrad no_grad;
  begin_scores();
  double sum = 0;
  int64_t labels = 0;
  const int64_t size = arguments_.per_device_eval_batch_size;
  const auto rows_of = [&](int64_t batch) {
    std::vector<int64_t> rows;
    for (int64_t row = batch * size; row < std::min(validation_size_, (batch + 1) * size); ++row) rows.push_back(row);
    return rows;
  };
  const auto batch_of = [&](const std::vector<int64_t>& rows) {
    return batch(Split::kValidation, rows, std::vector<uint64_t>(rows.begin(), rows.end()));
  };
  const auto score = [&](int64_t number) {
    const MicroBatch one = batch_of(rows_of(number));
    ForwardContext context;
    context.layout = one.layout;
    BatchScores scores;
    scores.logits = model.forward(one.inputs, context).logits;
    scores.labels = one.num_labels;
    if (one.num_labels > 0) scores.loss = static_cast<double>(loss_of(scores.logits, one, one.num_labels).data<float>()[0]);
    return scores;
  };
  const auto take = [&](int64_t number, const BatchScores& scores) {
    sum += scores.loss * static_cast<double>(scores.labels);
    labels += scores.labels;
    const std::vector<int64_t> rows = rows_of(number);
    take_scores(rows, batch_of(rows), scores.logits);
  };
  evaluate_batches(model_.device(), ranks, (validation_size_ + size - 1) / size, hooks, score, take);
  if (ranks != nullptr && ranks->rank() > 0) return {};
  Metrics metrics;
  if (labels > 0) metrics.emplace_back("loss", sum / static_cast<double>(labels));
  for (auto& metric : end_scores()) metrics.push_back(std::move(metric));
  return metrics;
}

}  // namespace pagoda::train
