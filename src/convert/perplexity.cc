// Windows one after another: each is long enough to fill the machine.
#include "convert/perplexity.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "models/decoder.h"
#include "ops/math.h"
#include "ops/tape.h"

namespace pagoda {

namespace {

// Sum of the losses of the last `count` tokens of ids [length], each foretold by those before it.
double sum_of_losses(Device& device, const DecoderModel& model, const int32_t* ids, int64_t length, int64_t count,
                     int64_t max_logit_bytes) {
  const Tensor input = ops::int32_tensor(device, {ids, static_cast<size_t>(length)});
  auto layout = std::make_shared<Layout>(*Layout::whole({static_cast<int32_t>(length)}, false));
  layout->wanted_rows.clear();
  ForwardContext context;
  context.layout = layout;
  const Tensor hidden = model.forward({input}, context).hidden;
  const int64_t most = std::max<int64_t>(1, max_logit_bytes / (model.vocab_size() * static_cast<int64_t>(sizeof(float))));
  double sum = 0;
  for (int64_t first = length - 1 - count; first < length - 1; first += most) {
    const int64_t rows = std::min(most, length - 1 - first);
    const Tensor logits = model.logits(hidden.slice(0, first, first + rows));
    Tensor labels = Tensor::empty(device, DType::kInt64, {rows}), losses = Tensor::empty(device, DType::kFloat32, {rows});
    std::copy_n(ids + first + 1, rows, labels.data<int64_t>());
    device.kernels->cross_entropy(device.exec, logits.view(), labels.view(), losses.view(), 1.0, View{});
    for (int64_t i = 0; i < rows; ++i) sum += static_cast<double>(losses.data<float>()[i]);
  }
  return sum;
}

}  // namespace

Perplexity perplexity(Device& device, const Model& any_model, const std::vector<int32_t>& ids,
                      const PerplexityOptions& options) {
  const auto* decoder = dynamic_cast<const DecoderModel*>(&any_model);
  if (decoder == nullptr) unsupported("perplexity", "{}: need a decoder", any_model.architecture());
  const DecoderModel& model = *decoder;
  Perplexity result;
  const int64_t size = static_cast<int64_t>(ids.size());
  result.max_length = options.max_length > 0 ? options.max_length : std::min<int64_t>(model.max_positions(), 2048);
  result.stride = options.stride > 0 ? options.stride : std::min<int64_t>(512, result.max_length);
  if (result.max_length < 2 || result.max_length > model.max_positions())
    invalid("perplexity", "max length: got {}, need 2 to {}, the model's context", result.max_length, model.max_positions());
  if (result.stride > result.max_length)
    invalid("perplexity", "stride: got {}, need 1 to the max length {}", result.stride, result.max_length);
  for (const int32_t id : ids) {
    if (id < 0 || id >= model.vocab_size())
      invalid("perplexity", "token id outside the vocabulary: got {}, need 0 to {}", id, model.vocab_size() - 1);
  }
  const NoGrad no_grad;
  const ThreadPool::Step step(*device.exec.pool);
  double sum = 0;
  for (int64_t begin = 0, before = 0; begin < size && before < size; begin += result.stride) {
    if (options.cancel != nullptr && options.cancel->load()) break;
    const int64_t end = std::min(begin + result.max_length, size), length = end - begin, fresh = end - before;
    const int64_t count = std::min(fresh, length - 1), weight = fresh - 1;
    if (count > 0 && weight > 0) {
      const double loss = sum_of_losses(device, model, ids.data() + begin, length, count, options.max_logit_bytes);
      sum += loss / static_cast<double>(count) * static_cast<double>(weight);
      result.tokens += weight;
    }
    ++result.windows;
    before = end;
    if (options.progress) options.progress(end, size);
  }
  if (result.tokens == 0) invalid("perplexity", "text too short: got {} tokens, need at least 2", size);
  result.nll = sum / static_cast<double>(result.tokens);
  result.perplexity = std::exp(result.nll);
  return result;
}

}  // namespace pagoda
