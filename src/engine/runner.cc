// Builds a step's layout and paged views, and runs the model over them.
#include "engine/runner.h"

#include <algorithm>

#include "base/error.h"
#include "ops/tape.h"

namespace pagoda {

namespace {

// The paged view of each layer for one step.
class PagedStates : public LayerStates {
 public:
  PagedStates(const KvCache& cache, const SchedulerOutput& step) : cache_(cache) {
    int64_t widest = 0;
    for (const SchedulerOutput::Item& item : step.items)
      widest = std::max<int64_t>(widest, static_cast<int64_t>(item.table->blocks.size()));
    starts_.push_back(0);
    tables_.assign(step.items.size() * static_cast<size_t>(widest), -1);
    for (size_t s = 0; s < step.items.size(); ++s) {
      const SchedulerOutput::Item& item = step.items[s];
      const std::vector<int32_t>& blocks = item.table->blocks;
      std::copy(blocks.begin(), blocks.end(), tables_.begin() + static_cast<std::ptrdiff_t>(s * static_cast<size_t>(widest)));
      for (int64_t i = 0; i < item.num_new_tokens; ++i) {
        const int64_t position = item.from + i;
        slots_.push_back(int64_t{blocks[static_cast<size_t>(position / kPageTokens)]} * kPageTokens + position % kPageTokens);
      }
      starts_.push_back(starts_.back() + static_cast<int32_t>(item.num_new_tokens));
      lengths_.push_back(static_cast<int32_t>(item.from + item.num_new_tokens));
    }
    rows_ = {{static_cast<int64_t>(step.items.size()), starts_.data()}, lengths_.data(), tables_.data(), widest};
    slot_view_.data = slots_.data();
    slot_view_.dtype = DType::kInt64;
    slot_view_.rank = 1;
    slot_view_.dims[0] = static_cast<int64_t>(slots_.size());
    slot_view_.strides[0] = 1;
  }
  LayerState state(int layer) const override { return PagedLayerState{{cache_.pages(layer), rows_, slot_view_}}; }

 private:
  const KvCache& cache_;
  std::vector<int32_t> starts_, lengths_, tables_;
  std::vector<int64_t> slots_;
  PagedRows rows_;
  View slot_view_;
};

}  // namespace

StepResult Runner::run(const SchedulerOutput& step, Observer* observer) {
  for (const BlockCopy& copy : step.copies) cache_.copy(copy);
  const NoGrad no_grad;
  const ThreadPool::Step spinning(runtime_.pool());
  auto layout = std::make_shared<Layout>();
  auto starts = std::make_shared<std::vector<int32_t>>(1, 0);
  Inputs inputs{Tensor::empty(runtime_.device(), DType::kInt32, {step.num_new_tokens()})};
  int64_t row = 0;
  for (const SchedulerOutput::Item& item : step.items) {
    const int64_t from = item.from;
    DCHECK(from + item.num_new_tokens <= static_cast<int64_t>(item.ids->size()));
    for (int64_t i = 0; i < item.num_new_tokens; ++i, ++row) {
      inputs.ids.data<int32_t>()[row] = (*item.ids)[static_cast<size_t>(from + i)];
      layout->positions.push_back(static_cast<int32_t>(from + i));
      if (item.wants_all_logits || (item.wants_logits && i + 1 == item.num_new_tokens)) {
        layout->wanted_rows.push_back(static_cast<int32_t>(row));
      }
    }
    starts->push_back(static_cast<int32_t>(row));
    layout->lengths.push_back(static_cast<int32_t>(item.ids->size()));
  }
  layout->starts = starts;
  const PagedStates states(cache_, step);
  ForwardContext context;
  context.layout = layout;
  context.states = &states;
  context.observer = observer;
  Outputs outputs = model_.forward(inputs, context);
  return {outputs.logits, outputs.hidden};
}

}  // namespace pagoda
