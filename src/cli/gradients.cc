// pagoda gradients: loss and gradients of every parameter, to compare with another framework's.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "base/error.h"
#include "base/links.h"
#include "cli/cli.h"
#include "formats/safetensors.h"
#include "ops/loss.h"
#include "ops/tape.h"
#include "pipelines/loaded_model.h"

namespace pagoda::cli {

namespace {

struct Flags {
  MachineFlags machine;
  std::string model, ids, out;
};

int run(const Program& program, const Flags& flags) {
  const LoadOptions options = flags.machine.load_options();
  // "auto" is float32 here, whatever the folder holds.
  const DType compute = flags.machine.dtype == "bfloat16" ? DType::kBFloat16 : DType::kFloat32;
  const std::unique_ptr<LoadedModel> loaded =
      LoadedModel::open_for_training(find_model(program, flags.model), options, compute);
  loaded->check_output(flags.out, {flags.ids});
  Model& model = loaded->model();
  if (model.head_kind() != Head::kCausalLm) {
    unsupported("gradients", "{} is an encoder: need a model that generates", model.architecture());
  }
  Device& device = loaded->runtime().device();
  const std::vector<IdsLine> lines = read_ids_file(flags.ids, model.vocab_size(), true);
  int64_t count = 0;
  for (const IdsLine& line : lines) {
    for (size_t t = 1; t < line.labels.size(); ++t) count += line.labels[t] >= 0 ? 1 : 0;
    for (const int64_t label : line.labels) {
      if (label < 0 && label != -100) invalid("gradients", "label: got {}, need a token id or -100 (ignored)", label);
      if (label >= model.vocab_size())
        invalid("gradients", "label outside the vocabulary: got {}, need 0 to {}", label, model.vocab_size() - 1);
    }
  }
  if (count == 0) invalid("gradients", "no labelled position: causal labels shift by one, so the first of a line never counts");
  double loss_sum = 0;
  for (const IdsLine& line : lines) {
    if (interrupted()) return kInterruptedExit;
    const int64_t length = static_cast<int64_t>(line.input_ids.size());
    Tensor ids = Tensor::empty(device, DType::kInt32, {length}), labels = Tensor::empty(device, DType::kInt64, {length});
    std::copy(line.input_ids.begin(), line.input_ids.end(), ids.data<int32_t>());
    bool labelled = false;
    for (int64_t t = 0; t < length; ++t) {
      labels.data<int64_t>()[t] = t + 1 < length ? line.labels[static_cast<size_t>(t) + 1] : -100;
      labelled = labelled || labels.data<int64_t>()[t] >= 0;
    }
    if (!labelled) continue;
    ForwardContext context;
    context.layout = Layout::whole({static_cast<int32_t>(length)}, true);
    const Tensor loss = ops::cross_entropy(model.forward({ids}, context).logits, labels, count);
    loss_sum += static_cast<double>(loss.data<float>()[0]);
    backward(loss);
  }
  Tensor loss = Tensor::empty(device, DType::kFloat32, {1});
  loss.data<float>()[0] = static_cast<float>(loss_sum);
  std::vector<std::pair<std::string, Tensor>> tensors = {{"loss", loss}};
  for (const Parameter* parameter : model.parameters()) {
    const Tensor grad = parameter->value.grad();
    tensors.emplace_back(parameter->name, grad ? grad : Tensor::zeros(device, DType::kFloat32, parameter->shape));
  }
  write_safetensors(behind_links(flags.out), tensors);
  if (program.json) {
    Json result = Json::object();
    result.set("loss", loss_sum).set("labelled_positions", count).set("out", flags.out);
    write_json(result);
  } else {
    write_out(fmt::format("loss {:.6f} over {} labelled positions\n", loss_sum, count));
  }
  return 0;
}

}  // namespace

void add_gradients(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const Verb verb = add_verb(program, "gradients", "Write the loss and the gradient of every parameter to a safetensors file",
                             {"pagoda gradients MODEL --ids batch.jsonl --out gradients.safetensors"});
  add_model(verb, flags->model)->required();
  verb->add_option("--ids", flags->ids, "JSON lines: {\"input_ids\": [...], \"labels\": [...]}; -100 is ignored; - reads stdin")
      ->required();
  verb->add_option("--out", flags->out, "File to write: loss, and a tensor a parameter under its state-dict name")->required();
  add_machine_flags(verb, flags->machine, false);
  verb->callback([&program, flags] { program.run = [&program, flags] { return run(program, *flags); }; });
}

}  // namespace pagoda::cli
