// pagoda logits: the model's numbers for given token ids, line by line.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "base/error.h"
#include "base/links.h"
#include "cli/cli.h"
#include "formats/safetensors.h"
#include "ops/math.h"
#include "ops/tape.h"
#include "pipelines/loaded_model.h"

namespace pagoda::cli {

namespace {

struct Flags {
  MachineFlags machine;
  std::string model, ids, out;
  bool hidden = false;
};

Tensor int32_tensor(Device& device, const std::vector<int32_t>& values) {
  Tensor tensor = Tensor::empty(device, DType::kInt32, {static_cast<int64_t>(values.size())});
  std::copy(values.begin(), values.end(), tensor.data<int32_t>());
  return tensor;
}

int run(const Program& program, const Flags& flags) {
  const LoadOptions options = flags.machine.load_options();
  const std::unique_ptr<LoadedModel> loaded = LoadedModel::open(find_model(program, flags.model), options);
  loaded->check_output(flags.out, {flags.ids});
  Model& model = loaded->model();
  Device& device = loaded->runtime().device();
  const std::vector<IdsLine> lines = read_ids_file(flags.ids, model.vocab_size(), false);
  std::vector<TensorSpec> specs;
  const Head head = model.head_kind();
  const bool has_logits = model.num_logits() > 0, hidden = flags.hidden || !has_logits;
  for (size_t i = 0; i < lines.size(); ++i) {
    const int64_t positions = static_cast<int64_t>(lines[i].input_ids.size());
    if (head == Head::kSequenceClassification) {
      specs.push_back({fmt::format("logits.{}", i), DType::kFloat32, {model.num_logits()}});
    } else if (has_logits) {
      specs.push_back({fmt::format("logits.{}", i), DType::kFloat32, {positions, model.num_logits()}});
    }
    if (hidden) specs.push_back({fmt::format("hidden.{}", i), DType::kFloat32, {positions, model.hidden_size()}});
  }
  SafetensorsWriter writer(behind_links(flags.out), specs);
  const NoGrad no_grad;
  const ThreadPool::Step step(loaded->runtime().pool());
  for (const IdsLine& line : lines) {
    if (interrupted()) return kInterruptedExit;
    const std::string where = fmt::format("{}: sequence {}", flags.ids, &line - lines.data() + 1);
    Inputs inputs{int32_tensor(device, line.input_ids), {}};
    if (!line.token_type_ids.empty()) inputs.type_ids = int32_tensor(device, line.token_type_ids);
    ForwardContext context;
    const auto layout = std::make_shared<Layout>(*Layout::whole({static_cast<int32_t>(line.input_ids.size())}, true));
    if (!has_logits) layout->wanted_rows.clear();
    context.layout = layout;
    Outputs outputs;
    try {
      outputs = model.forward(inputs, context);
    } catch (const Error& error) {  // an id of a type that the model has not
      throw Error(error.kind(), fmt::format("[{}] {}", where, error.message()));
    }
    if (head == Head::kSequenceClassification) {
      writer.append(outputs.logits.reshape({model.num_logits()}));
    } else if (has_logits) {
      writer.append(outputs.logits);
    }
    if (hidden) writer.append(ops::cast(outputs.hidden, DType::kFloat32));
  }
  writer.finish();
  if (program.json) {
    Json result = Json::object();
    result.set("lines", static_cast<int64_t>(lines.size()))
        .set("out", flags.out)
        .set("dtype", dtype_name(model.compute_dtype()));
    result.set("isa", isa_name(loaded->runtime().isa()));
    write_json(result);
  }
  return 0;
}

}  // namespace

void add_logits(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const Verb verb = add_verb(program, "logits", "Write the logits of token ids to a safetensors file",
                             {"echo '[1, 403, 407]' | pagoda logits MODEL --ids - --out logits.safetensors",
                              "pagoda logits MODEL --ids ids.jsonl --out logits.safetensors --hidden --dtype float32"});
  add_model(verb, flags->model)->required();
  verb->add_option("--ids", flags->ids,
                   "JSON lines: [id, ...] or {\"input_ids\": [...], \"token_type_ids\": [...]}; - reads stdin")
      ->required();
  verb->add_option("--out", flags->out,
                   "File to write: logits.i, float32 [positions, vocab_size]; of encoders [labels] of a sequence, [positions, "
                   "labels] of "
                   "tokens, [positions, 2] of answers")
      ->required();
  verb->add_flag("--hidden", flags->hidden, "Also hidden.i, the last hidden state [positions, hidden_size]");
  add_machine_flags(verb, flags->machine);
  verb->callback([&program, flags] { program.run = [&program, flags] { return run(program, *flags); }; });
}

}  // namespace pagoda::cli
